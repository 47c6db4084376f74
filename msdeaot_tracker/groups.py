"""The objects of one video: who shares a memory and a view, and where each was last seen."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .boxes import Boxes
from .config import MemoryConfig, WindowConfig
from .geometry import completed, share_inside, shifted, towards
from .memory import Memory
from .types import Box, MapSize
from .views import POLICIES, Policy, Scenery, Sight, View


class Sighting(NamedTuple):
    box: Box  # where an object was last seen well, in pixels, of its usual size; it may reach beyond the image
    age: int = 0  # frames since then
    # Pixels that it then moved each frame, to the right and down; None: it was found again there, and then not yet seen
    step: tuple[float, float] | None = (0.0, 0.0)

    def after(self, frames: int, size: MapSize) -> Box:
        """Where it is so many frames later if it moves on, though not out of an image of this height and width."""
        across, down = self.step or (0.0, 0.0)
        return shifted(self.box, frames * across, frames * down, *size)

    def followed(self, now: Box, window: WindowConfig, whole: bool) -> Sighting:
        """Of the next frame, on which the object is well seen at `now`; whole: of its size, so its middle is known.

        One that was missing for long, and is found, counts as missing there until it is seen twice in a row: the view
        stays wide, as its way is not known, and it may be something else.
        """
        just_found = self.step is None and self.age == window.patience
        if self.age >= window.patience and not just_found:
            return Sighting(now, window.patience, None)
        if self.age and not just_found:
            return Sighting(now)
        before, after = ((box.x + box.w / 2, box.y + box.h / 2) for box in (self.box, now))
        moved = [b - a if whole else 0.0 for a, b in zip(before, after, strict=True)]
        across, down = (
            window.inertia * old + (1 - window.inertia) * new
            for old, new in zip(self.step or (0.0, 0.0), moved, strict=True)
        )
        return Sighting(now, step=(across, down))


class Reference(NamedTuple):
    """A reference frame as the network saw it."""

    frame_index: int
    picture: Tensor  # float32 [1, 3, h, w]
    labels: Tensor  # float32 [h, w], object ids

    def without(self, object_ids: Iterable[int]) -> Reference:
        gone = torch.tensor(sorted(object_ids), device=self.labels.device, dtype=self.labels.dtype)
        return self._replace(labels=self.labels.masked_fill(torch.isin(self.labels, gone), 0))


class ObjectGroup:
    """Up to `capacity` objects that share one memory and one view, each with a slot (identity channel) of its own.

    The memory knows a removed object under its slot still, so that slot is free again only when all are given anew
    (`close_gaps`), for which the reference frames are kept.
    """

    def __init__(self, memory: Memory, capacity: int):
        self.memory = memory
        self.view: View | None = None  # where the network looks for the objects next; None: not seen yet
        self.references: list[Reference] = []  # as many as the memory holds
        self.is_renumbered = False  # the memory does not know the slots: it is to be made anew from the references
        self._capacity = capacity
        self._slots: list[int | None] = []

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(i for i in self._slots if i is not None)

    @property
    def channels(self) -> list[int]:
        """Logit channels that mean something: background and the slots in use, in the order of `object_ids`."""
        return [0, *(slot for slot, object_id in enumerate(self._slots, start=1) if object_id is not None)]

    @property
    def is_full(self) -> bool:
        return len(self._slots) >= self._capacity

    def copy(self) -> ObjectGroup:
        other = copy.copy(self)
        other.memory, other.references, other._slots = self.memory.copy(), list(self.references), list(self._slots)
        return other

    @property
    def has_gaps(self) -> bool:
        return None in self._slots

    def close_gaps(self) -> None:
        """Give the slots of removed objects to others, as far as they have none."""
        self._slots, self.is_renumbered = list(self.object_ids), True

    def keep(self, reference: Reference, limit: int | None) -> None:
        """As the memory does: of references the first stays, and the latest."""
        self.references.append(reference)
        if limit is not None and len(self.references) > max(limit, 1):
            del self.references[1]

    def add(self, object_id: int) -> None:
        self._slots.append(object_id)

    def remove(self, object_ids: Iterable[int]) -> None:
        """Their ids may be used again: nothing of the group knows them then."""
        self._slots = [None if i in object_ids else i for i in self._slots]
        self.references = [reference.without(object_ids) for reference in self.references]

    def one_hot(self, labels: Tensor) -> Tensor:
        """Object ids [h, w] -> float32 [1, slots + 1, h, w]; objects of other groups are background (PARITY 20)."""
        mask = torch.zeros(len(self._slots) + 1, *labels.shape, device=labels.device, dtype=torch.float32)
        for slot, object_id in enumerate(self._slots, start=1):
            if object_id is not None:
                mask[slot] = labels == object_id
        mask[0] = 1 - mask[1:].amax(dim=0)
        return mask[None]


@dataclass
class Video:
    """All that is remembered of a video; a step works on a copy, so that one that fails has changed nothing."""

    scenery: Scenery
    boxes: Boxes
    frame_index: int = 0
    groups: list[ObjectGroup] = field(default_factory=list)
    sightings: dict[int, Sighting] = field(default_factory=dict)
    fills: dict[int, float] = field(default_factory=dict)  # of its box, what an object covered where it was given

    def copy(self) -> Video:
        groups = [group.copy() for group in self.groups]
        known = dict(self.sightings), dict(self.fills)
        return Video(self.scenery, self.boxes.copy(), self.frame_index, groups, *known)

    @property
    def object_ids(self) -> tuple[int, ...]:
        return tuple(sorted(i for group in self.groups for i in group.object_ids))

    def remove(self, object_ids: Iterable[int]) -> None:
        for group in self.groups:
            group.remove(set(object_ids) & set(group.object_ids))
        self.groups = [group for group in self.groups if group.object_ids]
        for object_id in object_ids:
            self.boxes.forget(object_id)
            self.sightings.pop(object_id, None)
            self.fills.pop(object_id, None)

    def note(self, boxes: Mapping[int, Box | None], scores: Mapping[int, float]) -> None:
        """Where the objects of this frame were seen; what counts as their size follows their boxes slowly."""
        window = self.scenery.settings.window
        for object_id, box in boxes.items():
            last = self.sightings[object_id]
            seen = None if box is None else completed(box, last.box, *self.scenery.frame)
            if seen is not None and scores[object_id] >= window.score and _is_alike(seen, last.box, window.change):
                now = towards(last.box, seen, window.adapt)
                whole = _is_alike(seen, last.box, window.resize)
                self.sightings[object_id] = last.followed(now, window, whole)
            else:
                self.sightings[object_id] = last._replace(age=last.age + 1)

    def well_seen(
        self,
        boxes: Mapping[int, Box | None],
        scores: Mapping[int, float],
        labels: np.ndarray,
        given: Container[int],
        memory: MemoryConfig,
    ) -> set[int]:
        """The objects that are seen so well on this frame that it may be remembered for long (`memory.sure_…`).

        labels: int [H, W], the frame's object ids. given: those that were given on it.
        """
        fills = {i: share_inside(labels, i, box) for i, box in boxes.items()} if memory.sure_fill > 0 else {}
        self.fills |= {i: fill for i, fill in fills.items() if i in given}

        def is_sure(i: int) -> bool:
            if scores[i] < memory.sure_score or (fills and fills[i] < memory.sure_fill * self.fills.get(i, 0.0)):
                return False
            box, last, change = boxes[i], self.sightings[i], memory.sure_change
            return change is None or (box is not None and not last.age and _is_alike(box, last.box, change))

        return set(filter(is_sure, boxes))

    def admit(self, objects: Mapping[int, Box], found: Callable[[], ObjectGroup]) -> None:
        """Each new object joins the first group that has a slot and a view for it; `found` makes another group.

        objects: all that were given on this frame, with the boxes of their masks.
        """
        for object_id, box in objects.items():
            self.sightings[object_id] = Sighting(box)
            if any(object_id in group.object_ids for group in self.groups):
                continue
            fitting = [g for g in self.groups if self._fit([*g.object_ids, object_id], 1.0)]
            group = next((g for g in fitting if not g.is_full), None)
            if group is None and (group := next((g for g in fitting if g.has_gaps), None)) is not None:
                group.close_gaps()
            elif group is None:
                group = found()
                self.groups.append(group)
            group.add(object_id)

    def part(self) -> dict[ObjectGroup, ObjectGroup]:
        """Groups whose objects no longer fit into one view fall apart -> each new group, and the one it comes from."""
        parted: dict[ObjectGroup, ObjectGroup] = {}
        for group in list(self.groups):
            together: list[list[int]] = []
            if self._fit(group.object_ids, self.scenery.settings.window.parting):
                continue
            for object_id in group.object_ids:
                fitting = (ids for ids in together if self._fit([*ids, object_id], 1.0))
                if (ids := next(fitting, None)) is not None:
                    ids.append(object_id)
                else:
                    together.append([object_id])
            others = set(group.object_ids)
            for ids in together[1:]:
                new = group.copy()
                new.remove(others - set(ids))
                group.remove(ids)
                self.groups.append(new)
                parted[new] = group
        return parted

    def next_view(self, group: ObjectGroup) -> View:
        return self._look(group.object_ids, group.view)

    def expected(self, object_id: int) -> Box:
        """Where the object is looked for on the next frame; the longer it is missing, the less is its way known."""
        seen = self.sightings[object_id]
        return seen.after(min(seen.age + 1, self.scenery.settings.window.patience), self.scenery.frame)

    def _fit(self, object_ids: Iterable[int], slack: float) -> bool:
        """Whether the objects want to be seen at much the same scale, and one view of them all gives them that."""
        ids = list(object_ids)
        own = [self._look([i], None).scale for i in ids]
        shared = min([self._look(ids, None).scale, *own])
        return max(own) <= shared * self.scenery.settings.window.share * slack

    def _look(self, object_ids: Iterable[int], previous: View | None) -> View:
        ids = list(object_ids)
        sight = Sight(tuple(map(self.expected, ids)), min(self.sightings[i].age for i in ids), previous)
        return self._policy(sight, self.scenery)

    @property
    def _policy(self) -> Policy:
        return POLICIES[self.scenery.settings.view]


class Snapshot(NamedTuple):
    """A video as it was after one of its frames; nobody changes it."""

    video: Video


def _is_alike(one: Box, other: Box, change: float) -> bool:
    """Of much the same area: what is left of an object behind a cover is not, nor what a leak makes of it."""
    ratio = one.w * one.h / (other.w * other.h)
    return 1 / change <= ratio <= change
