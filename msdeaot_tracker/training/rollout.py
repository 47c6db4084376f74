"""A clip through the model as in tracking: reference frame first, then frame by frame over a Memory."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import MemoryConfig
from ..geometry import one_hot
from ..images import VOID
from ..memory import Memory
from ..models import MSDeAOT
from ..types import Features

_UNUSED = -1e4  # logit of a channel that has no object (fits half precision)


def rollout(
    model: MSDeAOT,
    frames: Tensor,
    labels: Tensor,
    memory: MemoryConfig,
    *,
    slots: Tensor | None = None,
    true_masks: bool = False,
) -> Tensor:
    """Track a batch of clips from their first masks -> logits [B, T, K + 1, h, w] (entry 0: the reference itself).

    frames: float [B, T, 3, H, W] in [0, 1]. labels: int64 [B, T, H, W], objects 1..n of each clip, VOID where nobody
    knows (memory gets no label there); only [:, 0] is read, unless `true_masks`: then memory is fed the truth instead
    of the prediction. slots: int64 [B, K], a permutation per clip: object k uses identity slots[k - 1] (0-based);
    undone on the logits.
    """
    objects = model.preset.model.objects
    batch, length = labels.shape[:2]
    if slots is None:
        slots = torch.arange(objects, device=labels.device).expand(batch, -1)
    to_channel = torch.cat([torch.zeros_like(slots[:, :1]), slots + 1], dim=1)  # channel of label 0..K
    given = labels[:, 0].flatten(1)
    unused = torch.arange(objects + 1, device=labels.device) > (given * (given != VOID)).amax(dim=1, keepdim=True)
    encoded = model.encode(frames.flatten(0, 1))
    store = Memory(memory, model.memory_strides)
    outputs = []
    for t in range(length):
        features = _frame(encoded, batch, length, t)
        known = labels[:, t] if t == 0 or true_masks else None
        if t == 0:
            identity = model.identify(_assign(one_hot(known, objects), to_channel))
            propagation = model.propagate(features, identity)
        else:
            propagation = model.propagate(features, store.view())
        logits = model.decode(propagation, features).float()
        logits = logits.gather(1, to_channel[:, :, None, None].expand(-1, -1, *logits.shape[2:]))
        logits = logits.masked_fill(unused[:, :, None, None], _UNUSED)
        outputs.append(logits)
        if t > 0 and t < length - 1:
            mask = known if known is not None else predict(logits, frames.shape[-2:], model)
            identity = model.identify(_assign(one_hot(mask, objects), to_channel))
        if t < length - 1:
            store.write(t, model.memorize(propagation, identity), reference=t == 0)
    return torch.stack(outputs, dim=1)


def predict(logits: Tensor, size: tuple[int, int], model: MSDeAOT) -> Tensor:
    """Label maps int64 [B, H, W] from logits [B, K + 1, h, w]."""
    align = model.preset.model.align_corners
    return F.interpolate(logits.detach(), size, mode="bilinear", align_corners=align).argmax(dim=1)


def _assign(mask: Tensor, to_channel: Tensor) -> Tensor:
    """Move the channel of label k to channel to_channel[k]."""
    index = to_channel.argsort(dim=1)[:, :, None, None]
    return mask.gather(1, index.expand(-1, -1, *mask.shape[2:]))


def _frame(features: Features, batch: int, length: int, t: int) -> Features:
    """Frame t of features encoded for all frames of all clips at once."""
    maps = {stride: x.unflatten(0, (batch, length))[:, t] for stride, x in features.maps.items()}
    same = next((stride for stride, x in features.maps.items() if x is features.deep), None)
    return Features(maps, features.deep.unflatten(0, (batch, length))[:, t] if same is None else maps[same])
