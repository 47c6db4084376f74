"""A clip through the model as in tracking: reference frame first, then frame by frame over a Memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..config import MemoryConfig
from ..geometry import one_hot
from ..images import VOID
from ..memory import Memory
from ..models import MSDeAOT
from ..types import Features, LayerTokens, MemoryView

_UNUSED = -1e4  # logit of a channel that has no object (fits half precision)


def rollout(
    model: MSDeAOT,
    frames: Tensor,
    labels: Tensor,
    memory: MemoryConfig,
    *,
    channels: Tensor | None = None,
    true_masks: bool = False,
    freeze_identity: bool = False,
    checkpoint_frames: bool = False,
) -> Tensor:
    """Track a batch of clips from their first masks -> logits [B, T, K + 1, h, w] (entry 0: the reference itself).

    frames: float [B, T, 3, H, W] in [0, 1]. labels: int64 [B, T, H, W], objects 1..n of each clip, VOID where nobody
    knows (memory gets no label there); only [:, 0] is read, unless `true_masks`: then memory is fed the truth instead
    of the prediction.

    channels:          int64 [B, K + 1], a permutation of 0..K per clip: label k travels in channel channels[k];
                       undone on the logits.
    freeze_identity:   without `true_masks`, no gradient reaches the identity embedding (AOT's sequential training).
    checkpoint_frames: of a frame only its logits and its memory are kept for the backward pass, which computes the
                       rest again. An encoder whose batch norm learns needs all frames at once, and is kept as it is.
    """
    objects = model.preset.model.objects
    batch, length = labels.shape[:2]
    if channels is None:
        channels = torch.arange(objects + 1, device=labels.device).expand(batch, -1)
    clips = _Clips(model, frames, labels, channels, true_masks, freeze_identity and not true_masks)
    separate = checkpoint_frames and not _learns_statistics(model.encoder)
    encoded = None if separate else model.encode(frames.flatten(0, 1))
    store = Memory(memory, model.memory_strides)
    outputs = []
    for t in range(length):
        view = store.view() if t > 0 else None
        if checkpoint_frames:
            logits, entry = checkpoint(clips.pass_through, t, encoded, view, use_reentrant=False)
        else:
            logits, entry = clips.pass_through(t, encoded, view)
        outputs.append(logits)
        if t < length - 1:
            store.write(t, entry, reference=t == 0)
    return torch.stack(outputs, dim=1)


@dataclass(frozen=True)
class _Clips:
    """A batch of clips on its way through the model; arguments as of `rollout`."""

    model: MSDeAOT
    frames: Tensor
    labels: Tensor
    channels: Tensor
    true_masks: bool
    identity_frozen: bool

    def pass_through(
        self, t: int, encoded: Features | None, view: MemoryView | None
    ) -> tuple[Tensor, tuple[LayerTokens, ...] | None]:
        """Frame t, encoded with all others or not yet -> its logits, and what memory keeps of it (the last: nothing).

        view: what there is to read; None: the frame is the reference.
        """
        batch, length = self.labels.shape[:2]
        features = self.model.encode(self.frames[:, t]) if encoded is None else _frame(encoded, batch, length, t)
        identity = self._identify(self.labels[:, t]) if view is None else None
        propagation = self.model.propagate(features, identity if view is None else view)
        logits = self._in_order_of_labels(self.model.decode(propagation, features).float())
        if t == length - 1:
            return logits, None
        if identity is None:
            known = self.labels[:, t] if self.true_masks else predict(logits, self.frames.shape[-2:], self.model)
            identity = self._identify(known)
        return logits, self.model.memorize(propagation, identity)

    def _identify(self, labels: Tensor) -> tuple[Tensor, ...]:
        mask = one_hot(labels, self.model.preset.model.objects)
        index = self.channels.argsort(dim=1)[:, :, None, None]
        identity = self.model.identify(mask.gather(1, index.expand(-1, -1, *mask.shape[2:])))
        return tuple(embedding.detach() for embedding in identity) if self.identity_frozen else identity

    def _in_order_of_labels(self, logits: Tensor) -> Tensor:
        """Logits by channel -> by label, switched off for labels that the reference does not show."""
        logits = logits.gather(1, self.channels[:, :, None, None].expand(-1, -1, *logits.shape[2:]))
        given = self.labels[:, 0].flatten(1)
        largest = (given * (given != VOID)).amax(dim=1, keepdim=True)
        unused = torch.arange(logits.shape[1], device=logits.device) > largest
        return logits.masked_fill(unused[:, :, None, None], _UNUSED)


def predict(logits: Tensor, size: tuple[int, int], model: MSDeAOT) -> Tensor:
    """Label maps int64 [B, H, W] from logits [B, K + 1, h, w]."""
    align = model.preset.model.align_corners
    return F.interpolate(logits.detach(), size, mode="bilinear", align_corners=align).argmax(dim=1)


def _learns_statistics(encoder: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) and module.training for module in encoder.modules())


def _frame(features: Features, batch: int, length: int, t: int) -> Features:
    """Frame t of features encoded for all frames of all clips at once."""
    maps = {stride: x.unflatten(0, (batch, length))[:, t] for stride, x in features.maps.items()}
    same = next((stride for stride, x in features.maps.items() if x is features.deep), None)
    return Features(maps, features.deep.unflatten(0, (batch, length))[:, t] if same is None else maps[same])
