"""The two ways a frame reads memory: from every token, or from a window around itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..types import LayerTokens, MapSize
from .linear import similarity, weighted

# Elements of one block of logits; blocks bound the memory of long reads and stay in the CPU's cache.
_LOGITS = {"cpu": 1 << 23, "default": 1 << 25}
_ROWS = {"cpu": 512, "default": 1 << 25}  # of such a block, at most
_NOWHERE = float("-inf")  # logit of a cell that is out of reach
# Queries of one tile of the windowed read: the smaller it is, the less work is wasted on keys that are too far.
_TILE = {"cpu": 144, "default": 4096}


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
    for part in _spread(query.shape[1], rows):
        weights = similarity(scaled[:, part], key).softmax(dim=-1)
        blocks.append(torch.cat([weighted(weights, value) for value in values], dim=-1))
    return torch.cat(blocks, dim=1) if len(blocks) > 1 else blocks[0]


def read_window(query: Tensor, relative: Tensor, tokens: LayerTokens, radius: int) -> Tensor:
    """Like `read_all`, but each query sees the (2 radius + 1)^2 cells around it on one frame's map.

    query [B, N, Ck]; relative [B, N, (2 radius + 1)^2] is added to the scaled logits, offsets row-major, dy outer;
    cells outside the map get no weight (PARITY 7). -> [B, N, 2 Cv].
    """
    query, relative = (x.unflatten(1, tokens.size) for x in (query * query.shape[-1] ** -0.5, relative))
    key = tokens.key.unflatten(1, tokens.size)
    values = torch.cat([tokens.value, tokens.id_value], dim=-1).unflatten(1, tokens.size)

    def read(tile: _Tile) -> Tensor:
        logits = similarity(query[tile.inside].flatten(1, 2), key[tile.seen].flatten(1, 2))
        bias = _place_offsets(relative[tile.inside], radius)[tile.reach]
        logits.view(bias.shape).add_(bias)
        return weighted(logits.softmax(dim=-1), values[tile.seen].flatten(1, 2))

    return _by_tiles(read, query, radius)


def read_window_with_offsets(
    query: Tensor, relative: Tensor, offset_values: Tensor, tokens: LayerTokens, radius: int
) -> Tensor:
    """`read_window` of one branch, where every cell's value is joined by what its offset says (AOT 11).

    query [B, N, Ck]; relative [B, N, (2 radius + 1)^2]; offset_values [B, (2 radius + 1)^2, Cv] -> [B, N, Cv].
    """
    query, relative = (x.unflatten(1, tokens.size) for x in (query * query.shape[-1] ** -0.5, relative))
    key, value = (x.unflatten(1, tokens.size) for x in (tokens.key, tokens.value))

    def read(tile: _Tile) -> Tensor:
        logits = similarity(query[tile.inside].flatten(1, 2), key[tile.seen].flatten(1, 2))
        logits = logits.unflatten(1, tile.shape).unflatten(3, key[tile.seen].shape[1:3])
        near = (_take_offsets(logits, tile.reach, radius) + relative[tile.inside]).softmax(dim=-1)
        weights = _place_offsets(near, radius, around=0.0)[tile.reach].flatten(3).flatten(1, 2)
        return weights @ value[tile.seen].flatten(1, 2) + near.flatten(1, 2) @ offset_values

    return _by_tiles(read, query, radius)


class _Tile(NamedTuple):
    """A rectangle of a map. Its reach is `radius` cells more on all sides, whether or not the map has them."""

    shape: MapSize
    inside: tuple[slice, slice, slice]  # of [B, h, w, ...], its cells
    seen: tuple[slice, slice, slice]  # those of its reach that the map has
    reach: tuple[slice, ...]  # where these are in its reach, of [B, R, C, R + 2 radius, C + 2 radius]


def _by_tiles(read: Callable[[_Tile], Tensor], query: Tensor, radius: int) -> Tensor:
    """What is read for each tile, [B, R C, Cv], on the whole map: query [B, h, w, Ck] -> [B, h w, Cv]."""
    rows = _tiles(tuple(query.shape[1:3]), radius, _limit(_TILE, query))
    bands = [torch.cat([read(tile).unflatten(1, tile.shape) for tile in tiles], dim=2) for tiles in rows]
    return torch.cat(bands, dim=1).flatten(1, 2)


@lru_cache(maxsize=64)
def _tiles(size: MapSize, radius: int, cells: int) -> list[list[_Tile]]:
    """A map's tiles, much alike and close to squares of at most so many cells, row by row."""
    down = _spread(size[0], max(1, round(cells**0.5)))
    across = _spread(size[1], max(1, cells // (down[0].stop - down[0].start)))
    return [[_tile(size, (rows, columns), radius) for columns in across] for rows in down]


def _tile(size: MapSize, inside: tuple[slice, slice], radius: int) -> _Tile:
    whole = slice(None)
    seen = [slice(max(s.start - radius, 0), min(s.stop + radius, n)) for s, n in zip(inside, size, strict=True)]
    reach = [slice(n.start - s.start + radius, n.stop - s.start + radius) for s, n in zip(inside, seen, strict=True)]
    rows, columns = (s.stop - s.start for s in inside)
    return _Tile((rows, columns), (whole, *inside), (whole, *seen), (whole, whole, whole, *reach))


def _spread(length: int, most: int) -> list[slice]:
    """Parts of at most so many, of the same length but for the last."""
    step = -(-length // -(-length // most))
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def _place_offsets(relative: Tensor, radius: int, around: float = _NOWHERE) -> Tensor:
    """From offsets to cells: [B, R, C, (2 radius + 1)^2] -> [B, R, C, R + 2 radius, C + 2 radius].

    `around` is what the cells out of a query's own reach get.
    """
    batch, rows, columns, _ = relative.shape
    side = 2 * radius + 1
    if torch.compiler.is_exporting():  # graphs have no views to write through
        by_row = _skew(relative.unflatten(3, (side, side)).transpose(2, 3), around)  # [B, R, dy, C, C + 2 radius]
        return _skew(by_row.permute(0, 3, 4, 1, 2), around).permute(0, 3, 1, 4, 2)
    placed = relative.new_full((batch, rows, columns, rows + 2 * radius, columns + 2 * radius), around)
    _diagonals(placed, side).copy_(relative.unflatten(3, (side, side)))
    return placed


def _take_offsets(placed: Tensor, reach: tuple[slice, ...], radius: int) -> Tensor:
    """From cells to offsets, the way back: what of the reach the map has, [B, R, C, r, c] -> [B, R, C, offsets].

    -inf where an offset leads to a cell that the map does not have.
    """
    _, rows, columns, _, _ = placed.shape
    sides = [
        (part.start, length + 2 * radius - part.stop) for part, length in zip(reach[-2:], (rows, columns), strict=True)
    ]
    whole = F.pad(placed, (*sides[1], *sides[0]), value=_NOWHERE)
    return _diagonals(whole, 2 * radius + 1).flatten(3)


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
