"""The connected parts of all objects of a frame, found in one pass over its label map."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .geometry import hull, kept_parts
from .types import Box, Region


class Runs(NamedTuple):
    """Pixels of one id side by side in one row, from top to bottom and left to right, as indices of the flat map."""

    ids: np.ndarray
    starts: np.ndarray  # int64, as the next one
    stops: np.ndarray  # behind the last pixel


def find_runs(labels: np.ndarray) -> Runs:
    """All of a label map, integers [H, W], those of id 0 among them."""
    flat = labels.reshape(-1)
    begins = np.ones(labels.shape, bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    return Runs(flat[starts], starts, np.append(starts[1:], flat.size))


def find_spans(labels: np.ndarray) -> dict[int, Region]:
    """The rows and columns that hold each object of a label map, integers [H, W], 0 = background; by rising id."""
    every = find_runs(labels)
    runs = Runs(*(each[every.ids > 0] for each in every))
    order, first, (left, top, right, bottom) = _extents(runs, runs.ids, labels.shape[1])
    sides = zip(runs.ids[order][first].tolist(), *(side.tolist() for side in (top, bottom, left, right)), strict=True)
    return {object_id: (slice(t, b), slice(x, stop)) for object_id, t, b, x, stop in sides}


def _extents(runs: Runs, groups: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """Runs by their group, a number >= 0 each: their order, where in it each group begins, and what holds each group.

    That is int64 left, top, right, bottom of each, the last two behind the last pixel; by rising group.
    """
    order = np.argsort(groups, kind="stable")
    first = np.flatnonzero(np.diff(groups[order], prepend=-1))
    rows, left = np.divmod(runs.starts[order], width)
    if not len(first):
        return order, first, (left, rows, left, rows)
    right = left + (runs.stops - runs.starts)[order]
    last = np.append(first[1:], len(order)) - 1
    extents = np.minimum.reduceat(left, first), rows[first], np.maximum.reduceat(right, first), rows[last] + 1
    return order, first, extents


class LabelParts:
    """A frame's label map, integers [H, W], 0 = background, and the 8-connected parts of each of its objects.

    Parts of an object count in the order of their first pixels.
    """

    def __init__(self, labels: np.ndarray):
        self.labels = labels
        every = find_runs(labels)
        self._runs = runs = Runs(*(each[every.ids != 0] for each in every))
        self._part = _connected(runs, labels.shape[1])  # of each run
        order, first, (left, top, right, bottom) = _extents(runs, self._part, labels.shape[1])
        self._rectangles = np.stack([left, top, right - left, bottom - top], axis=1)  # (x, y, w, h) of each part
        self._areas = np.add.reduceat((runs.stops - runs.starts)[order], first) if len(first) else left
        ids = runs.ids[order][first]
        self._own = {int(i): np.flatnonzero(ids == i) for i in np.unique(ids)}  # parts, by object id

    def box(
        self, object_id: int, share: float = 0.0, *, last: Box | None = None, growth: float | None = None
    ) -> Box | None:
        """The smallest upright rectangle of an object's main parts (`geometry.main_parts`); None: it has no pixel."""
        own = self._own.get(object_id)
        if own is None:
            return None
        main = own[kept_parts(self._rectangles[own], self._areas[own], share, last, growth)]
        return hull([Box(*rectangle) for rectangle in self._rectangles[main].tolist()])

    def drop_others(self, object_id: int, last: Box, growth: float) -> None:
        """Take from the labels what is no main part of an object, of any share (`geometry.main_parts`)."""
        own = self._own.get(object_id)
        if own is None:
            return
        main = kept_parts(self._rectangles[own], self._areas[own], 0.0, last, growth)
        if not main.all():
            others = np.isin(self._part, own[~main])
            flat = self.labels.reshape(-1)
            for start, stop in zip(self._runs.starts[others].tolist(), self._runs.stops[others].tolist(), strict=True):
                flat[start:stop] = 0
            self._own[object_id] = own[main]


def _connected(runs: Runs, width: int) -> np.ndarray:
    """int64, of each run of objects the number of its part; parts are numbered in the order of their first runs."""
    above, below = _touching(runs, width)
    part = np.arange(len(runs.ids))  # at first each run by itself; then the first run of what it is known to belong to
    while True:
        one, other = part[above], part[below]
        apart = one != other
        if not apart.any():
            break
        above, below, one, other = (each[apart] for each in (above, below, one, other))
        np.minimum.at(part, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(part, further := part[part]):
            part = further
    return (np.cumsum(part == np.arange(len(part))) - 1)[part]


def _touching(runs: Runs, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs of one object that touch, by a corner at least: one in a row, and one in the row below it."""
    # As if rows were two pixels longer: so the end of one does not touch the beginning of the next.
    starts, lasts = (each + 2 * (each // width) for each in (runs.starts, runs.stops - 1))
    first = np.searchsorted(lasts, starts - (width + 3))
    counts = np.searchsorted(starts, lasts - (width + 1), side="right") - first
    below = np.repeat(np.arange(len(starts)), counts)
    above = np.arange(len(below)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    alike = runs.ids[below] == runs.ids[above]
    return above[alike], below[alike]
