"""What one video (one group of its objects) remembers, and which frames leave when it is full."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .config import MemoryConfig
from .types import LayerTokens, MemoryView

Entry = tuple[LayerTokens, ...]  # one per layer, coarse to fine


@dataclass(frozen=True)
class HeldFrame:
    """A frame in long-term memory, as an eviction policy sees it."""

    index: int
    reference: bool


def evict_oldest(frames: Sequence[HeldFrame]) -> int:
    """The oldest frame that is no reference; of references only, the oldest after the first."""
    for position, frame in enumerate(frames):
        if not frame.reference:
            return position
    return min(1, len(frames) - 1)


def evict_second_oldest(frames: Sequence[HeldFrame]) -> int:
    """VMOS (item 13): the first frame stays, the one after it leaves, reference or not."""
    return min(1, len(frames) - 1)


# A policy names, by position in the order of writing, the frame that makes room for a new one.
POLICIES: dict[str, Callable[[Sequence[HeldFrame]], int]] = {
    "oldest": evict_oldest,
    "second_oldest": evict_second_oldest,
}


class Memory:
    """Reference frames, a bounded long-term memory and a short-term frame, as tokens per layer.

    The first reference is never evicted (nor, by the default policy, any other while other frames are held).
    """

    def __init__(self, config: MemoryConfig, strides: Sequence[int]):
        """strides: by how much each layer's long-term tokens are thinned (`MSDeAOT.memory_strides`)."""
        self._config = config
        self._strides = tuple(strides)
        self._held: list[HeldFrame] = []
        self._long_term: list[Entry] = []
        self._joined: Entry = ()
        self._recent: list[tuple[int, Entry]] = []
        self._last_append = 0

    def copy(self) -> Memory:
        """One that goes on from here by itself. The tokens are shared: they never change."""
        other = copy.copy(self)
        other._held, other._long_term = list(self._held), list(self._long_term)
        return other

    def write(self, frame_index: int, entry: Entry, *, reference: bool = False, anew: bool = False) -> None:
        """Remember a frame: always as recent, in long-term memory when it is a reference or the gap has passed.

        anew: forget the recent frames before it, whose maps are of another view: the short-term read goes by place.
        """
        gap = self._config.long_term_gap
        earlier = [] if anew else self._recent
        self._recent = [*earlier, (frame_index, entry)][-self._config.short_term_lag :]
        if reference or (gap is not None and frame_index - self._last_append >= gap):
            self._append(HeldFrame(frame_index, reference), entry)
            self._last_append = frame_index

    def write_reference(self, frame_index: int, entry: Entry) -> None:
        """Hold another view of a reference frame that has been written: other masks of the same objects."""
        self._append(HeldFrame(frame_index, reference=True), entry)

    def view(self) -> MemoryView:
        """What the next frame reads. The short-term frame is `short_term_lag` frames back, or the oldest there is."""
        frame, entry = self._recent[0]
        return MemoryView(self._joined, entry, tuple(held.index for held in self._held), frame)

    @property
    def token_counts(self) -> tuple[int, ...]:
        """Long-term tokens per layer."""
        return tuple(tokens.key.shape[1] for tokens in self._joined)

    def _append(self, frame: HeldFrame, entry: Entry) -> None:
        limit = self._config.long_term_max
        while limit is not None and len(self._held) >= max(limit, 1):
            position = POLICIES[self._config.policy](self._held)
            if position == 0:  # only the first reference is left
                return
            del self._held[position], self._long_term[position]
        self._held.append(frame)
        self._long_term.append(tuple(t.thin(s) for t, s in zip(entry, self._strides, strict=True)))
        self._joined = tuple(_join(layer) for layer in zip(*self._long_term, strict=True))
        self._long_term = list(zip(*map(_split, self._joined, zip(*self._long_term, strict=True)), strict=True))


def _join(frames: Sequence[LayerTokens]) -> LayerTokens:
    joined = (torch.cat(parts, dim=1) for parts in zip(*(f.tensors for f in frames), strict=True))
    return LayerTokens(*joined, size=frames[0].size)


def _split(joined: LayerTokens, frames: Sequence[LayerTokens]) -> list[LayerTokens]:
    """The frames again, as views of the joined tensors, so that each token is stored once."""
    counts = [f.key.shape[1] for f in frames]
    parts = zip(*(t.split(counts, dim=1) for t in joined.tensors), strict=True)
    return [LayerTokens(*part, size=frame.size) for part, frame in zip(parts, frames, strict=True)]
