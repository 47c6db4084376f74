"""Training from a box to a mask: crops to masks, and to how good the masks are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..images import VOID
from ..initializers.lite import save_lite
from ..initializers.lite_net import STRIDE, BoxToMaskNet
from .config import LoopConfig
from .crops import CropBatch
from .loop import Loop, Place
from .losses import segmentation_loss
from .schedule import Schedule

_QUALITY = 0.2  # weight of the judgement's loss beside the mask's; the two share no parameters that are trained by both


@dataclass(frozen=True)
class BoxToMaskConfig(LoopConfig):
    batch_size: int = 16  # crops
    schedule: Schedule = Schedule(learning_rate=1.5e-3)


class BoxToMaskTrainer(Loop):
    """Trains a network from boxes to masks."""

    _model: BoxToMaskNet

    def _loss(self, batch: CropBatch, place: Place) -> tuple[Tensor, Mapping[str, Tensor]]:
        crops, labels, sides = batch
        crops = (crops.float() / 255).contiguous(memory_format=torch.channels_last)
        found = self._model(crops, sides)
        labels = labels[:, ::STRIDE, ::STRIDE].long()
        with torch.autocast(crops.device.type, enabled=False):
            logits = found.logits.float()
            classes = torch.cat([torch.zeros_like(logits), logits], dim=1)
            loss = segmentation_loss(classes, labels, self._config.schedule.hard_fraction_at(place.progress))
            overlaps = mask_overlaps(logits[:, 0] > 0, labels)
            judged = F.binary_cross_entropy_with_logits(found.quality.float(), overlaps)
            error = (found.quality.float().sigmoid() - overlaps).abs().mean()
        return loss + _QUALITY * judged, {"iou": overlaps.mean(), "iou_error": error.detach()}

    def _compiled(self) -> tuple[nn.Module, ...]:
        return (self._model.encoder,)

    def _write(self, path: Path) -> None:
        save_lite(path, self._model)


def mask_overlaps(masks: Tensor, labels: Tensor) -> Tensor:
    """IoU of each mask, bool [B, H, W], with label 1 of labels [B, H, W], where these are not VOID -> float32 [B]."""
    known, truth = labels != VOID, labels == 1
    masks = masks & known
    union = (masks | truth).sum(dim=(1, 2))
    return (masks & truth).sum(dim=(1, 2)) / union.clamp(min=1)
