"""From the masks of a video's objects to the boxes that are reported of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .config import TrackerConfig
from .geometry import Margins, grown, hull, main_box, margins, mask_to_box, with_margins
from .initializers import BoxRefiner
from .parts import LabelParts
from .types import Box, Points


class Boxes:
    """The rectangles of one video's objects, from their masks' main parts or from a box refiner.

    With `tracker.box_margins`, an object that was given by a box keeps around its mask the room that its first mask
    left in that box: the box is certain, and what an initializer's mask misses is mostly missed on later frames too.

    With `tracker.box_probability` a box follows its mask's losses slowly: a part of the object of which the network is
    no longer sure enough stays in its box, as long as the object has that size.
    """

    def __init__(self, config: TrackerConfig, refiner: BoxRefiner | None):
        self._config = config
        self._refiner = refiner
        self._appearance: dict[int, Any] = {}  # of each object, what the refiner remembers of it
        self._margins: dict[int, Margins] = {}

    def copy(self) -> Boxes:
        """One that goes on from here by itself."""
        other = copy.copy(self)
        other._appearance, other._margins = dict(self._appearance), dict(self._margins)
        return other

    def forget(self, object_id: int) -> None:
        self._appearance.pop(object_id, None)
        self._margins.pop(object_id, None)

    def read(
        self,
        image: np.ndarray,
        parts: LabelParts,
        object_ids: Iterable[int],
        targets: Mapping[int, Box | np.ndarray | Points],
        usual: Mapping[int, Box],
        wider: np.ndarray | None = None,
    ) -> dict[int, Box | None]:
        """By object id, None where the object is absent.

        parts: of the frame's object ids. targets: of the objects that were given on this frame; a given
        mask counts as it is. usual: where objects were seen last, of their usual size; without an entry: not known.
        wider: as labels, with the pixels that may be an object's; None: there are no others.
        """
        exact = {i for i, target in targets.items() if isinstance(target, np.ndarray)}
        boxes = {i: self._rectangle(parts, i, usual.get(i), exact=i in exact) for i in object_ids}
        if wider is not None:
            lacking = {i: usual[i] for i, box in boxes.items() if box and i in usual and i not in targets}
            boxes |= {i: self._made_up(parts.labels, wider, i, boxes[i], size) for i, size in lacking.items()}
        if self._config.box_margins:
            self._note_margins(boxes, targets)
            boxes |= {
                i: with_margins(boxes[i], room, *parts.labels.shape) for i, room in self._margins.items() if boxes[i]
            }
        if self._refiner is not None:
            self._look_at(image, targets, boxes)
            boxes |= self._refined(image, {i: box for i, box in boxes.items() if box and i not in targets})
        return boxes

    def _rectangle(self, parts: LabelParts, object_id: int, usual: Box | None, *, exact: bool) -> Box | None:
        """Of a given mask, or of the main parts of one that was estimated or propagated.

        Specks would stretch it, and so would what looks like the object elsewhere.
        """
        if exact:
            return parts.box(object_id)
        return parts.box(object_id, self._config.box_share, last=usual, growth=self._config.box_growth)

    def _made_up(self, labels: np.ndarray, wider: np.ndarray, object_id: int, box: Box, usual: Box) -> Box:
        """With what the mask lacks of the object's usual size, where there are pixels that may be the object's."""
        room = self._margins.get(object_id, Margins(0, 0, 0, 0))
        w, h = usual.w / (1 + room.left + room.right), usual.h / (1 + room.top + room.bottom)
        if w <= box.w and h <= box.h:
            return box
        around = hull([box, Box(box.x + box.w - w, box.y + box.h - h, w, h), Box(box.x, box.y, w, h)])
        top, left = max(math.floor(around.y), 0), max(math.floor(around.x), 0)
        place = slice(top, math.ceil(around.y + around.h)), slice(left, math.ceil(around.x + around.w))
        free = labels[place]
        mask = (wider[place] == object_id) & ((free == 0) | (free == object_id))
        last = usual._replace(x=usual.x - left, y=usual.y - top)
        found = main_box(mask, self._config.box_share, last=last, growth=self._config.box_growth)
        if found is None:
            return box
        return grown(box, hull([box, found._replace(x=found.x + left, y=found.y + top)]), w, h)

    def _note_margins(self, boxes: Mapping[int, Box | None], targets: Mapping[int, Box | np.ndarray | Points]) -> None:
        """Of the objects that are given by boxes; others have none. boxes: the rectangles of their masks."""
        for object_id, target in targets.items():
            self._margins.pop(object_id, None)
            if boxes[object_id] is not None and isinstance(target, Box):
                self._margins[object_id] = margins(target, boxes[object_id])

    def _look_at(
        self, image: np.ndarray, targets: Mapping[int, Box | np.ndarray | Points], boxes: Mapping[int, Box | None]
    ) -> None:
        """Show the refiner the objects that are given. boxes: the rectangles of what is seen of them."""
        for object_id, target in targets.items():
            box = mask_to_box(target) if isinstance(target, np.ndarray) else target
            if isinstance(box, Points) and (box := boxes[object_id]) is None:
                continue  # hidden by others that were given
            self._appearance[object_id] = self._refiner.reference(image, box)

    def _refined(self, image: np.ndarray, boxes: Mapping[int, Box]) -> dict[int, Box]:
        """What the refiner finds near these rectangles, where it finds something."""
        known = {i: box for i, box in boxes.items() if i in self._appearance}
        found = {i: self._refiner.refine(image, box, self._appearance[i]).box for i, box in known.items()}
        return {i: box for i, box in found.items() if box is not None}


def drop_strays(parts: LabelParts, usual: Mapping[int, Box], config: TrackerConfig) -> None:
    """Take from a frame's labels the parts of objects that are not where those are (`box_growth`).

    usual: where each object is expected, of its usual size.
    """
    if config.drop_strays and config.box_growth is not None:
        for object_id, last in usual.items():
            parts.drop_others(object_id, last, config.box_growth)
