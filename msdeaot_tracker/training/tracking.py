"""Training of an MSDeAOT: clips are tracked from their first masks, as in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..checkpoints import save_checkpoint
from ..models import MSDeAOT
from .config import TrainConfig
from .loop import Loop, Place
from .losses import segmentation_loss
from .observers import ClipView
from .rollout import predict, rollout


class Trainer(Loop):
    """Trains an MSDeAOT to track."""

    _model: MSDeAOT
    _config: TrainConfig

    def _loss(self, batch: tuple[Tensor, Tensor], place: Place) -> tuple[Tensor, Mapping[str, int]]:
        config, schedule, progress = self._config, self._config.schedule, place.progress
        length = schedule.length_at(progress)
        seen, truth = (part[:, :length] for part in batch)
        labels = truth.long()
        logits = rollout(
            self._model,
            seen.float() / 255,
            labels,
            config.memory,
            channels=self._channels(place, len(labels)),
            true_masks=progress < schedule.true_masks,
            freeze_identity=config.freeze_identity,
            checkpoint_frames=config.checkpoint_frames,
        )
        if self._clip is None:
            self._clip = partial(self._view, seen[0], truth[0], logits[0].detach())
        with torch.autocast(labels.device.type, enabled=False):
            hard_fraction, auxiliary = schedule.hard_fraction_at(progress), schedule.auxiliary_at(progress)
            return self._over_frames(logits, labels, hard_fraction, auxiliary), {"frames": length}

    def _channels(self, place: Place, samples: int) -> Tensor:
        """Permutations of the identity channels; each follows from the seed and the sample's number in the run."""
        objects, seed = self._model.preset.model.objects, self._config.seed * 1_000_003
        drawn = []
        for number in range(place.first, place.first + samples):
            generator = torch.Generator().manual_seed(seed + number)
            if self._config.permute_background:
                drawn.append(torch.randperm(objects + 1, generator=generator))
            else:
                drawn.append(F.pad(1 + torch.randperm(objects, generator=generator), (1, 0)))
        return torch.stack(drawn).to(self._fabric.device)

    def _over_frames(self, logits: Tensor, labels: Tensor, hard_fraction: float, auxiliary: float) -> Tensor:
        """Mean over the propagated frames, plus the reference frame's own decoding while that is weighted (AOT)."""
        stride = self._config.loss_stride
        labels = labels[:, :, ::stride, ::stride]
        size, align = labels.shape[-2:], self._model.preset.model.align_corners

        def of_frame(t: int) -> Tensor:
            enlarged = F.interpolate(logits[:, t], size, mode="bilinear", align_corners=align)
            pooled = self._config.pool_objects
            return segmentation_loss(enlarged, labels[:, t], hard_fraction, pool_objects=pooled)

        loss = torch.stack([of_frame(t) for t in range(1, labels.shape[1])]).mean()
        return loss + auxiliary * of_frame(0) if auxiliary > 0 else loss

    def _view(self, frames: Tensor, labels: Tensor, logits: Tensor) -> ClipView:
        predicted = predict(logits, frames.shape[-2:], self._model).to(torch.uint8)
        return ClipView(frames.cpu(), labels.cpu(), predicted.cpu())

    def _compiled(self) -> Iterator[nn.Module]:
        yield self._model.encoder
        yield from self._model.stages
        yield self._model.decoder

    def _write(self, path: Path) -> None:
        save_checkpoint(path, self._model)
