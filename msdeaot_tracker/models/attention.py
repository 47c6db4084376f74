"""The two ways a frame reads memory: from every token, or from a window around itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from ..types import LayerTokens, MapSize

# Elements of one block of logits; blocks bound the memory of long reads and stay in the CPU's cache.
_LOGITS = {"cpu": 1 << 22, "default": 1 << 25}
_ROWS = {"cpu": 512, "default": 1 << 25}  # of such a block, at most
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
    fits = _limit(_LOGITS, query) // (key.shape[0] * key.shape[1])
    rows = query.shape[1] if whole else max(1, min(_limit(_ROWS, query), fits))
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
    scaled = query * query.shape[-1] ** -0.5
    blocks = []
    for inside, seen, reach in _bands(tokens.size, radius, _limit(_BAND, query)):
        bias = _place_offsets(relative[:, inside].unflatten(1, (-1, tokens.size[1])), radius)[:, :, :, reach]
        logits = scaled[:, inside] @ tokens.key[:, seen].transpose(1, 2)
        logits.view(bias.shape).add_(bias)
        weights = logits.softmax(dim=-1)
        blocks.append(torch.cat([weights @ tokens.value[:, seen], weights @ tokens.id_value[:, seen]], dim=-1))
    return torch.cat(blocks, dim=1) if len(blocks) > 1 else blocks[0]


def read_window_with_offsets(
    query: Tensor, relative: Tensor, offset_values: Tensor, tokens: LayerTokens, radius: int
) -> Tensor:
    """`read_window` of one branch, where every cell's value is joined by what its offset says (AOT 11).

    query [B, N, Ck]; relative [B, N, (2 radius + 1)^2]; offset_values [B, (2 radius + 1)^2, Cv] -> [B, N, Cv].
    """
    columns = tokens.size[1]
    scaled = query * query.shape[-1] ** -0.5
    blocks = []
    for inside, seen, reach in _bands(tokens.size, radius, _limit(_BAND, query)):
        logits = scaled[:, inside] @ tokens.key[:, seen].transpose(1, 2)
        logits = logits.unflatten(1, (-1, columns)).unflatten(3, (-1, columns))
        all_rows = (reach.start, logits.shape[1] + 2 * radius - reach.stop)  # those that the map does not have, too
        near = _take_offsets(F.pad(logits, (0, 0, *all_rows), value=_NOWHERE), radius)
        near = (near + relative[:, inside].unflatten(1, (-1, columns))).softmax(dim=-1)
        weights = _place_offsets(near, radius, around=0.0)[:, :, :, reach].flatten(3).flatten(1, 2)
        blocks.append(weights @ tokens.value[:, seen] + near.flatten(1, 2) @ offset_values)
    return torch.cat(blocks, dim=1) if len(blocks) > 1 else blocks[0]


def _bands(size: MapSize, radius: int, queries: int) -> Iterator[tuple[slice, slice, slice]]:
    """A map in bands of whole rows, of so many cells: a band's tokens, those it sees, and where these are in its reach.

    The reach is the band's rows and `radius` more on both sides, whether or not the map has them.
    """
    rows, columns = size
    band = max(1, queries // columns)
    for top in range(0, rows, band):
        bottom = min(top + band, rows)
        first, last = max(top - radius, 0), min(bottom + radius, rows)
        reach = slice(first - top + radius, last - top + radius)
        yield slice(top * columns, bottom * columns), slice(first * columns, last * columns), reach


def _place_offsets(relative: Tensor, radius: int, around: float = _NOWHERE) -> Tensor:
    """From offsets to cells: [B, R, w, (2 radius + 1)^2] -> [B, R, w, R + 2 radius, w], `around` where out of reach.

    Row r of the fourth axis is map row r - radius counted from the band's first row.
    """
    batch, rows, columns, _ = relative.shape
    side = 2 * radius + 1
    if torch.compiler.is_exporting():  # graphs have no views to write through
        by_row = _skew(relative.unflatten(3, (side, side)).transpose(2, 3), around)  # [B, R, dy, w, w + 2 radius]
        by_row = by_row[..., radius : radius + columns].permute(0, 3, 4, 1, 2)
        return _skew(by_row, around).permute(0, 3, 1, 4, 2)
    placed = relative.new_full((batch, rows, columns, rows + 2 * radius, columns + 2 * radius), around)
    _diagonals(placed, side).copy_(relative.unflatten(3, (side, side)))
    return placed[..., radius : radius + columns]


def _take_offsets(placed: Tensor, radius: int) -> Tensor:
    """From cells to offsets, the way back: [B, R, w, R + 2 radius, w] -> [B, R, w, (2 radius + 1)^2].

    -inf where an offset leads to a column that the map does not have.
    """
    return _diagonals(F.pad(placed, (radius, radius), value=_NOWHERE), 2 * radius + 1).flatten(3)


def _diagonals(cells: Tensor, side: int) -> Tensor:
    """[B, R, w, R + side - 1, w + side - 1], contiguous -> a view of it, [B, R, w, side, side]: those around (r, c)."""
    batch, row, column, down, across = cells.stride()
    return cells.as_strided((*cells.shape[:3], side, side), (batch, row + down, column + across, down, across))


def _skew(x: Tensor, around: float) -> Tensor:
    """[..., n, m] -> [..., n, n + m - 1]: row i moved i places to the right, `around` on both sides of it."""
    n, m = x.shape[-2:]
    padded = F.pad(x, (0, n), value=around).flatten(-2)
    return padded[..., : n * (n + m - 1)].unflatten(-1, (n, n + m - 1))


def _limit(table: dict[str, int], tensor: Tensor) -> int:
    return table.get(tensor.device.type, table["default"])
