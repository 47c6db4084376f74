"""Training of the small initializer: crops of procedural clips to masks and corners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..initializers.alpha_refine_net import CROP, AlphaRefineNet, Refinement, middle
from ..initializers.ar_small import save_ar_small
from .config import LoopConfig
from .crops import CropBatch
from .loop import Loop, Place
from .schedule import Schedule

_CORNERS = 4.0  # weight of the corners' error, as a share of the crop's side, beside the mask's losses


@dataclass(frozen=True)
class RefinerConfig(LoopConfig):
    batch_size: int = 16  # crops
    schedule: Schedule = Schedule(learning_rate=1.5e-3)


class RefinerTrainer(Loop):
    """Trains a network of Alpha-Refine's form."""

    _model: AlphaRefineNet

    def _loss(self, batch: CropBatch, place: Place) -> tuple[Tensor, Mapping[str, Tensor]]:
        crops, masks, corners, references = batch
        crops = (crops.float() / 255).contiguous(memory_format=torch.channels_last)
        maps = self._model.encode(crops)
        found = self._model.compare(maps, middle(maps)[references])
        with torch.autocast(crops.device.type, enabled=False):
            overlap, entropy, error = refinement_errors(found, masks.float() / 255, corners)
        # soft IoU of the masks; mean error of the corners in pixels of the crop
        notes = {"jaccard": overlap.detach(), "corners": error.detach()}
        return entropy + 1 - overlap + _CORNERS * error / CROP, notes

    def _compiled(self) -> tuple[nn.Module, ...]:
        return (self._model.backbone,)

    def _write(self, path: Path) -> None:
        save_ar_small(path, self._model)


def refinement_errors(found: Refinement, masks: Tensor, corners: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Soft IoU and cross-entropy of the masks, mean error of the corners; three scalars.

    masks: float [B, 256, 256] in [0, 1]. corners: float [B, 4], in pixels of the crop, as the error is.
    """
    logits = found.mask_logits[:, 0].float()
    probability, truth = logits.sigmoid().flatten(1), masks.flatten(1)
    intersection = (probability * truth).sum(dim=1)
    union = (probability + truth).sum(dim=1) - intersection
    overlap = (intersection / union.clamp(min=1)).mean()
    return overlap, F.binary_cross_entropy_with_logits(logits, masks), (found.corners - corners).abs().mean()
