"""The two ways a frame reads memory: from every token, or from a window around itself."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..types import LayerTokens

# Elements of one block of logits; blocks bound the memory of long reads and stay in the CPU's cache.
_LOGITS = {"cpu": 1 << 22, "default": 1 << 25}
# Queries of one band of the windowed read; a band is whole rows, so few rows waste less work on far keys.
_BAND = {"cpu": 192, "default": 4096}


def read_all(query: Tensor, tokens: LayerTokens) -> Tensor:
    """softmax(query key^T / sqrt(Ck)) [value | id_value]: query [B, N, Ck] -> [B, N, 2 Cv]."""
    return attend(query, tokens.key, (tokens.value, tokens.id_value))


def attend(query: Tensor, key: Tensor, values: Iterable[Tensor]) -> Tensor:
    """softmax(query key^T / sqrt(Ck)) of each value, joined along channels; [B, N, Ck], [B, M, Ck], [B, M, Cv]..."""
    scaled = query * query.shape[-1] ** -0.5
    rows = max(1, _limit(_LOGITS, query) // (key.shape[0] * key.shape[1]))
    blocks = []
    for block in scaled.split(rows, dim=1):
        weights = (block @ key.transpose(1, 2)).softmax(dim=-1)
        blocks.append(torch.cat([weights @ value for value in values], dim=-1))
    return torch.cat(blocks, dim=1) if len(blocks) > 1 else blocks[0]


def read_window(query: Tensor, relative: Tensor, tokens: LayerTokens, radius: int) -> Tensor:
    """Like `read_all`, but each query sees the (2 radius + 1)^2 cells around it on one frame's map.

    query [B, N, Ck]; relative [B, N, (2 radius + 1)^2] is added to the scaled logits, offsets row-major, dy outer;
    cells outside the map get no weight (PARITY 7). -> [B, N, 2 Cv].
    """
    rows, columns = tokens.size
    scaled = query * query.shape[-1] ** -0.5
    band = max(1, _limit(_BAND, query) // columns)
    blocks = []
    for top in range(0, rows, band):
        bottom = min(top + band, rows)
        first, last = max(top - radius, 0), min(bottom + radius, rows)
        inside, seen = slice(top * columns, bottom * columns), slice(first * columns, last * columns)
        bias = _place_offsets(relative[:, inside].unflatten(1, (bottom - top, columns)), radius)
        bias = bias[:, :, :, first - top + radius : last - top + radius].flatten(3).flatten(1, 2)
        weights = torch.baddbmm(bias, scaled[:, inside], tokens.key[:, seen].transpose(1, 2)).softmax(dim=-1)
        blocks.append(torch.cat([weights @ tokens.value[:, seen], weights @ tokens.id_value[:, seen]], dim=-1))
    return torch.cat(blocks, dim=1) if len(blocks) > 1 else blocks[0]


def _place_offsets(relative: Tensor, radius: int) -> Tensor:
    """From offsets to cells: [B, R, w, (2 radius + 1)^2] -> [B, R, w, R + 2 radius, w], -inf where out of reach.

    Row r of the fourth axis is map row r - radius counted from the band's first row.
    """
    side = 2 * radius + 1
    by_row = _skew(relative.unflatten(3, (side, side)).transpose(2, 3))  # [B, R, dy, w, w + 2 radius]
    by_row = by_row[..., radius : by_row.shape[-1] - radius]
    placed = _skew(by_row.permute(0, 3, 4, 1, 2))  # [B, w, w', R, R + 2 radius]
    return placed.permute(0, 3, 1, 4, 2)


def _skew(x: Tensor) -> Tensor:
    """[..., n, m] -> [..., n, n + m - 1]: row i moved i places to the right, -inf around it."""
    n, m = x.shape[-2:]
    padded = F.pad(x, (0, n), value=float("-inf")).flatten(-2)
    return padded[..., : n * (n + m - 1)].unflatten(-1, (n, n + m - 1))


def _limit(table: dict[str, int], tensor: Tensor) -> int:
    return table.get(tensor.device.type, table["default"])
