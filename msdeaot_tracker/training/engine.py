"""Where a run computes: one device, or several processes that average their gradients, by Lightning Fabric."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import torch
from torch.multiprocessing import ProcessRaisedException

from ..device import pick_device
from ..types import InputError, TrackerError

try:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy
except ImportError as error:
    raise ImportError('training needs lightning-fabric: pip install "msdeaot-tracker[train]"') from error

_PATIENCE = timedelta(hours=6)  # of processes that wait for the first, which validates alone


def make_fabric(
    device: str | torch.device = "auto",
    *,
    devices: int = 1,
    nodes: int = 1,
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
) -> Fabric:
    """
    device:  "auto" (cuda, else mps, else cpu), "cpu", "mps", "cuda"; with one process also "cuda:1".
    devices: processes on this machine, each with a GPU of its own, or all on the CPU.
    nodes:   machines. More than one, or where torchrun or SLURM start the processes: as these were told.

    InputError: a device that is not there, fewer than are asked for, or another number than processes were started.
    """
    target = pick_device(device)
    if devices < 1 or nodes < 1:
        raise InputError(f"{devices} devices on {nodes} machines: at least one each")
    several = devices * nodes > 1
    outside = next((kind() for kind in (TorchElasticEnvironment, SLURMEnvironment) if kind.detect()), None)
    if outside is not None and outside.world_size() != devices * nodes:
        raise InputError(
            f"this is one of {outside.world_size()} processes that torchrun or SLURM started, "
            f"but {devices} devices on {nodes} machines are asked for"
        )
    if several and (target.type == "mps" or target.index is not None):
        raise InputError(f"device {str(device)!r} is a single one; {devices * nodes} processes need cuda or cpu")
    if target.type == "cuda" and devices > torch.cuda.device_count():
        raise InputError(f"{devices} GPUs are asked for; there are {torch.cuda.device_count()}")
    chosen: Any = "auto"
    if several:
        # Modules may be without a part in a step's loss: the identity embedding while it is frozen, for one.
        chosen = DDPStrategy(
            start_method="spawn" if outside is None else "popen",
            timeout=_PATIENCE,
            find_unused_parameters=True,
        )
    places: Any = [target.index or 0] if target.type == "cuda" and not several else devices
    return Fabric(accelerator=target.type, devices=places, num_nodes=nodes, precision=precision, strategy=chosen)


def launch(fabric: Fabric, function: Callable[..., Any], *args: Any) -> Any:
    """function(fabric, *args) in every process of the run -> what it returns in the first.

    The function is one that other processes can import, and its arguments can be pickled. What it raises on purpose
    (TrackerError, ImportError, OSError) is raised here as it was. An interrupt of this process ends them all.
    """
    call = _Call(function, args)
    try:
        return fabric.launch(call)
    except KeyboardInterrupt:
        for process in multiprocessing.active_children():  # else the interpreter waits for them before it ends
            process.terminate()
        raise
    except ProcessRaisedException:
        if call.errors.empty():
            raise
        raise call.errors.get() from None


class _Call:
    """Fabric looks into what is given as arguments to a function, and may not change a frozen dataclass there."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]):
        self.function, self.args = function, args
        self.errors = multiprocessing.get_context("spawn").SimpleQueue()

    def __call__(self, fabric: Fabric) -> Any:
        try:
            return self.function(fabric, *self.args)
        except (TrackerError, ImportError, OSError) as error:
            self.errors.put(error)
            raise
