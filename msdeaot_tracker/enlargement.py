"""Maps of the network, enlarged to a view's pixels: only where that is asked for, a band of rows at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .types import Region
from .views import View


@dataclass(frozen=True, eq=False)
class Axis:
    """Bilinear enlargement along one axis: [pixels, cells], at most two cells of each pixel with a weight.

    first, last: int [pixels], of the cells with a weight, the last one included.
    """

    weights: Tensor
    first: np.ndarray
    last: np.ndarray

    def cells(self, pixels: slice) -> slice:
        """Those that the pixels are made of."""
        return slice(int(self.first[pixels.start]), int(self.last[pixels.stop - 1]) + 1)

    def pixels(self, cells: np.ndarray) -> slice:
        """The pixels from the first to the last that one of these cells, bool [cells], has a part in."""
        there = np.flatnonzero(cells)
        if not len(there):
            return slice(0, 0)
        return slice(int(np.searchsorted(self.last, there[0])), int(np.searchsorted(self.first, there[-1], "right")))


@lru_cache(maxsize=32)
def _axis(pixels: int, cells: int, align_corners: bool, device: torch.device) -> Axis:
    one_by_one = torch.eye(cells)[None, None]
    # An enlargement of each cell alone: so the weights are torch's own. Across it stays what it is.
    weights = F.interpolate(one_by_one, (pixels, cells), mode="bilinear", align_corners=align_corners)[0, 0]
    there = weights.numpy() > 0
    return Axis(weights.to(device), there.argmax(axis=1), cells - 1 - there[:, ::-1].argmax(axis=1))


@dataclass(frozen=True, eq=False)
class Enlarged:
    """A map [K, h, w] of a view, as bilinear interpolation has it on the pixels of the image; made piece by piece."""

    view: View
    on_map: Tensor

    def on(self, region: Region) -> Tensor:
        """[rows, K, columns] on these pixels, which are `inside` the view."""
        (down, rows), (across, columns) = self._along(region)
        high, wide = down.cells(rows), across.cells(columns)
        part = self.on_map[:, high, wide].transpose(0, 1) @ across.weights[columns, wide].T  # [cells, K, columns]
        return (down.weights[rows, high] @ part.flatten(1)).unflatten(1, part.shape[1:])

    def columns_of(self, cells: np.ndarray, rows: slice) -> slice:
        """Of these rows, the columns from the first to the last pixel in which one of these cells has a part.

        cells: bool [h, w]. Rows and columns are the image's, those `inside` the view alone.
        """
        inside = self.view.inside
        (down, rows), (across, columns) = self._along((rows, inside[1]))
        seen = across.pixels(cells[down.cells(rows)].any(axis=0))
        start, stop = (min(max(at, columns.start), columns.stop) + self.view.left for at in (seen.start, seen.stop))
        return slice(start, stop)

    def _along(self, region: Region) -> tuple[tuple[Axis, slice], tuple[Axis, slice]]:
        """Of each axis, its enlargement to the whole view, and the region counted from the view's first pixel."""
        rows, columns = region
        (down, across), view = self._axes, self.view
        return (
            (down, slice(rows.start - view.top, rows.stop - view.top)),
            (across, slice(columns.start - view.left, columns.stop - view.left)),
        )

    @cached_property
    def _axes(self) -> tuple[Axis, Axis]:
        lengths = (self.view.height, self.view.width)
        down, across = (
            _axis(pixels, cells, self.view.align_corners, self.on_map.device)
            for pixels, cells in zip(lengths, self.on_map.shape[1:], strict=True)
        )
        return down, across
