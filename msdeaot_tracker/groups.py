"""The objects of one video: who shares a memory and a view, and where each was last seen."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .boxes import Boxes
from .config import MemoryConfig
from .device import to_device
from .geometry import completed, share_inside
from .memory import Memory
from .parts import Runs
from .sightings import Sighting, is_alike
from .types import Box, MapSize
from .views import POLICIES, Policy, Scenery, Sight, View, choose, searched


class Reference(NamedTuple):
    """A reference frame as the network saw it."""

    frame_index: int
    picture: Tensor  # float32 [1, 3, h, w]
    labels: np.ndarray  # int32 [h, w], object ids
    again: bool = False  # it is another view of the one before

    def without(self, object_ids: Iterable[int]) -> Reference:
        return self._replace(labels=np.where(np.isin(self.labels, list(object_ids)), 0, self.labels))


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

    def one_hot(self, runs: Runs, size: MapSize, like: Tensor) -> Tensor:
        """[1, slots + 1, h, w], in channels-last order; objects of other groups are background (PARITY 20).

        runs: of a map of object ids of that size. like: of the dtype and on the device of what comes out.
        """
        slots = np.zeros(len(runs.ids), np.int32)
        for slot, object_id in enumerate(self._slots, start=1):
            if object_id is not None:
                slots[runs.ids == object_id] = slot
        every = torch.from_numpy(np.repeat(slots, runs.stops - runs.starts)).view(size)
        channels = torch.eye(len(self._slots) + 1, dtype=like.dtype, device=like.device)
        return F.embedding(to_device(every, like.device), channels)[None].permute(0, 3, 1, 2)


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
        """Where the objects of this frame were seen; scores: of those that were not given on it."""
        for object_id, box in boxes.items():
            last = self.sightings[object_id]
            seen = None if box is None else completed(box, last.box, *self.scenery.frame)
            self.sightings[object_id] = last.noted(seen, scores.get(object_id), self.scenery.settings.window)

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
            return change is None or (box is not None and not last.age and is_alike(box, last.box, change))

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
        """Where the object is looked for on the next frame."""
        return self.sightings[object_id].next(self.scenery.settings.window.patience, self.scenery.frame)

    def wider(self, group: ObjectGroup) -> View | None:
        """The window in which the group's objects are looked for first if they go missing; None: there is none."""
        if self._policy is not choose:
            return None
        wider = searched(tuple(map(self.expected, group.object_ids)), self.scenery)
        return wider if wider != self.scenery.full else None

    def lost(self, group: ObjectGroup) -> tuple[int, ...]:
        """Objects that are searched for in windows. What may be one of them is not remembered: the next frame tells."""
        patience = self.scenery.settings.window.patience
        lost = tuple(i for i in group.object_ids if self.sightings[i].age >= patience)
        return lost if lost and self.wider(group) is not None else ()

    def _fit(self, object_ids: Iterable[int], slack: float) -> bool:
        """Whether the objects want to be seen at much the same scale, and one view of them all gives them that."""
        ids = list(object_ids)
        own = [self._look([i], None).scale for i in ids]
        shared = min([self._look(ids, None).scale, *own])
        return max(own) <= shared * self.scenery.settings.window.share * slack

    def _look(self, object_ids: Iterable[int], previous: View | None) -> View:
        ids = list(object_ids)
        return self._policy(Sight(tuple(map(self.expected, ids)), min(map(self._missing, ids)), previous), self.scenery)

    def _missing(self, object_id: int) -> int:
        """Frames; one that may have been found is searched for around there, as if it had just gone missing."""
        seen = self.sightings[object_id]
        return min(seen.age, self.scenery.settings.window.patience) if seen.found else seen.age

    @property
    def _policy(self) -> Policy:
        return POLICIES[self.scenery.settings.view]


class Snapshot(NamedTuple):
    """A video as it was after one of its frames; nobody changes it."""

    video: Video
