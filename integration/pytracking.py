"""pytracking (github.com/visionml/pytracking): what its runner asks of a tracker.

`pytracking_install` puts a module into the user's clone that joins `PytrackingTracker` with pytracking's base class;
pytracking itself is not imported here.
"""

from __future__ import annotations

import copy
import json
import re
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from msdeaot_tracker import FrameResult, InputError

from .vot import load_warm_tracker

if TYPE_CHECKING:
    from msdeaot_tracker import Tracker

Info = Mapping[str, Any]


class PytrackingTracker:
    """All objects of a sequence in one tracker. Object ids are pytracking's own, strings or numbers.

    `params` (one module per set in `pytracking/parameter/msdeaot`) has `settings`, the arguments of
    `msdeaot_tracker.load_tracker`, and `segmentation`: "given" (masks are answered where a mask was given), "always" or
    "never".

    An answer is {"target_bbox": [x, y, w, h], "object_presence_score": float, "segmentation": uint8 [H, W]}; of several
    objects the first two are ordered by object id, and the segmentation is the map of object ids: int32 where one is
    above 255, and 1, 2, ... in the order of the objects where ids are names and no numbers. Where an object is not to
    be seen, its box is its last one, its score 0 and its mask empty.
    """

    multiobj_mode = "default"  # not "parallel", which makes a tracker of its own for each object

    def __init__(self, params: Any) -> None:
        super().__init__(params)
        if params.segmentation not in ("given", "always", "never"):
            raise InputError(f"params.segmentation is {params.segmentation!r}: use 'given', 'always' or 'never'")
        self._tracker: Tracker | None = None

    def initialize_features(self) -> None:
        """Load and warm up; pytracking calls this before the clock of a VOT client runs."""
        self._loaded()

    def predicts_segmentation_mask(self) -> bool:
        """Whether `run_vot2020` asks for masks."""
        return self.params.segmentation == "always"

    def initialize(self, image: np.ndarray, info: Info) -> dict[str, Any]:
        """Start a video. image: uint8 [H, W, 3] RGB; info: `init_bbox`, `init_mask` or both: the mask is what counts.

        With boxes by object id, or several `init_object_ids`, objects are answered by id, and more can join later.
        """
        self._tracker = copy.copy(self._loaded())  # shares the networks; `initialize` makes the video its own
        self._started = False
        self._objects: list[Hashable] = []  # pytracking's names of our objects 1, 2, ...
        self._boxes: dict[int, list[float]] = {}
        self._several = isinstance(info.get("init_bbox"), Mapping) or len(info.get("init_object_ids", ())) > 1
        given = self.params.segmentation == "given" and info.get("init_mask") is not None
        self._gives_masks = given or self.params.segmentation == "always"
        if not self._several and info.get("init_bbox") is None and info.get("init_mask") is None:
            raise InputError("pytracking gave neither init_bbox nor init_mask")
        return self._step(image, info)

    def track(self, image: np.ndarray, info: Info | None = None) -> dict[str, Any]:
        """The next frame; `info` may bring more objects, if they are answered by id."""
        if self._tracker is None:  # `run_video` without a box starts when the first one is drawn
            return self.initialize(image, info or {})
        return self._step(image, info if info and self._several else {})

    def _step(self, image: np.ndarray, info: Info) -> dict[str, Any]:
        boxes, masks = self._new_objects(info)
        targets = boxes | masks
        if not self._started and not targets:  # `run_video` after a reset: no object until one is drawn
            return {}
        result = (self._tracker.track if self._started else self._tracker.initialize)(image, targets)
        self._started = True
        self._boxes |= {number: list(box) for number, box in result.boxes.items() if box is not None}
        self._boxes |= boxes  # the frame an object is given on is answered with what was given
        return self._answer(result)

    def _new_objects(self, info: Info) -> tuple[dict[int, list[float]], dict[int, np.ndarray]]:
        """Boxes and masks by our number, of the objects that `info` brings."""
        boxes, mask = info.get("init_bbox"), info.get("init_mask")
        if self._several:
            names = list(info.get("init_object_ids", ()))
            boxes = boxes or {}
            masks = {} if mask is None else _masks_by_name(mask, names)
        elif boxes is None and mask is None:
            return {}, {}
        else:
            names = [1]
            boxes = {} if boxes is None else {1: boxes}
            masks = {} if mask is None else {1: np.asarray(mask)}
        numbers = {name: len(self._objects) + k for k, name in enumerate(names, start=1)}
        self._objects += names
        return (
            {numbers[name]: [float(value) for value in boxes[name]] for name in names if name in boxes},
            {numbers[name]: masks[name] for name in names if name in masks},
        )

    def _answer(self, result: FrameResult) -> dict[str, Any]:
        if self._several:
            numbered = list(enumerate(self._objects, start=1))
            answer = {
                "target_bbox": OrderedDict((name, self._boxes[number]) for number, name in numbered),
                "object_presence_score": OrderedDict((name, result.scores[number]) for number, name in numbered),
            }
        else:
            answer = {"target_bbox": self._boxes[1], "object_presence_score": result.scores[1]}
        if self._gives_masks:
            answer["segmentation"] = _label_values(self._objects)[result.labels]
        return answer

    def _loaded(self) -> Tracker:
        return _load(json.dumps(self.params.settings, sort_keys=True, default=str))


def _numbers(names: Sequence[Hashable]) -> list[int] | None:
    """The ids as numbers from 1; None where they are not all numbers, each of its own."""
    texts = [str(name) for name in names]
    if not all(re.fullmatch("[0-9]+", text) for text in texts):
        return None
    numbers = [int(text) for text in texts]
    return numbers if len(set(numbers)) == len(numbers) and min(numbers, default=1) > 0 else None


def _masks_by_name(mask: Any, names: Sequence[Hashable]) -> dict[Hashable, np.ndarray]:
    """mask: the map of object ids [H, W], or masks by name. InputError: names in a map of numbers."""
    if isinstance(mask, Mapping):
        return {name: np.asarray(mask[name]) for name in names if name in mask}
    numbers = _numbers(names)
    if numbers is None:
        raise InputError(f"objects {list(names)} have no numbers to be found by in init_mask: give masks by name")
    return {name: np.asarray(mask) == number for name, number in zip(names, numbers, strict=True)}


def _label_values(names: Sequence[Hashable]) -> np.ndarray:
    """What our labels 0, 1, 2, ... are in an answer."""
    numbers = _numbers(names) or range(1, len(names) + 1)
    kind = np.uint8 if max(numbers, default=0) <= 255 else np.int32
    return np.array([0, *numbers], kind)


@lru_cache(maxsize=1)  # pytracking makes a tracker for every sequence
def _load(settings: str) -> Tracker:
    """settings: JSON, for the cache's sake."""
    return load_warm_tracker(**json.loads(settings))
