"""A map cut into square windows, shifted or not, as the blocks of a Swin transformer see it (PARITY 28)."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..types import MapSize

_APART = -100.0  # added to the logits between cells that only the shift brought into one window


class Windows(NamedTuple):
    """Of a map of N row-major cells, in W windows of n cells each."""

    cells: Tensor  # int64 [W * n]: the cell at each place of each window, N where a window reaches beyond the map
    places: Tensor  # int64 [N]: the place of each cell, the way back
    mask: Tensor | None  # float32 [W, 1, n, n], added to logits; None: nothing is shifted


@lru_cache(maxsize=16)
def cut_windows(size: MapSize, side: int, shift: int, device: torch.device) -> Windows:
    """The map is filled up to whole windows below and on the right, then moved up and left by `shift`, around."""
    with torch.inference_mode(False):  # to be used in training as well
        rows, columns = size
        bottom, right = -rows % side, -columns % side
        cells = F.pad(torch.arange(rows * columns).view(size), (0, right, 0, bottom), value=rows * columns)
        cells = _partition(cells.roll((-shift, -shift), (0, 1)), side)
        there = cells.flatten() < rows * columns
        places = torch.empty(rows * columns, dtype=torch.int64)
        places[cells.flatten()[there]] = there.nonzero()[:, 0]
        mask = None
        if shift:
            down, across = (_region(length, side, shift) for length in (rows + bottom, columns + right))
            region = _partition(3 * down[:, None] + across, side)
            mask = torch.where(region[:, None, :, None] == region[:, None, None], 0.0, _APART).to(device)
        return Windows(cells.flatten().to(device), places.to(device), mask)


def _partition(on_map: Tensor, side: int) -> Tensor:
    """[a side, b side] -> [a b, side^2]."""
    return on_map.unflatten(0, (-1, side)).unflatten(2, (-1, side)).transpose(1, 2).reshape(-1, side**2)


def _region(length: int, side: int, shift: int) -> Tensor:
    """Along one axis, moved: 0 what was together before, 1 and 2 the two parts of the last window."""
    at = torch.arange(length)
    return (at >= length - side).long() + (at >= length - shift)
