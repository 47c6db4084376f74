"""Maps of the network, enlarged to a view's pixels: only where that is asked for, a band of rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .views import View

_COLUMNS = 128  # of pixels that are made at once


@dataclass(frozen=True, eq=False)
class Axis:
    """Bilinear enlargement along one axis: [pixels, cells], at most two cells of each pixel with a weight.

    first, last: int [pixels], of the cells with a weight, the last one included.
    """

    weights: Tensor
    first: np.ndarray
    last: np.ndarray

    def cells(self, first: int, last: int) -> slice:
        """Those that the pixels from the first to the last one are made of."""
        return slice(int(self.first[first]), int(self.last[last]) + 1)

    def pixels(self, cells: np.ndarray) -> np.ndarray:
        """bool [pixels]: in which one of these cells, bool [cells], has a part."""
        return cells[self.first] | cells[self.last]


@lru_cache(maxsize=32)
def _axis(pixels: int, cells: int, align_corners: bool, device: torch.device) -> Axis:
    one_by_one = torch.eye(cells, dtype=torch.float32)[None, None]
    # An enlargement of each cell alone: so the weights are torch's own. Across it stays what it is.
    weights = F.interpolate(one_by_one, (pixels, cells), mode="bilinear", align_corners=align_corners)[0, 0]
    there = weights.numpy() > 0
    return Axis(weights.to(device), there.argmax(axis=1), cells - 1 - there[:, ::-1].argmax(axis=1))


@dataclass(frozen=True, eq=False)
class Enlarged:
    """A map [K, h, w] of a view, as bilinear interpolation has it on the pixels of the image; made piece by piece."""

    view: View
    on_map: Tensor

    def on(self, rows: slice, columns: np.ndarray) -> Tensor:
        """[K, rows, columns] on these pixels of the image, `inside` the view; columns: int [n], rising."""
        down, _ = self._axes
        rows, columns = slice(rows.start - self.view.top, rows.stop - self.view.top), columns - self.view.left
        cells = down.cells(rows.start, rows.stop - 1)
        ends = np.flatnonzero(np.diff(columns, append=columns[-1] + 2) > 1)  # of columns side by side
        starts = np.append(0, ends[:-1] + 1)
        runs = zip(columns[starts].tolist(), (columns[ends] + 1).tolist(), strict=True)
        wide = torch.cat([self._wide[:, cells, start:stop] for start, stop in runs], dim=2)
        return down.weights[rows, cells] @ wide

    @cached_property
    def _wide(self) -> Tensor:
        """[K, h, columns of the view], enlarged across alone."""
        _, across = self._axes
        parts = []  # few columns are made of few cells
        for left in range(0, self.view.width, _COLUMNS):
            right = min(left + _COLUMNS, self.view.width)
            cells = across.cells(left, right - 1)
            parts.append(self.on_map[:, :, cells] @ across.weights[left:right, cells].T)
        return torch.cat(parts, dim=2)

    def columns_of(self, cells: np.ndarray, rows: slice) -> np.ndarray:
        """bool [W]: where one of these cells, bool [h, w], has a part in the rows; W and rows are the image's."""
        down, across = self._axes
        there = cells[down.cells(rows.start - self.view.top, rows.stop - 1 - self.view.top)].any(axis=0)
        _, columns = self.view.inside
        found = np.zeros(self.view.frame[1], bool)
        found[columns] = across.pixels(there)[columns.start - self.view.left : columns.stop - self.view.left]
        return found

    @cached_property
    def _axes(self) -> tuple[Axis, Axis]:
        lengths = (self.view.height, self.view.width)
        down, across = (
            _axis(pixels, cells, self.view.align_corners, self.on_map.device)
            for pixels, cells in zip(lengths, self.on_map.shape[1:], strict=True)
        )
        return down, across
