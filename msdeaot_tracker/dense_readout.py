"""`readout.read_labels` as other devices than a CPU like it: of every pixel at once, and without waiting in between."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .device import to_device
from .readout import _CERTAIN, _HIGHEST, _LOWEST, Answer, _first, _odds, _overlapping
from .types import Region

_STEPS = 1 << 16  # of a probability where many are added; of a row of less than 2^15 pixels they fit in 32 bits


def read_at_once(answers: Sequence[Answer], height: int, width: int, probability: float = 0.5) -> tuple[Tensor, Tensor]:
    """Labels and scores where the answers are; what is not finite is read as well, without an error.

    -> labels, int32 [1 or 2, H, W], the wider ones second; scores, float32, in the order of the answers' objects.
    """
    levels, device = tuple(dict.fromkeys((1.0, probability / (1 - probability)))), answers[0].logits.device
    found = torch.zeros((len(levels), height, width), dtype=torch.int32, device=device)
    scores: dict[int, Tensor] = {}
    for together in _overlapping(answers):
        object_ids = [object_id for answer in together for object_id in answer.object_ids]
        rows, across = map(_hull, zip(*(answer.view.inside for answer in together), strict=True))
        scores |= dict.fromkeys(object_ids, torch.zeros((), device=device))
        if rows.start >= rows.stop or across.start >= across.stop:
            continue
        *channels, sure = _alone(together[0], levels) if len(together) == 1 else _merged(together, rows, across, levels)
        ids = to_device(torch.tensor([0, *object_ids], dtype=torch.int32), device)
        for labels, channel in zip(found[:, rows, across], channels, strict=True):
            labels.copy_(torch.where(channel > 0, ids[channel.long()], labels))
        # Sums of each row by themselves: else all pixels wait for their turn at a few numbers. Of whole numbers: their
        # order, which changes from one run to the next, changes nothing.
        into = torch.zeros((2, len(sure), len(ids)), dtype=torch.int32, device=device)
        for each, value in zip(into, (torch.ones_like(sure), sure * _STEPS), strict=True):
            each.scatter_add_(1, channels[0].long(), value.round().int())
        counts, sums = into.sum(dim=1)
        scores |= dict(zip(object_ids, (sums / (counts.clamp(min=1) * _STEPS)).float()[1:], strict=True))
    return found, torch.stack([scores[i] for answer in answers for i in answer.object_ids])


def _alone(answer: Answer, levels: Sequence[float]) -> list[Tensor]:
    """The channel with the highest logit, int32 [rows, columns], at each level; and its probability, float32.

    levels: odds by which those of the background are multiplied.
    """
    logits = _logits(answer)
    highest = logits.amax(dim=0)
    index, ahead = _first(logits, highest), logits.clamp(max=_CERTAIN).exp_()
    return [*(index * (highest > math.log(level)) for level in levels), ahead.amax(dim=0) / (1 + ahead.sum(dim=0))]


def _merged(together: Sequence[Answer], rows: slice, across: slice, levels: Sequence[float]) -> list[Tensor]:
    """The same of groups whose views overlap, on these pixels of the image, by soft aggregation (DeAOT, PARITY 21)."""
    like = together[0].logits.new_ones(rows.stop - rows.start, across.stop - across.start)
    merges = [_Merge(like) for _ in levels]
    total, first = torch.full_like(like, sum(len(answer.object_ids) for answer in together) * _odds(_LOWEST)), 1
    for answer in together:
        inside, columns = answer.view.inside
        if inside.start < inside.stop and columns.start < columns.stop:
            here = _within(inside, rows), _within(columns, across)
            logits = _logits(answer)
            highest, ahead = logits.amax(dim=0), logits.clamp(max=_CERTAIN).exp_()
            channel, likely, objects = _first(logits, highest) + (first - 1), ahead.amax(dim=0), ahead.sum(dim=0)
            for level, merge in zip(levels, merges, strict=True):
                merge.add(here, level / (level + objects), likely / (level + objects), channel)
            own = _odds((ahead / (1 + objects)).clamp_(_LOWEST, _HIGHEST))
            total[here] += own.sum(dim=0) - len(own) * _odds(_LOWEST)
        first += len(answer.object_ids)
    channels = [merge.channels() for merge in merges]
    return [*channels, _odds(merges[0].best) / (total + _odds(merges[0].background))]


class _Merge:
    """The most probable object of some groups, and the background of them all, at each pixel."""

    def __init__(self, like: Tensor):
        self.background = torch.ones_like(like)
        self.best, self._channel = torch.full_like(like, _LOWEST), torch.zeros_like(like, dtype=torch.int32)

    def add(self, here: Region, background: Tensor, value: Tensor, channel: Tensor) -> None:
        """One more group, in a part of the pixels: its background and its most probable object."""
        self.background[here] *= background
        value = value.clamp(_LOWEST, _HIGHEST)
        self._channel[here] = torch.where(value > self.best[here], channel, self._channel[here])
        self.best[here] = torch.maximum(value, self.best[here])

    def channels(self) -> Tensor:
        """int32, 0 where the background is ahead."""
        self.background.clamp_(_LOWEST, _HIGHEST)
        return self._channel * (self.best > self.background)


def _logits(answer: Answer) -> Tensor:
    """[K, rows, columns], of its objects above the background, on the pixels of the image that its view has."""
    rows, columns = answer.view.inside
    return answer.enlarged.on(rows, np.arange(columns.start, columns.stop))


def _hull(parts: Sequence[slice]) -> slice:
    return slice(min(part.start for part in parts), max(part.stop for part in parts))


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)
