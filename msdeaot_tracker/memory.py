"""What one video (one group of its objects) remembers, and which frames leave when it is full."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from .config import MemoryConfig
from .types import InputError, LayerTokens, MemoryView

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


class LongTermStore(Protocol):
    """Long-term memory: what is kept of a frame, and what leaves for it."""

    joined: Entry  # all that is held, per layer; empty at first
    frames: tuple[int, ...]  # indices of the frames of which something is held

    def add(self, frame: HeldFrame, entry: Entry, mask: Tensor | None) -> None: ...

    def copy(self) -> LongTermStore: ...


class FrameStore:
    """Whole frames."""

    def __init__(self, evict: Callable[[Sequence[HeldFrame]], int], limit: int | None):
        """evict: names, by position in the order of writing, the frame that makes room for a new one."""
        self.joined: Entry = ()
        self._evict, self._limit = evict, limit
        self._held: list[HeldFrame] = []
        self._entries: list[Entry] = []

    def copy(self) -> FrameStore:
        other = copy.copy(self)
        other._held, other._entries = list(self._held), list(self._entries)
        return other

    @property
    def frames(self) -> tuple[int, ...]:
        return tuple(held.index for held in self._held)

    def add(self, frame: HeldFrame, entry: Entry, mask: Tensor | None) -> None:
        while self._limit is not None and len(self._held) >= max(self._limit, 1):
            position = self._evict(self._held)
            if position == 0:  # only the first reference is left
                return
            del self._held[position], self._entries[position]
        self._held.append(frame)
        self.joined, self._entries = join([*self._entries, entry])


class ObjectStore:
    """DMAOT: of every frame each object keeps the tokens of its own cells, and each has frames of its own.

    The background is one of the objects. When an object's frames are too many, the one leaves that resembles the new
    one least; of those, in the order newest first and references last, as many stay at the end as the video has
    references, whether or not this object was there then (the published code's rule).
    """

    def __init__(self, limit: int | None):
        self.joined: Entry = ()
        self._limit = limit
        self._references = 0
        self._banks: dict[int, list[tuple[HeldFrame, Entry]]] = {}  # by channel of the masks

    def copy(self) -> ObjectStore:
        other = copy.copy(self)
        other._banks = {channel: list(bank) for channel, bank in self._banks.items()}
        return other

    @property
    def frames(self) -> tuple[int, ...]:
        return tuple(sorted({frame.index for bank in self._banks.values() for frame, _ in bank}))

    @property
    def frames_by_object(self) -> dict[int, tuple[int, ...]]:
        """Newest first, references last; by channel of the masks, of which 0 is the background."""
        return {channel: tuple(frame.index for frame, _ in bank) for channel, bank in self._banks.items()}

    def add(self, frame: HeldFrame, entry: Entry, mask: Tensor | None) -> None:
        if mask is None or len(mask) != 1:
            raise InputError("memory.policy=per_object follows one video by its masks; it cannot train a batch of them")
        owners = [F.interpolate(mask, tokens.size, mode="nearest")[0].flatten(1) > 0.5 for tokens in entry]
        for channel in range(mask.shape[1]):
            own = tuple(tokens.select(owner[channel]) for tokens, owner in zip(entry, owners, strict=True))
            bank = self._banks.setdefault(channel, [])
            if own[0].key.shape[1] and self._make_room(bank, own, frame):
                bank.insert(len(bank) if frame.reference else 0, (frame, own))
        self._references += frame.reference
        self.joined, entries = join([own for bank in self._banks.values() for _, own in bank])
        remaining = iter(entries)
        self._banks = {c: [(held, next(remaining)) for held, _ in bank] for c, bank in self._banks.items()}

    def _make_room(self, bank: list[tuple[HeldFrame, Entry]], new: Entry, frame: HeldFrame) -> bool:
        """Whether there is a place for the new frame now."""
        if self._limit is None or len(bank) < self._limit:
            return True
        predicted = [held for held in bank if not held[0].reference]
        candidates = bank[: -self._references] or predicted
        if frame.reference and not candidates:
            candidates = bank[1:2]  # of references alone the first stays
        if not candidates:
            return False
        least = min(candidates, key=lambda held: _likeness(held[1], new))
        bank[:] = [held for held in bank if held is not least]
        return True


def _likeness(held: Entry, new: Entry) -> float:
    """Cosine between the mean keys, and between the mean values, of an object on two frames; the mean over layers."""
    pairs = [
        (a, b) for one, two in zip(held, new, strict=True) for a, b in ((one.key, two.key), (one.value, two.value))
    ]
    cosines = [F.cosine_similarity(a.mean(dim=1), b.mean(dim=1)) for a, b in pairs]
    return float(torch.stack(cosines).mean())


# By policy: what makes the store for a number of frames.
STORES: dict[str, Callable[[int | None], LongTermStore]] = {
    "oldest": partial(FrameStore, evict_oldest),
    "second_oldest": partial(FrameStore, evict_second_oldest),
    "per_object": ObjectStore,
}


class Memory:
    """Reference frames, a bounded long-term memory and a short-term frame, as tokens per layer.

    The first reference is never evicted (nor, by the default policy, any other while other frames are held).
    """

    def __init__(self, config: MemoryConfig, strides: Sequence[int]):
        """strides: by how much each layer's long-term tokens are thinned (`MSDeAOT.memory_strides`)."""
        self._config = config
        self._strides = tuple(strides)
        self.long_term = STORES[config.policy](config.long_term_max)
        self._recent: list[tuple[int, Entry]] = []
        self._last_append = 0

    def copy(self) -> Memory:
        """One that goes on from here by itself. The tokens are shared: they never change."""
        other = copy.copy(self)
        other.long_term = self.long_term.copy()
        return other

    def write(
        self,
        frame_index: int,
        entry: Entry,
        *,
        reference: bool = False,
        anew: bool = False,
        sure: bool = True,
        mask: Tensor | None = None,
    ) -> None:
        """Remember a frame: always as recent, in long-term memory when it is a reference or the gap has passed.

        sure: whether its masks may be relied on; if not, and it is no reference, the next one has its turn.

        anew: forget the recent frames before it, whose maps are of another view: the short-term read goes by place.
              Of a reference they are forgotten in any case: they do not know the objects given now.
        mask: one-hot [1, k + 1, H, W] of k <= K objects, which tokens are whose; InputError: the policy needs it, and
              it is not there.
        """
        gap = self._config.long_term_gap
        earlier = [] if anew or reference else self._recent
        self._recent = [*earlier, (frame_index, entry)][-self._config.short_term_lag :]
        if reference or (sure and gap is not None and frame_index - self._last_append >= gap):
            self._append(HeldFrame(frame_index, reference), entry, mask)
            self._last_append = frame_index

    def write_reference(self, frame_index: int, entry: Entry, *, mask: Tensor | None = None) -> None:
        """Hold another view of a reference frame that has been written: other masks of the same objects."""
        self._append(HeldFrame(frame_index, reference=True), entry, mask)

    def view(self) -> MemoryView:
        """What the next frame reads. The short-term frame is `short_term_lag` frames back, or the oldest there is."""
        frame, entry = self._recent[0]
        return MemoryView(self.long_term.joined, entry, self.long_term.frames, frame)

    @property
    def token_counts(self) -> tuple[int, ...]:
        """Long-term tokens per layer."""
        return tuple(tokens.key.shape[1] for tokens in self.long_term.joined)

    def _append(self, frame: HeldFrame, entry: Entry, mask: Tensor | None) -> None:
        more = 1 if frame.reference else self._config.other_stride
        thinned = tuple(tokens.thin(stride * more) for tokens, stride in zip(entry, self._strides, strict=True))
        self.long_term.add(frame, thinned, mask)


def join(entries: Sequence[Entry]) -> tuple[Entry, list[Entry]]:
    """All tokens of each layer in one; and the entries again, as views of these, so that each token is stored once."""
    joined = tuple(_join(layer) for layer in zip(*entries, strict=True))
    return joined, list(zip(*map(_split, joined, zip(*entries, strict=True)), strict=True))


def _join(frames: Sequence[LayerTokens]) -> LayerTokens:
    joined = (torch.cat(parts, dim=1) for parts in zip(*(f.tensors for f in frames), strict=True))
    return LayerTokens(*joined, size=frames[0].size)


def _split(joined: LayerTokens, frames: Sequence[LayerTokens]) -> list[LayerTokens]:
    counts = [f.key.shape[1] for f in frames]
    parts = zip(*(t.split(counts, dim=1) for t in joined.tensors), strict=True)
    return [LayerTokens(*part, size=frame.size) for part, frame in zip(parts, frames, strict=True)]
