"""What a run costs, from a measured piece of it."""

from __future__ import annotations

import math
import tempfile
import time
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from ..data.batches import BatchConfig
from ..data.mixing import DrawnPart
from ..device import explain_out_of_memory
from .box_to_mask import BoxToMaskTrainer
from .loop import Loop
from .recipe_types import Recipe, crops_of
from .sharing import share_out
from .sources import CropSource, ProceduralSource, Source
from .tracking import Trainer

if TYPE_CHECKING:
    from .engine import Fabric

_CPU_WORK = 2.5e12  # pixels times parameters of what is measured on a CPU: some ten seconds on a core
_LEAST_SIDE = 112  # pixels; whole windows of Swin


@dataclass(frozen=True)
class Cost:
    seconds: float  # per step of this process, without the making of batches
    memory: int  # bytes, at the most, of weights, gradients, optimizer, averaged weights and activations
    measured: str  # on what


class _Piece(NamedTuple):
    samples: int
    side: int  # pixels

    @property
    def pixels(self) -> int:
        return self.samples * self.side**2


def estimate(recipe: Recipe, model: nn.Module, fabric: Fabric, processes: int) -> Cost:
    """Compute a micro-batch with its gradients on procedural clips, at the longest clips of the recipe.

    On a GPU as it would be in the run. On a CPU, where that may take minutes, of fewer and smaller samples, scaled by
    the pixels; attention grows faster, so this is the least that it costs.

    InputError: a batch that cannot be shared out. TrackerError: the device's memory is too small.
    """
    share, crops = share_out(recipe.config, processes, rank=0), crops_of(recipe)
    whole = _Piece(share.micro_batch, crops.size if crops else recipe.data.config.size)
    piece = _piece(recipe, model, whole) if fabric.device.type == "cpu" else whole
    with explain_out_of_memory(f"computing {whole.samples} samples", "--micro-batch and --checkpoint-frames help"):
        activations, seconds = _measure(recipe, model, fabric, piece)
    scale = whole.pixels / piece.pixels
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    trained = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    halves = trained // 2 if recipe.config.precision == "bf16-mixed" else 0  # which count as activations, but only once
    fixed = 2 * weights + 3 * trained  # and their average; gradients and the optimizer's two moments
    memory = fixed + halves + round(scale * max(activations - halves, 0))
    measured = f"{piece.samples} x {piece.side}x{piece.side} on {fabric.device}"
    return Cost(seconds * scale * share.count / processes, memory, measured)


def _piece(recipe: Recipe, model: nn.Module, whole: _Piece) -> _Piece:
    """What is measured in its place."""
    if crops_of(recipe):
        return _Piece(min(whole.samples, 4), whole.side)
    most = _CPU_WORK / sum(parameter.numel() for parameter in model.parameters()) / _longest(recipe)
    samples = min(max(int(most / whole.side**2), 1), whole.samples)
    if whole.side**2 <= most:
        return _Piece(samples, whole.side)
    side = max(math.isqrt(int(most)) // 16 * 16, _LEAST_SIDE)
    return _Piece(1, min(side + whole.side % 16, whole.side))


def _longest(recipe: Recipe) -> int:
    return max(length for _, length in recipe.config.schedule.lengths)


def _measure(recipe: Recipe, model: nn.Module, fabric: Fabric, piece: _Piece) -> tuple[int, float]:
    """Bytes of its activations at the most, and seconds."""
    frames = _longest(recipe)
    schedule = replace(recipe.config.schedule, true_masks=0.0, lengths=((0.0, frames),))
    config = replace(recipe.config, batch_size=piece.samples, micro_batch=None, compile=False, schedule=schedule)
    kind: type[Loop] = Trainer
    source: Source = ProceduralSource(BatchConfig(size=piece.side, frames=frames, samples_per_clip=1))
    if crops := crops_of(recipe):
        kind, source = BoxToMaskTrainer, CropSource((DrawnPart("painted", 1.0),), crops)
    batch = source.open(piece.samples, 1, config.seed)[0][0]
    model.train()
    with tempfile.TemporaryDirectory() as folder:
        loop = kind(model, config, Path(folder), source, fabric=fabric)
        return _held(loop, model, batch), _timed(loop, batch)


def _timed(loop: Loop, batch: Any) -> float:
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
