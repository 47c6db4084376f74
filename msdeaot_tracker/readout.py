"""From what the network says of groups of objects, each in a view of its own, to one label map of the frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .device import to_device
from .enlargement import Enlarged
from .types import MaskEstimate, Region
from .views import View

_ROWS = {"cpu": 32, "default": 1 << 20}  # of the image at once, so that what is computed stays in a CPU's cache
_CERTAIN = 80.0  # logits are cut off there: their exp is finite, and so are sums of it
_LOWEST, _HIGHEST = 1e-5, 1 - 1e-5  # of a probability where groups are merged


@dataclass(frozen=True, eq=False)
class Answer:
    """logits: float32 [K + 1, h, w] on the map of the view, background first, then the objects."""

    object_ids: tuple[int, ...]
    view: View
    logits: Tensor

    @cached_property
    def enlarged(self) -> Enlarged:
        """Of the objects' logits what they are above the background's."""
        return Enlarged(self.view, self.logits[1:] - self.logits[:1])


class Reading(NamedTuple):
    labels: np.ndarray  # object ids, int32 [H, W]
    scores: dict[int, float]  # by object id, the mean probability of its pixels (0.0: it has none)
    wider: np.ndarray | None  # as labels, with the pixels of which the network is less sure; None: there are no others


def read_labels(answers: Sequence[Answer], height: int, width: int, probability: float = 0.5) -> Reading:
    """Logits are enlarged to the image, and the highest counts. Where views overlap, their groups are merged.

    Nothing is an object where its group's view does not reach. probability: of an object's pixel beside the
    background's, from which on it is one in the wider map; 0.5: that of the labels.
    """
    odds = probability / (1 - probability)
    found = np.zeros((1 if odds == 1 else 2, height, width), np.int32)
    scores: dict[int, float] = {}
    for together in _overlapping(answers):
        ids = np.array([0, *(object_id for answer in together for object_id in answer.object_ids)], np.int32)
        counts, sums = np.zeros(len(ids)), np.zeros(len(ids))
        read = partial(_alone, *together) if len(together) == 1 else partial(_merged, together)
        for rows, columns in _uncertain(together, width, odds):
            *channels, sure = (each.cpu().numpy() for each in read(rows, columns, odds))
            first, last = int(columns[0]), int(columns[-1])
            across = slice(first, last + 1) if last - first < len(columns) else columns  # much faster by a slice
            for labels, channel in zip(found, channels, strict=True):
                # What others found, whose views overlap none of these, stays.
                labels[rows, across] = np.where(channel > 0, ids[channel], labels[rows, across])
            counts += np.bincount(channels[0].ravel(), minlength=len(ids))
            sums += np.bincount(channels[0].ravel(), sure.ravel(), len(ids))
        means = sums / np.maximum(counts, 1)
        scores |= dict(zip(ids[1:].tolist(), means[1:].tolist(), strict=True))
    return Reading(found[0], scores, None if odds == 1 else found[1])


def read_at_once(answers: Sequence[Answer], height: int, width: int, probability: float = 0.5) -> tuple[Tensor, Tensor]:
    """`read_labels` where its answers are, of every pixel, and without waiting for that device.

    -> labels, int32 [1 or 2, H, W], the wider ones second; scores, float32, in the order of the answers' objects.
    """
    odds, device = probability / (1 - probability), answers[0].logits.device
    found = torch.zeros((1 if odds == 1 else 2, height, width), dtype=torch.int32, device=device)
    scores: dict[int, Tensor] = {}
    for together in _overlapping(answers):
        object_ids = [object_id for answer in together for object_id in answer.object_ids]
        rows, across = map(_hull, zip(*(answer.view.inside for answer in together), strict=True))
        scores |= dict.fromkeys(object_ids, found.new_zeros((), dtype=torch.float32))
        if rows.start >= rows.stop or across.start >= across.stop:
            continue
        read = partial(_alone, *together) if len(together) == 1 else partial(_merged, together)
        *channels, sure = read(rows, np.arange(across.start, across.stop), odds)
        ids = to_device(torch.tensor([0, *object_ids], dtype=torch.int32), device)
        for labels, channel in zip(found[:, rows, across], channels, strict=True):
            labels.copy_(torch.where(channel > 0, ids[channel.long()], labels))
        # Sums of each row by themselves: else all pixels wait for their turn at a few numbers.
        into = torch.zeros((2, len(sure), len(ids)), device=device)
        for each, value in zip(into, (torch.ones_like(sure), sure), strict=True):
            each.scatter_add_(1, channels[0].long(), value)
        counts, sums = into.sum(dim=1)
        scores |= dict(zip(object_ids, (sums / counts.clamp(min=1))[1:], strict=True))
    return found, torch.stack([scores[i] for answer in answers for i in answer.object_ids])


def _uncertain(together: Sequence[Answer], width: int, odds: float) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows, and columns of them, in which something may be an object; everywhere else the background is certain.

    It is so even with these odds, of at most 1. Between four cells of a map the enlarged logits are their weighted
    mean. So where the background's is the highest in all of these it is so there. And log(sum(exp)) of differences is
    convex: the objects of a group together are no more probable there than at one of the cells. If that is less than
    1 / (G + 1) in each of G groups, then the merged background, at least 1 - G / (G + 1), is above all of them.
    """
    lowered = [torch.cat([answer.logits[:1] + math.log(odds), answer.logits[1:]]) for answer in together]
    if len(together) == 1:
        maps = [lowered[0][1:].amax(dim=0) > lowered[0][0]]
    else:
        # Slightly less, for rounding.
        maps = [logits.softmax(dim=0)[0] < 1 - 0.999 / (len(together) + 1) for logits in lowered]
    cells = [on_map.cpu().numpy() for on_map in maps]
    bands = [answer.view.inside[0] for answer in together]
    step = _ROWS.get(together[0].logits.device.type, _ROWS["default"])
    for top in range(min(band.start for band in bands), max(band.stop for band in bands), step):
        columns = np.zeros(width, bool)
        for answer, band, there in zip(together, bands, cells, strict=True):
            rows = _shared(slice(top, top + step), band)
            if rows.start < rows.stop:
                columns |= answer.enlarged.columns_of(there, rows)
        if columns.any():
            yield slice(top, min(top + step, max(band.stop for band in bands))), np.flatnonzero(columns)


def _alone(answer: Answer, rows: slice, columns: np.ndarray, odds: float) -> list[Tensor]:
    """The channel with the highest logit, int32 [rows, columns]; if odds are below 1, with them; and its probability.

    odds: by which those of the background are multiplied. The probability, float32, is that without them; where the
    background is ahead, of the object that comes next.
    """
    logits = answer.enlarged.on(rows, columns)
    highest = logits.amax(dim=0)
    index = _first(logits, highest)
    channels = [index * (highest > math.log(each)) for each in dict.fromkeys((1.0, odds))]
    ahead = logits.clamp_(max=_CERTAIN).exp_()
    return [*channels, ahead.amax(dim=0) / (1 + ahead.sum(dim=0))]


def _merged(together: Sequence[Answer], rows: slice, columns: np.ndarray, odds: float) -> list[Tensor]:
    """The same of all groups' channels one after another, by soft aggregation (DeAOT, PARITY 21), group after group.

    The background's probability is the product of the groups' backgrounds, an object's that in its group, where its
    view does not reach 0. All are clamped; their logits' softmax is taken, which is each one's odds by their sum.
    """
    like = together[0].logits.new_ones(rows.stop - rows.start, len(columns))
    merges = {1.0: _Merge(like), odds: _Merge(like)}  # one, if these are 1
    objects = sum(len(answer.object_ids) for answer in together)
    total = torch.full_like(like, objects * _LOWEST / (1 - _LOWEST))  # of all objects' odds
    first = 1
    for answer in together:
        count, (inside, across) = len(answer.object_ids), answer.view.inside
        seen, (left, right) = _shared(rows, inside), np.searchsorted(columns, (across.start, across.stop))
        if seen.start < seen.stop and left < right:
            here = slice(seen.start - rows.start, seen.stop - rows.start), slice(left, right)
            # Of each object its probability by that of the background, which is 1 by their sum and 1.
            logits = answer.enlarged.on(seen, columns[left:right])
            highest = logits.amax(dim=0)
            channel = _first(logits, highest) + (first - 1)
            ahead, highest = logits.clamp_(max=_CERTAIN).exp_(), highest.clamp_(max=_CERTAIN).exp_()
            objects_sum = ahead.sum(dim=0)
            for each, merge in merges.items():
                part = 1 / (each + objects_sum)
                merge.add(here, each * part, highest * part, channel)
            own = (ahead * (1 / (1 + objects_sum))).clamp_(_LOWEST, _HIGHEST)
            total[here] += own.div_(1 - own).sum(dim=0) - count * _LOWEST / (1 - _LOWEST)
        first += count
    channels = [merge.channels() for merge in merges.values()]
    best, background = merges[1.0].best, merges[1.0].background
    return [*channels, best / (1 - best) / (total + background / (1 - background))]


def _first(channels: Tensor, highest: Tensor) -> Tensor:
    """int32 [rows, columns], from 1: which of these, [K, rows, columns], is the highest one; the first of such."""
    count = len(channels)
    if count == 1:
        return torch.ones_like(highest, dtype=torch.int32)
    kind = torch.uint8 if count < 256 else torch.int32  # bytes are faster, and than max() with its indices
    ranks = torch.arange(count, 0, -1, dtype=kind, device=channels.device)[:, None, None]
    return count + 1 - ((channels == highest) * ranks).amax(dim=0).int()


class _Merge:
    """The most probable object of some groups, and the background of them all, at each pixel."""

    def __init__(self, like: Tensor):
        self.background = torch.ones_like(like)
        self.best, self._channel = torch.full_like(like, _LOWEST), torch.zeros_like(like, dtype=torch.int32)

    def add(self, here: Region, background: Tensor, value: Tensor, channel: Tensor) -> None:
        """One more group, in a part of the pixels: its background and its most probable object."""
        self.background[here] *= background
        value = value.clamp(_LOWEST, _HIGHEST)
        better = value > self.best[here]
        self.best[here] = torch.maximum(value, self.best[here])
        self._channel[here] = torch.where(better, channel, self._channel[here])

    def channels(self) -> Tensor:
        """int32, 0 where the background is ahead."""
        self.background.clamp_(_LOWEST, _HIGHEST)
        return self._channel * (self.best > self.background)


def paint(labels: np.ndarray, masks: Mapping[int, np.ndarray]) -> None:
    """Put these masks over the label map, in place of what it has of the same objects (PARITY 22)."""
    if masks:
        labels[np.isin(labels, list(masks))] = 0
    for object_id in sorted(masks, key=lambda i: -int(masks[i].sum())):  # small objects stay on top
        labels[masks[object_id]] = object_id


def alternative_labels(labels: np.ndarray, given: Mapping[int, MaskEstimate]) -> Iterator[np.ndarray]:
    """The label map with the first alternative of each object that has one, with the second, and so on."""
    for index in range(max((len(estimate.alternatives) for estimate in given.values()), default=0)):
        others = labels.copy()
        paint(others, {i: e.alternatives[index] for i, e in given.items() if index < len(e.alternatives)})
        yield others


def _overlapping(answers: Sequence[Answer]) -> list[list[Answer]]:
    """Answers whose views overlap, or are joined by others that do, in one list each."""
    clusters: list[list[Answer]] = []
    for answer in answers:
        near = [c for c in clusters if any(_overlap(answer.view.inside, other.view.inside) for other in c)]
        joined = [*(other for cluster in near for other in cluster), answer]
        clusters = [*(c for c in clusters if c not in near), joined]
    return clusters


def _overlap(one: Region, other: Region) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def _hull(parts: Sequence[slice]) -> slice:
    return slice(min(part.start for part in parts), max(part.stop for part in parts))


def _shared(one: slice, other: slice) -> slice:
    """What both have in common; of no length or less: nothing."""
    return slice(max(one.start, other.start), min(one.stop, other.stop))
