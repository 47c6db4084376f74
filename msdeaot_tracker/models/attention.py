"""The two ways a frame reads memory: from every token, or from a window around itself."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..types import LayerTokens

# Elements of one block of logits; blocks bound the memory of long reads and stay in the CPU's cache.
_LOGITS = {"cpu": 1 << 22, "default": 1 << 25}
_NOWHERE = float("-inf")  # logit of a cell that is out of reach
# Queries of one band of the windowed read; a band is whole rows, so few rows waste less work on far keys.
_BAND = {"cpu": 192, "default": 4096}


def read_all(query: Tensor, tokens: LayerTokens) -> Tensor:
    """softmax(query key^T / sqrt(Ck)) [value | id_value]: query [B, N, Ck] -> [B, N, 2 Cv]."""
    return attend(query, tokens.key, (tokens.value, tokens.id_value))


def attend(query: Tensor, key: Tensor, values: Iterable[Tensor]) -> Tensor:
    """softmax(query key^T / sqrt(Ck)) of each value, joined along channels; [B, N, Ck], [B, M, Ck], [B, M, Cv]..."""
    scaled = query * query.shape[-1] ** -0.5
    whole = torch.compiler.is_exporting()  # a graph for any number of keys cannot count its blocks
    rows = query.shape[1] if whole else max(1, _limit(_LOGITS, query) // (key.shape[0] * key.shape[1]))
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


def read_window_with_offsets(
    query: Tensor, relative: Tensor, offset_values: Tensor, tokens: LayerTokens, radius: int
) -> Tensor:
    """`read_window` of one branch, where every cell's value is joined by what its offset says (AOT 11).

    query [B, N, Ck]; relative [B, N, (2 radius + 1)^2]; offset_values [B, (2 radius + 1)^2, Cv] -> [B, N, Cv].
    """
    rows, columns = tokens.size
    scaled = query * query.shape[-1] ** -0.5
    band = max(1, _limit(_BAND, query) // columns)
    blocks = []
    for top in range(0, rows, band):
        bottom = min(top + band, rows)
        first, last = max(top - radius, 0), min(bottom + radius, rows)
        inside, seen = slice(top * columns, bottom * columns), slice(first * columns, last * columns)
        logits = (scaled[:, inside] @ tokens.key[:, seen].transpose(1, 2)).unflatten(2, (last - first, columns))
        around = (0, 0, first - top + radius, bottom + radius - last)  # rows of the reach that the map does not have
        near = _take_offsets(F.pad(logits, around, value=_NOWHERE).unflatten(1, (bottom - top, columns)), radius)
        near = (near + relative[:, inside].unflatten(1, (bottom - top, columns))).softmax(dim=-1)
        weights = _place_offsets(near, radius, around=0.0)[:, :, :, first - top + radius : last - top + radius]
        values = weights.flatten(3).flatten(1, 2) @ tokens.value[:, seen]
        blocks.append(values + near.flatten(1, 2) @ offset_values)
    return torch.cat(blocks, dim=1) if len(blocks) > 1 else blocks[0]


def _place_offsets(relative: Tensor, radius: int, around: float = _NOWHERE) -> Tensor:
    """From offsets to cells: [B, R, w, (2 radius + 1)^2] -> [B, R, w, R + 2 radius, w], `around` where out of reach.

    Row r of the fourth axis is map row r - radius counted from the band's first row.
    """
    side = 2 * radius + 1
    by_row = _skew(relative.unflatten(3, (side, side)).transpose(2, 3), around)  # [B, R, dy, w, w + 2 radius]
    by_row = by_row[..., radius : by_row.shape[-1] - radius]
    placed = _skew(by_row.permute(0, 3, 4, 1, 2), around)  # [B, w, w', R, R + 2 radius]
    return placed.permute(0, 3, 1, 4, 2)


def _take_offsets(placed: Tensor, radius: int) -> Tensor:
    """From cells to offsets, the way back: [B, R, w, R + 2 radius, w] -> [B, R, w, (2 radius + 1)^2].

    -inf where an offset leads to a column that the map does not have.
    """
    by_row = _straighten(placed.permute(0, 2, 4, 1, 3)).permute(0, 3, 4, 1, 2)  # [B, R, dy, w, w']
    taken = _straighten(F.pad(by_row, (radius, radius), value=_NOWHERE))  # [B, R, dy, w, dx]
    return taken.transpose(2, 3).flatten(3)


def _skew(x: Tensor, around: float) -> Tensor:
    """[..., n, m] -> [..., n, n + m - 1]: row i moved i places to the right, `around` on both sides of it."""
    n, m = x.shape[-2:]
    padded = F.pad(x, (0, n), value=around).flatten(-2)
    return padded[..., : n * (n + m - 1)].unflatten(-1, (n, n + m - 1))


def _straighten(x: Tensor) -> Tensor:
    """[..., n, n + m - 1] -> [..., n, m], the way back: row i begins at its i-th place."""
    n, width = x.shape[-2:]
    padded = F.pad(x.flatten(-2), (0, n))
    return padded.unflatten(-1, (n, width + 1))[..., : width + 1 - n]


def _limit(table: dict[str, int], tensor: Tensor) -> int:
    return table.get(tensor.device.type, table["default"])
