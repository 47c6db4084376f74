"""The long short-term transformer of AOT (NeurIPS 2021): one branch, whose values hold the identity (AOT.md)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..types import LayerState, LayerTokens, MapSize
from .attention import read_window_with_offsets
from .depthwise import DepthwiseConv2d
from .drop_path import drop_path
from .linear import Linear
from .maps import as_map, as_tokens

HEADS = 8  # in all three attentions; contiguous runs of channels
_FEED_FORWARD = 4  # times the width
_FEED_FORWARD_GROUPS = 32


def sine_position(size: MapSize, width: int, device: torch.device) -> Tensor:
    """Where each cell of a map lies, float32 [N, width]: the row in the first half of the channels (AOT.md 9)."""
    half = width // 2
    channel = torch.arange(half, device=device)
    frequency = 10000.0 ** (-2 * (channel // 2) / half)
    rows, columns = (
        _waves(torch.arange(extent, device=device) / (extent - 1 + 1e-6) * (2 * math.pi), frequency) for extent in size
    )
    return torch.cat([rows[:, None].expand(*size, half), columns.expand(*size, half)], dim=-1).flatten(0, 1)


def _waves(position: Tensor, frequency: Tensor) -> Tensor:
    """Sines in the even channels, cosines in the odd ones: [n], [C] -> [n, C]."""
    angle = position[:, None] * frequency
    even = torch.arange(len(frequency), device=frequency.device) % 2 == 0
    return torch.where(even, angle.sin(), angle.cos())


class Attention(nn.Module):
    """Multi-head attention over all tokens: linear maps before it are the caller's, the one after it is here."""

    def __init__(self, width: int):
        super().__init__()
        self.projection = Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[B, N, C], [B, M, C], [B, M, C] -> [B, N, C]."""
        read = F.scaled_dot_product_attention(*(_split_heads(x) for x in (query, key, value)))
        return self.projection(read.transpose(1, 2).flatten(2))


class SelfAttention(nn.Module):
    """Of a frame over itself; queries and keys know where they are."""

    def __init__(self, width: int):
        super().__init__()
        self.to_query = Linear(width, width)
        self.to_key = Linear(width, width)
        self.to_value = Linear(width, width)
        self.attention = Attention(width)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        placed = x + position
        return self.attention(self.to_query(placed), self.to_key(placed), self.to_value(x))


class WindowAttention(nn.Module):
    """Multi-head attention to a window of one frame, whose offsets add to logits and to values (AOT.md 10, 11)."""

    def __init__(self, width: int, window: int):
        super().__init__()
        self.window = window
        offsets = (2 * window + 1) ** 2
        self.relative = nn.Conv1d(width, HEADS * offsets, 1, groups=HEADS)  # of the query, unscaled
        self.relative_value = nn.Parameter(torch.zeros(HEADS, width // HEADS, offsets))
        self.projection = Linear(width, width)

    def forward(self, query: Tensor, tokens: LayerTokens) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        batch = len(query)
        relative = self.relative(query.transpose(1, 2)).unflatten(1, (HEADS, -1)).flatten(0, 1).transpose(1, 2)
        offset_values = self.relative_value.transpose(1, 2).repeat(batch, 1, 1)
        each, key, value = (_split_heads(x).flatten(0, 1) for x in (query, tokens.key, tokens.value))
        seen = LayerTokens(key, value, size=tokens.size)
        read = read_window_with_offsets(each, relative, offset_values, seen, self.window)
        return self.projection(read.unflatten(0, (batch, HEADS)).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear maps; between them group norm, GELU and a depth-wise convolution on the map (AOT.md 13)."""

    def __init__(self, width: int):
        super().__init__()
        hidden = _FEED_FORWARD * width
        self.expand = Linear(width, hidden)
        self.norm = nn.GroupNorm(_FEED_FORWARD_GROUPS, hidden)
        self.depthwise = DepthwiseConv2d(hidden, 5)
        self.contract = Linear(hidden, width)

    def forward(self, x: Tensor, size: MapSize) -> Tensor:
        on_map = self.depthwise(F.gelu(self.norm(as_map(self.expand(x), size))))
        return self.contract(as_tokens(on_map))


class LongShortTermBlock(nn.Module):
    """One layer on a map of N cells [B, N, C]: self-attention, long- and short-term attention, feed-forward."""

    def __init__(
        self, width: int, *, window: int, memory_stride: int = 1, dropout: float = 0.0, drop_path: float = 0.0
    ):
        super().__init__()
        self.memory_stride, self.drop_path = memory_stride, drop_path
        self.norm1 = nn.LayerNorm(width)
        self.self_attention = SelfAttention(width)
        self.norm2 = nn.LayerNorm(width)
        self.to_key = Linear(width, width)
        self.to_value = Linear(width, width)
        self.long_term = Attention(width)
        self.short_term = WindowAttention(width, window)
        self.dropout = nn.Dropout(dropout)
        self.norm3 = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width)

    def forward(
        self, x: Tensor, position: Tensor, size: MapSize, recall: tuple[LayerTokens, LayerTokens] | Tensor
    ) -> tuple[Tensor, LayerState]:
        """`recall` is the long- and short-term memory, or, on a reference frame, its identity embedding [B, N, C]."""
        rate = self.drop_path if self.training else 0.0
        x = x + drop_path(self.self_attention(self.norm1(x), position), rate)
        seen = self.norm2(x)
        state = LayerState(self.to_key(seen), None, seen, size)
        if isinstance(recall, Tensor):
            tokens = self.memorize(state, recall)
            long_term, short_term = tokens.thin(self.memory_stride), tokens
        else:
            long_term, short_term = recall
        far = self.long_term(state.key, long_term.key, long_term.value)
        x = x + self.dropout(far + self.short_term(state.key, short_term))
        return x + drop_path(self.feed_forward(self.norm3(x), size), rate), state

    def memorize(self, state: LayerState, identity: Tensor) -> LayerTokens:
        """The frame as memory, once its identity embedding [B, N, C] is known; it joins the values alone."""
        return LayerTokens(state.key, self.to_value(state.id_context + identity), size=state.size)


def _split_heads(x: Tensor) -> Tensor:
    """[B, N, C] -> [B, HEADS, N, C / HEADS]."""
    return x.unflatten(2, (HEADS, -1)).transpose(1, 2)
