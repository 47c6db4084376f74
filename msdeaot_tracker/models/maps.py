"""Cells as tokens, row by row, and as a map: the same numbers in the same places, seen in two ways."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..types import MapSize


def as_tokens(on_map: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, h w, C]."""
    return on_map.flatten(2).transpose(1, 2)


def as_map(tokens: Tensor, size: MapSize) -> Tensor:
    """[B, h w, C] -> [B, C, h, w], channels-last, which torch sees by the strides, that of a single batch too."""
    return tokens.unflatten(1, size).permute(0, 3, 1, 2)


def nearest(on_map: Tensor, size: MapSize) -> Tensor:
    """[B, C, H, W] -> [B, C, h, w] by torch's nearest cell, which is that of a graph made of this as well.

    Where a cell lies between two, one step of rounding decides, and what runs graphs has a rounding of its own.
    """
    if not torch.compiler.is_exporting():
        return F.interpolate(on_map, size, mode="nearest")
    rows, columns = (
        torch.from_numpy(nearest_cells(there, here)) for there, here in zip(on_map.shape[-2:], size, strict=True)
    )
    return on_map.index_select(2, rows).index_select(3, columns)


def nearest_cells(there: int, here: int) -> np.ndarray:
    """int64 [here]: which of `there` cells in a row torch takes; in float32, as in aten/src/ATen/native/UpSample.h."""
    cells = np.floor(np.arange(here, dtype=np.float32) * np.float32(there / here)).astype(np.int64)
    return np.minimum(cells, there - 1)
