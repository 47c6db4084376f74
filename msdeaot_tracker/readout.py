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
from torch.nn import functional as F

from .enlargement import Enlarged
from .types import MaskEstimate, Region
from .views import View

_ROWS = {"cpu": 40, "default": 1 << 20}  # of the image at once, so that what is computed stays in a CPU's cache
_CERTAIN = 80.0  # logits are cut off there: their exp is finite, and so are sums of it
_LOWEST, _HIGHEST = 1e-5, 1 - 1e-5  # of a probability where groups are merged
_ROUNDING = 1e-4  # what logits may be off by


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
    levels = tuple(dict.fromkeys((1.0, probability / (1 - probability))))
    found = np.zeros((len(levels), height, width), np.int32)
    scores: dict[int, float] = {}
    clusters = _overlapping(answers)
    for together in clusters:
        ids = np.array([0, *(object_id for answer in together for object_id in answer.object_ids)], np.int32)
        counts, sums = np.zeros(len(ids)), np.zeros(len(ids))
        read = partial(_alone, *together) if len(together) == 1 else partial(_merged, together)
        for rows, columns in _uncertain(together, width, levels[-1]):
            *channels, sure = read(rows, columns, levels)
            first, last = int(columns[0]), int(columns[-1])
            across = slice(first, last + 1) if last - first < len(columns) else columns  # much faster by a slice
            for labels, channel in zip(found, channels, strict=True):
                own = ids[channel]
                if len(clusters) > 1:  # what others found, whose views overlap none of these, stays
                    own = np.where(channel > 0, own, labels[rows, across])
                labels[rows, across] = own
            counts += np.bincount(channels[0].ravel(), minlength=len(ids))
            sums += np.bincount(channels[0].ravel(), sure.ravel(), len(ids))
        means = sums / np.maximum(counts, 1)
        scores |= dict(zip(ids[1:].tolist(), means[1:].tolist(), strict=True))
    return Reading(found[0], scores, found[1] if len(levels) > 1 else None)


def _uncertain(together: Sequence[Answer], width: int, odds: float) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows, and columns of them, in which something may be an object; everywhere else the background is certain.

    It is so even with these odds, of at most 1. An object whose logit is x above that of its group's background is
    ahead of the merged background where x - log(odds) and, over the other groups, the sum of -log(probability of the
    background) are together more than 0. That sum is convex in the logits, and between four cells of a map these are
    weighted means: what is at most 0 at all four is so between them. Groups in other views have other cells. So with V
    of them: where the sum over all of a view's groups is at most log(1 + 1 / V) in each, the merged background is at
    least (1 + 1 / V) ** -V, and no object is above 1 / (V + 1), which is less.
    """
    views: dict[View, list[Tensor]] = {}
    for answer in together:
        views.setdefault(answer.view, []).append(answer.enlarged.on_map - math.log(odds))
    cells = [_beside_the_background(groups, len(views)).cpu().numpy() for groups in views.values()]
    bands = [view.inside[0] for view in views]
    enlarged = {answer.view: answer.enlarged for answer in together}
    step = _ROWS.get(together[0].logits.device.type, _ROWS["default"])
    for top in range(min(band.start for band in bands), max(band.stop for band in bands), step):
        columns = np.zeros(width, bool)
        for view, band, there in zip(views, bands, cells, strict=True):
            rows = _shared(slice(top, top + step), band)
            if rows.start < rows.stop:
                columns |= enlarged[view].columns_of(there, rows)
        if columns.any():
            yield slice(top, min(top + step, max(band.stop for band in bands))), np.flatnonzero(columns)


def _beside_the_background(groups: Sequence[Tensor], views: int) -> Tensor:
    """bool [h, w], by the bounds of `_uncertain`; groups: [K, h, w] each, of those in one of so many views."""
    highest = torch.stack([ahead.amax(dim=0) for ahead in groups])
    if len(groups) == views == 1:
        return highest[0] > -_ROUNDING
    added = torch.stack([F.softplus(ahead.logsumexp(dim=0)) for ahead in groups])
    total = added.sum(dim=0)
    if views == 1:
        return (highest + total - added).amax(dim=0) > -_ROUNDING
    return total > math.log1p(1 / views) - _ROUNDING


def _alone(answer: Answer, rows: slice, columns: np.ndarray, levels: Sequence[float]) -> list[np.ndarray]:
    """The channel with the highest logit, int32 [rows, columns], at each level; and its probability.

    levels: odds by which those of the background are multiplied; from 1, falling. The probability, float32, is that at
    the first; where the background is ahead, of whatever object.
    """
    logits = answer.enlarged.on(rows, columns)
    highest = logits.amax(dim=0)
    index = _first(logits, highest)
    channels = [index * (highest > math.log(level)) for level in levels]
    ahead = logits.clamp_(max=_CERTAIN).exp_()
    sure = ahead.amax(dim=0) / (1 + ahead.sum(dim=0))
    return [each.cpu().numpy() for each in (*channels, sure)]


def _merged(together: Sequence[Answer], rows: slice, columns: np.ndarray, levels: Sequence[float]) -> list[np.ndarray]:
    """The same of all groups' channels one after another, by soft aggregation (DeAOT, PARITY 21), group after group.

    The background's probability is the product of the groups' backgrounds, an object's that in its group, where its
    view does not reach 0. All are clamped; their logits' softmax is taken, which is each one's odds by their sum.
    """
    said, first = [], 1
    for answer in together:
        if (part := _Part.of(answer, first, rows, columns)) is not None:
            said.append(part)
        first += len(answer.object_ids)
    merges = [_Merge(said, together[0].logits.new_ones(rows.stop - rows.start, len(columns)), odds) for odds in levels]
    channels = [merge.channels() for merge in merges]
    where = channels[0].flatten().nonzero()[:, 0]
    best, background = (each.flatten()[where] for each in (merges[0].best, merges[0].background))
    total = torch.full_like(best, (first - 1) * _odds(_LOWEST))  # of all objects' odds
    for part in said:
        part.add_odds(total, where)
    sure = torch.zeros_like(merges[0].best)
    sure.view(-1)[where] = _odds(best) / (total + _odds(background))
    return [each.cpu().numpy() for each in (*channels, sure)]


@dataclass(frozen=True, eq=False)
class _Part:
    """What a group says of those pixels of a block that its view reaches."""

    here: Region  # of the block
    pixels: int  # of the block, as the next one
    columns: int
    first: int  # channel
    logits: Tensor  # [K, r * c], of objects above the background
    highest: Tensor  # [r, c], the most probable object's probability by that of the background
    total: Tensor  # the same of all objects

    @classmethod
    def of(cls, answer: Answer, first: int, rows: slice, columns: np.ndarray) -> _Part | None:
        """rows, columns: of the image, of the block. None: the view reaches none of them."""
        inside, across = answer.view.inside
        seen, (left, right) = _shared(rows, inside), np.searchsorted(columns, (across.start, across.stop))
        if seen.start >= seen.stop or left >= right:
            return None
        here = slice(seen.start - rows.start, seen.stop - rows.start), slice(int(left), int(right))
        logits = answer.enlarged.on(seen, columns[left:right])
        ahead = logits.clamp(max=_CERTAIN).exp_()
        pixels = (rows.stop - rows.start) * len(columns)
        return cls(here, pixels, len(columns), first, logits.flatten(1), ahead.amax(dim=0), ahead.sum(dim=0))

    def channels(self, where: Tensor) -> Tensor:
        """int32 [n], of the most probable object at these pixels of the block, int64 [n], all of them its own."""
        _, place = self._place(where)
        logits = self.logits.index_select(1, place)
        return _first(logits, logits.amax(dim=0)) + (self.first - 1)

    def add_odds(self, total: Tensor, where: Tensor) -> None:
        """Those of its objects' probabilities at these pixels, in place of the lowest ones, where it reaches them."""
        own, place = self._place(where)
        ahead = self.logits.index_select(1, place).clamp_(max=_CERTAIN).exp_()
        odds = _odds(ahead.mul_(1 / (1 + self.total.flatten()[place])).clamp_(_LOWEST, _HIGHEST))
        total[own] += odds.sum(dim=0) - len(odds) * _odds(_LOWEST)

    def _place(self, where: Tensor) -> tuple[Tensor | slice, Tensor]:
        """Which of these pixels of the block it reaches; and these among its own."""
        if self.total.numel() == self.pixels:
            return slice(None), where
        rows, columns = self.total.shape
        down, across = where // self.columns - self.here[0].start, where % self.columns - self.here[1].start
        own = (down >= 0) & (down < rows) & (across >= 0) & (across < columns)
        return own, (down * columns + across)[own]


class _Merge:
    """The most probable object of some groups, and the background of them all, at each pixel of a block."""

    def __init__(self, said: Sequence[_Part], like: Tensor, odds: float):
        """odds: by which those of each group's background are multiplied. like: [rows, columns]."""
        self._said = said
        self.background, self.best = torch.ones_like(like), torch.full_like(like, _LOWEST)
        self._group = torch.zeros_like(like, dtype=torch.int32)  # the best one's
        for number, part in enumerate(said):
            here, scale = part.here, 1 / (odds + part.total)
            self.background[here] *= odds * scale
            value = (part.highest * scale).clamp_(_LOWEST, _HIGHEST)
            self._group[here].masked_fill_(value > self.best[here], number)
            self.best[here] = torch.maximum(value, self.best[here])
        self.background.clamp_(_LOWEST, _HIGHEST)

    def channels(self) -> Tensor:
        """int32 [rows, columns], 0 where the background is ahead."""
        channel = torch.zeros_like(self._group)
        where = (self.best > self.background).flatten().nonzero()[:, 0]
        group, found = self._group.flatten()[where], torch.zeros_like(where, dtype=torch.int32)
        for number, part in enumerate(self._said):
            own = (group == number).nonzero()[:, 0]
            if len(own):
                found[own] = part.channels(where[own])
        channel.view(-1)[where] = found
        return channel


def _odds(probability: Tensor | float) -> Tensor | float:
    return probability / (1 - probability)


def _first(channels: Tensor, highest: Tensor) -> Tensor:
    """int32 [...], from 1: which of these, [K, ...], is the highest one; the first of such."""
    count = len(channels)
    if count == 1:
        return torch.ones_like(highest, dtype=torch.int32)
    kind = torch.uint8 if count < 256 else torch.int32  # bytes are faster, and than max() with its indices
    ranks = torch.arange(count, 0, -1, dtype=kind, device=channels.device).view(-1, *[1] * highest.dim())
    return count + 1 - ((channels == highest) * ranks).amax(dim=0).int()


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


def _shared(one: slice, other: slice) -> slice:
    """What both have in common; of no length or less: nothing."""
    return slice(max(one.start, other.start), min(one.stop, other.stop))
