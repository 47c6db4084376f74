"""What a run costs, from a measured piece of it."""

from __future__ import annotations

import tempfile
import time
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from ..data.batches import BatchConfig
from ..device import explain_out_of_memory
from .loop import Loop
from .recipes import Recipe
from .refining import RefinerTrainer
from .sharing import share_out
from .sources import CropSource, ProceduralSource
from .tracking import Trainer

if TYPE_CHECKING:
    from .engine import Fabric

_CPU_WORK = 2.5e12  # pixels times parameters of what is measured on a CPU: some ten seconds on a core
_LEAST_SIDE = 64  # pixels


@dataclass(frozen=True)
class Cost:
    seconds: float  # per step of this process, without the making of batches
    memory: int  # bytes, at the most, of weights, gradients, optimizer, averaged weights and activations
    measured: str  # on what


def estimate(recipe: Recipe, model: nn.Module, fabric: Fabric, processes: int) -> Cost:
    """Compute a micro-batch with its gradients, twice, on procedural clips, at the longest clips of the recipe.

    On a GPU as it would be in the run. On a CPU, where that may take minutes, of fewer or smaller samples, scaled by
    the pixels; attention grows faster than they do, so this is the least that it costs.

    InputError: a batch that cannot be shared out. TrackerError: the device's memory is too small.
    """
    share = share_out(recipe.config, processes, rank=0)
    source, used, scale = _source(recipe, model, share.micro_batch, small=fabric.device.type == "cpu")
    schedule = recipe.config.schedule
    longest = max(length for _, length in schedule.lengths)
    schedule = replace(schedule, true_masks=0.0, lengths=((0.0, longest),))
    config = replace(recipe.config, batch_size=used, micro_batch=None, compile=False, schedule=schedule)
    kind: type[Loop] = RefinerTrainer if isinstance(source, CropSource) else Trainer
    batch = source.open(used, 1, config.seed)[0][0]
    model.train()
    with tempfile.TemporaryDirectory() as folder:
        loop = kind(model, config, Path(folder), source, fabric=fabric)
        with explain_out_of_memory(source.about, "give a smaller --micro-batch, or --checkpoint-frames"):
            activations = _held(loop, model, batch)
            seconds = _timed(loop, fabric, batch)
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    trained = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    fixed = 2 * weights + 3 * trained  # and their average; gradients and the optimizer's two moments
    where = f"{used} of {source.about} on {fabric.device}" + (f", times {scale:.3g}" if scale != 1 else "")
    return Cost(seconds * scale * share.count / processes, fixed + round(activations * scale), where)


def _source(
    recipe: Recipe, model: nn.Module, samples: int, small: bool
) -> tuple[ProceduralSource | CropSource, int, float]:
    """Clips like the recipe's, how many of them are measured, and how many times as many pixels the run has."""
    data = recipe.data
    if isinstance(data, CropSource):
        used = 2 if small else samples
        return data, used, samples / used
    frames, side = max(length for _, length in recipe.config.schedule.lengths), data.config.size
    used, pixels = samples, float("inf")
    if small:
        pixels = _CPU_WORK / sum(parameter.numel() for parameter in model.parameters()) / frames  # of a frame of each
        used = max(1, min(samples, int(pixels / side**2)))
    measured = side
    while measured - 16 >= _LEAST_SIDE and used * measured**2 > pixels:
        measured -= 16
    source = ProceduralSource(BatchConfig(size=measured, frames=frames, samples_per_clip=1))
    return source, used, samples * side**2 / (used * measured**2)


def _timed(loop: Loop, fabric: Fabric, batch: Any) -> float:
    started = time.perf_counter()
    _, means, _ = loop.accumulate({0: batch})
    means["loss"].item()  # waits for the device
    return time.perf_counter() - started


def _held(loop: Loop, model: nn.Module, batch: Any) -> int:
    """Bytes that activations need at the most."""
    with LiveMemory() as memory:
        hooks = [
            parameter.register_post_accumulate_grad_hook(lambda p: memory.forget(p.grad))
            for parameter in model.parameters()
            if parameter.requires_grad
        ]
        loop.accumulate({0: batch})
    for hook in hooks:
        hook.remove()
    return memory.peak


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of tensors that operations inside this context made, as long as somebody holds them.

    What an operation needs for itself while it runs is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._held: dict[int, int] = {}  # address of a storage -> bytes

    def forget(self, tensor: Tensor) -> None:
        """Count it no more."""
        self._release(tensor.untyped_storage()._cdata)

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_iter(made):
            if isinstance(tensor, Tensor):
                self._hold(tensor.untyped_storage())
        return made

    def _hold(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._held:
            self._held[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._release, storage._cdata)

    def _release(self, address: int) -> None:
        self.now -= self._held.pop(address, 0)
