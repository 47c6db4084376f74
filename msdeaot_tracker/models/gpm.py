"""The gated propagation module of DeAOT (NeurIPS 2022, section 4; details: PARITY 2-12)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..types import LayerState, LayerTokens, MapSize
from .attention import attend, read_all, read_window
from .depthwise import DepthwiseConv2d
from .drop_path import drop_path
from .linear import Linear, silu
from .maps import as_map, as_tokens


class GatedProjection(nn.Module):
    """What a read becomes: times the gate, a depth-wise 5x5 convolution on the map, a projection to both branches."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.depthwise = DepthwiseConv2d(4 * width, 5)
        self.dropout = nn.Dropout2d(dropout)
        self.projection = Linear(4 * width, 2 * width)

    def forward(self, read: Tensor, gate: Tensor, size: MapSize) -> Tensor:
        """read, gate [B, N, 4 C] -> [B, N, 2 C], visual | identity."""
        return self.projection(as_tokens(self.dropout(self.depthwise(as_map(read * gate, size)))))


class SelfPropagation(nn.Module):
    """Attention of a frame over itself, or over means of its cells; both branches share one attention map."""

    def __init__(self, width: int, dropout: float, stride: int):
        super().__init__()
        self.stride = stride
        self.to_key = Linear(2 * width, width // 2)
        self.to_value = Linear(width, 2 * width)
        self.to_id_value = Linear(width, 2 * width)
        self.to_gate = Linear(width, 2 * width)
        self.to_id_gate = Linear(width, 2 * width)
        self.output = GatedProjection(width, dropout)

    def forward(self, x: Tensor, y: Tensor, size: MapSize) -> Tensor:
        """Normalised branches [B, N, C] each -> [B, N, 2 C]."""
        key = self.to_key(torch.cat([x, y], dim=-1))
        value = torch.cat([silu(self.to_value, x), silu(self.to_id_value, y)], dim=-1)
        gate = torch.cat([silu(self.to_gate, x), silu(self.to_id_gate, y)], dim=-1)
        query = key
        if self.stride > 1:
            key, value = _means(key, size, self.stride), _means(value, size, self.stride)
        return self.output(attend(query, key, (value,)), gate, size)


def _means(tokens: Tensor, size: MapSize, side: int) -> Tensor:
    """Of each square of so many cells, at the map's ends of those that it has: [B, N, C] -> [B, n, C]."""
    return as_tokens(F.avg_pool2d(as_map(tokens, size), side, ceil_mode=True, count_include_pad=False))


class GatedPropagation(nn.Module):
    """One layer on a map of N cells: long- and short-term propagation, then self-propagation.

    The visual branch x and the identity branch y are [B, N, C] each. The very first layer of the network has no y.
    """

    def __init__(
        self,
        width: int,
        *,
        first: bool,
        window: int,
        memory_stride: int = 1,
        self_stride: int = 1,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.window, self.memory_stride, self.drop_path = window, memory_stride, drop_path
        self.key_width, self.value_width = width // 2, 2 * width
        self.norm1 = nn.LayerNorm(width)
        self.to_key_value = Linear(width, self.key_width + self.value_width)
        self.to_gate = Linear(width, self.value_width)
        self.id_norm1 = None if first else nn.LayerNorm(width)
        self.to_id_gate = None if first else Linear(width, self.value_width)
        self.to_id_value = Linear(width if first else 2 * width, self.value_width)
        self.relative = Linear(self.key_width, (2 * window + 1) ** 2)
        self.long_term = GatedProjection(width, dropout)
        self.short_term = GatedProjection(width, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.id_norm2 = nn.LayerNorm(width)
        self.self_propagation = SelfPropagation(width, dropout, self_stride)

    def forward(
        self, x: Tensor, y: Tensor | None, size: MapSize, recall: tuple[LayerTokens, LayerTokens] | Tensor
    ) -> tuple[Tensor, Tensor, LayerState]:
        """`recall` is the long- and short-term memory, or, on a reference frame, its identity embedding [B, N, C]."""
        state, gate = self._look(x, y, size)
        if isinstance(recall, Tensor):
            tokens = self.memorize(state, recall)
            long_term, short_term = tokens.thin(self.memory_stride), tokens
        else:
            long_term, short_term = recall
        near = read_window(state.key, self.relative(state.key), short_term, self.window)
        change = self.long_term(read_all(state.key, long_term), gate, size) + self.short_term(near, gate, size)
        dx, dy = change.chunk(2, dim=-1)
        x, y = x + dx, dy if y is None else y + dy
        dx, dy = self.self_propagation(self.norm2(x), self.id_norm2(y), size).chunk(2, dim=-1)
        rate = self.drop_path if self.training else 0.0
        return x + drop_path(dx, rate), y + drop_path(dy, rate), state

    def memorize(self, state: LayerState, identity: Tensor) -> LayerTokens:
        """The frame as memory, once its identity embedding [B, N, C] is known. Keys and values stay as they were."""
        seen = identity if state.id_context is None else torch.cat([state.id_context, identity], dim=-1)
        return LayerTokens(state.key, state.value, silu(self.to_id_value, seen), size=state.size)

    def _look(self, x: Tensor, y: Tensor | None, size: MapSize) -> tuple[LayerState, Tensor]:
        x = self.norm1(x)
        key, value = self.to_key_value(x).split([self.key_width, self.value_width], dim=-1)
        gate = silu(self.to_gate, x)
        context = None if self.id_norm1 is None else self.id_norm1(y)
        id_gate = torch.ones_like(gate) if context is None else silu(self.to_id_gate, context)
        return LayerState(key.contiguous(), F.silu(value), context, size), torch.cat([gate, id_gate], dim=-1)
