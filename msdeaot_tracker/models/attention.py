"""The two ways a frame reads memory: from every token, or from a window around itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
_SMALL = 8  # rows and columns, at most, of tiles that are read side by side
_NARROW = 512  # channels of values, at most, of such tiles: around each one all are copied
_BLOCK = 1 << 20  # elements of such copies at once


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
        weights = _softmax(similarity(scaled[:, part], key))
        blocks.append(torch.cat([weighted(weights, value) for value in values], dim=-1))
    return torch.cat(blocks, dim=1) if len(blocks) > 1 else blocks[0]


def read_window(query: Tensor, relative: Tensor, tokens: LayerTokens, radius: int) -> Tensor:
    """Like `read_all`, but each query sees the (2 radius + 1)^2 cells around it on one frame's map.

    query [B, N, Ck]; relative [B, N, (2 radius + 1)^2] is added to the scaled logits, offsets row-major, dy outer;
    cells outside the map get no weight (PARITY 7). -> [B, N, 2 Cv].
    """
    values = torch.cat([tokens.value, tokens.id_value], dim=-1)
    return _by_tiles(query, relative, tokens.key, values, tokens.size, radius)


def read_window_with_offsets(
    query: Tensor, relative: Tensor, offset_values: Tensor, tokens: LayerTokens, radius: int
) -> Tensor:
    """`read_window` of one branch, where every cell's value is joined by what its offset says (AOT 11).

    query [B, N, Ck]; relative [B, N, (2 radius + 1)^2]; offset_values [B, (2 radius + 1)^2, Cv] -> [B, N, Cv].
    """
    return _by_tiles(query, relative, tokens.key, tokens.value, tokens.size, radius, offset_values)


class _Read(NamedTuple):
    """Tiles of a map, [n, R, C, ...] each, and what they see of their reach, which is `radius` on all sides more."""

    query: Tensor
    relative: Tensor  # [n, R, C, (2 radius + 1)^2]
    key: Tensor  # [n, r, c, Ck]
    values: Tensor  # [n, r, c, Cv]
    seen: tuple[slice, slice]  # these rows and columns of the reach

    def by_cells(self, radius: int) -> Tensor:
        """[n, R, C, Cv], with a weight of each cell that is seen."""
        logits = self._logits()
        logits += _place_offsets(self.relative, radius, _NOWHERE)[(..., *self.seen)]
        return self._weighted(_softmax(logits.flatten(3)))

    def by_offsets(self, radius: int, offset_values: Tensor | None) -> Tensor:
        """The same with fewer weights, one of each offset. offset_values [n, (2 radius + 1)^2, Cv] add to values."""
        near = _softmax(_take_offsets(self._logits(), self.seen, radius) + self.relative)
        found = self._weighted(_place_offsets(near, radius, 0.0)[(..., *self.seen)].flatten(3))
        if offset_values is not None:
            found = found + (near.flatten(1, 2) @ offset_values).view_as(found)
        return found

    def _logits(self) -> Tensor:
        logits = similarity(self.query.flatten(1, 2), self.key.flatten(1, 2))
        return logits.unflatten(2, self.key.shape[1:3]).unflatten(1, self.query.shape[1:3])

    def _weighted(self, weights: Tensor) -> Tensor:
        return weighted(weights.flatten(1, 2), self.values.flatten(1, 2)).unflatten(1, self.query.shape[1:3])


def _softmax(logits: Tensor) -> Tensor:
    """Over the last axis; in inference on a CPU in place of the logits: what is written is in the cache already."""
    if logits.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return logits.softmax(dim=-1)
    return torch.softmax(logits, dim=-1, out=logits)


def _by_tiles(
    query: Tensor,
    relative: Tensor,
    key: Tensor,
    values: Tensor,
    size: MapSize,
    radius: int,
    offset_values: Tensor | None = None,
) -> Tensor:
    """The windowed read of values [B, N, Cv] of a map of that size; the other arguments are those of its two kinds."""
    query, relative, key, values = (
        x.unflatten(1, size) for x in (query * query.shape[-1] ** -0.5, relative, key, values)
    )
    # Small tiles are fast only if many share an operator. float32 has a faster product, of single ones (`similarity`).
    together = query.device.type == "cpu" and query.dtype != torch.float32 and values.shape[-1] <= _NARROW
    read = _side_by_side if together else _one_by_one
    return read(_Read(query, relative, key, values, (slice(None), slice(None))), radius, offset_values).flatten(1, 2)


def _one_by_one(whole: _Read, radius: int, offset_values: Tensor | None) -> Tensor:
    """By tiles close to squares and the cells of their reach that the map has: whole maps -> [B, h, w, Cv]."""
    size = whole.query.shape[1:3]
    cells = _limit(_TILE, whole.query)
    down = _spread(size[0], max(1, round(cells**0.5)))
    across = _spread(size[1], max(1, cells // (down[0].stop - down[0].start)))

    def read(*inside: slice) -> Tensor:
        there = [slice(max(s.start - radius, 0), min(s.stop + radius, n)) for s, n in zip(inside, size, strict=True)]
        rows, columns = (
            slice(t.start - s.start + radius, t.stop - s.start + radius) for s, t in zip(inside, there, strict=True)
        )
        at, around = (slice(None), *inside), (slice(None), *there)
        tile = _Read(whole.query[at], whole.relative[at], whole.key[around], whole.values[around], (rows, columns))
        return tile.by_cells(radius) if offset_values is None else tile.by_offsets(radius, offset_values)

    return torch.cat([torch.cat([read(rows, columns) for columns in across], dim=2) for rows in down], dim=1)


def _side_by_side(whole: _Read, radius: int, offset_values: Tensor | None) -> Tensor:
    """The same by equal small tiles of a map that is filled up to hold them, whole rows of them in one batch."""
    size, side = tuple(whole.query.shape[1:3]), 2 * radius + 1
    outside = F.pad(whole.relative.new_zeros(size), (radius,) * 4, value=_NOWHERE)
    relative = whole.relative + outside.unfold(0, side, 1).unfold(1, side, 1).flatten(2)
    steps = [_step(n, _SMALL) for n in size]
    steps = [n if n <= step + 2 * radius else step for n, step in zip(size, steps, strict=True)]
    counts = [-(-n // step) for n, step in zip(size, steps, strict=True)]
    below, after = (count * step - n for n, step, count in zip(size, steps, counts, strict=True))
    down, across = (radius if count > 1 else 0 for count in counts)  # a single tile sees what the map has
    query, relative = (_tiled(F.pad(x, (0, 0, 0, after, 0, below)), steps) for x in (whole.query, relative))
    key, values = (
        _around(F.pad(x, (0, 0, across, across + after, down, down + below)), steps, (down, across))
        for x in (whole.key, whole.values)
    )
    rows, columns = (slice(radius - r, radius + r + n) for r, n in zip((down, across), steps, strict=True))
    found = []
    for part in _spread(counts[0], max(1, _BLOCK // values[:, 0].numel())):
        batch = _Read(*(x[:, part].flatten(0, 2) for x in (query, relative, key, values)), (rows, columns))
        each = len(batch.query) // len(whole.query)
        offsets = None if offset_values is None else offset_values.repeat_interleave(each, dim=0)
        tiles = batch.by_offsets(radius, offsets).unflatten(0, (-1, each // counts[1], counts[1]))
        found.append(tiles.transpose(2, 3).flatten(3, 4).flatten(1, 2))
    return torch.cat(found, dim=1)[:, : size[0], : size[1]]


def _tiled(x: Tensor, steps: Sequence[int]) -> Tensor:
    """[B, h, w, C] -> a view, [B, down, across, R, C, C]: a map in tiles of these rows and columns."""
    return x.unflatten(2, (-1, steps[1])).unflatten(1, (-1, steps[0])).transpose(2, 3)


def _around(x: Tensor, steps: Sequence[int], more: Sequence[int]) -> Tensor:
    """The same of a map with so many cells `more` on each side: tiles with those around them."""
    rows, columns = (step + 2 * each for step, each in zip(steps, more, strict=True))
    return x.unfold(1, rows, steps[0]).unfold(2, columns, steps[1]).permute(0, 1, 2, 4, 5, 3)


def _spread(length: int, most: int) -> list[slice]:
    """Parts of at most so many, of the same length but for the last."""
    step = _step(length, most)
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def _step(length: int, most: int) -> int:
    return -(-length // -(-length // most))


def _place_offsets(near: Tensor, radius: int, around: float) -> Tensor:
    """From offsets to cells: [B, R, C, (2 radius + 1)^2] -> [B, R, C, R + 2 radius, C + 2 radius].

    `around` is what the cells out of a query's own reach get.
    """
    batch, rows, columns, _ = near.shape
    side = 2 * radius + 1
    if torch.compiler.is_exporting():  # graphs have no views to write through
        by_row = _skew(near.unflatten(3, (side, side)).transpose(2, 3), around)  # [B, R, dy, C, C + 2 radius]
        return _skew(by_row.permute(0, 3, 4, 1, 2), around).permute(0, 3, 1, 4, 2)
    placed = near.new_full((batch, rows, columns, rows + 2 * radius, columns + 2 * radius), around)
    _diagonals(placed, side).copy_(near.unflatten(3, (side, side)))
    return placed


def _take_offsets(placed: Tensor, seen: tuple[slice, slice], radius: int) -> Tensor:
    """From cells to offsets, the way back: what is seen of the reach, [B, R, C, r, c] -> [B, R, C, offsets].

    -inf where an offset leads to a cell that is not seen.
    """
    above, before = (part.start for part in seen)
    below, after = (n + 2 * radius - part.stop for n, part in zip(placed.shape[1:3], seen, strict=True))
    if any((above, below, before, after)):
        placed = F.pad(placed, (before, after, above, below), value=_NOWHERE)
    return _diagonals(placed, 2 * radius + 1).flatten(3)


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
