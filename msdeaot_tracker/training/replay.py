"""A step that went wrong, kept in a file, and computed again."""

from __future__ import annotations

import os
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from ..checkpoints.state_dicts import read_pickle
from ..config import Preset
from ..device import pick_device
from ..initializers.lite_net import BoxToMaskNet
from ..models import MSDeAOT
from ..types import CheckpointError
from .box_to_mask import BoxToMaskConfig, BoxToMaskTrainer
from .config import TrainConfig
from .engine import make_fabric
from .loop import Loop
from .sources import ProceduralSource
from .tracking import Trainer


class Replayed(NamedTuple):
    """Of a step, as one process computed it; the norm is that of all processes only if there was one."""

    step: int
    losses: dict[int, float]  # by number of the micro-batch in the step
    gradient_norm: float


def replay(path: str | os.PathLike[str], device: str = "auto") -> Replayed:
    """Compute the losses of a file replay-STEP.pt again, which a run wrote before it stopped.

    Frames and labels are the file's `micro_batches`, by number: uint8 [B, T, 3, H, W] and [B, T, H, W] of a tracker.
    InputError: no such device. CheckpointError: no such file.
    """
    target = pick_device(device)
    content = read_pickle(path)
    try:
        loop = _rebuild(content, Path(path).parent, target)
        loop.restore(content)
        losses, _, norm = loop.accumulate(content["micro_batches"])
        return Replayed(content["step"], {number: loss.item() for number, loss in losses.items()}, norm.item())
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path} is not a step to replay: {error!r}") from error


def _rebuild(content: Mapping[str, Any], folder: Path, device: torch.device) -> Loop:
    settings = content["settings"]
    if content["kind"] == Trainer.__name__:
        model: nn.Module = MSDeAOT(_build(Preset, content["preset"]))
        kind, config = Trainer, _build(TrainConfig, settings)
    elif content["kind"] == BoxToMaskTrainer.__name__:
        model, kind, config = BoxToMaskNet(), BoxToMaskTrainer, _build(BoxToMaskConfig, settings)
    else:
        raise ValueError(f"of kind {content['kind']!r}")
    fabric = make_fabric(device, precision=config.precision)
    return kind(model, config, folder, ProceduralSource(), fabric=fabric)  # whose source is never opened


def _build(kind: Any, values: Any) -> Any:
    """A dataclass from what `asdict` made of it."""
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{each.name: _build(hints[each.name], values[each.name]) for each in fields(kind)})
    if typing.get_origin(kind) is tuple and is_dataclass(typing.get_args(kind)[0]):
        return tuple(_build(typing.get_args(kind)[0], value) for value in values)
    return values
