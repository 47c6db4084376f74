"""Cells as tokens, row by row, and as a map: the same numbers in the same places, seen in two ways."""

from __future__ import annotations

from torch import Tensor

from ..types import MapSize


def as_tokens(on_map: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, h w, C]."""
    return on_map.flatten(2).transpose(1, 2)


def as_map(tokens: Tensor, size: MapSize) -> Tensor:
    """[B, h w, C] -> [B, C, h, w], channels-last, which torch sees by the strides, that of a single batch too."""
    return tokens.unflatten(1, size).permute(0, 3, 1, 2)
