"""One video that someone works on: its objects, what was clicked, what was tracked. Knows nothing of the page."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..geometry import mask_to_box
from ..images import VOID
from ..overlay import Paint, bright_colour
from ..types import Box, FrameResult, InputError, MaskEstimate
from .engine import Engine
from .frames import Frames
from .marks import Click, Mark, Point, box_of_corners, target_of, unpack
from .masks import MaskStore

if TYPE_CHECKING:
    from ..targets import Target
    from ..tracker import Tracker

MAX_OBJECTS = 50


class Session:
    """The state of one user's work. Frames, and masks of tracked frames, are on disk; what is marked is in memory.

    A call that raises has changed nothing. InputError: what is asked for is not there, or cannot be done.
    """

    def __init__(self, frames: Frames, folder: Path, engine: Engine):
        """folder: the session's own, where its frames may be; `close` removes it."""
        self.frames, self.folder = frames, folder
        self.paints: dict[int, Paint] = {}
        self.is_closed = False
        self._engine = engine
        self._store = MaskStore(folder / "masks")
        self._marks: dict[int, dict[int, Mark]] = {}  # by frame and object
        self._outdated: set[tuple[int, int]] = set()  # frames and objects that were marked after they were tracked
        self._corner: tuple[int, int, Point] | None = None  # the first of a box: frame, object, place
        self._next_id = 1  # ids are not used again: masks on disk may still hold those of removed objects
        self._stopping = False
        self._busy = threading.Lock()  # held while the video is tracked
        self._marking = threading.Lock()  # one click after the other, and none while tracking begins

    def add_object(self, name: str = "") -> int:
        """A new object's id; its name is that number until it gets another."""
        if len(self.paints) >= MAX_OBJECTS or self._next_id >= VOID:
            raise InputError(f"there is no room for another object: {MAX_OBJECTS} at a time, {VOID - 1} in all")
        object_id, self._next_id = self._next_id, self._next_id + 1
        self.paints[object_id] = Paint(name.strip() or f"object {object_id}", bright_colour(object_id))
        return object_id

    def paint(self, object_id: int, name: str, colour: tuple[int, int, int]) -> None:
        self._check_object(object_id)
        self.paints[object_id] = Paint(name.strip() or f"object {object_id}", colour)

    def remove_object(self, object_id: int) -> None:
        """From all frames."""
        with self._marking:
            self._check_object(object_id)
            self._check_idle()
            del self.paints[object_id]
            left = {k: {i: m for i, m in marks.items() if i != object_id} for k, marks in self._marks.items()}
            self._marks = {index: marks for index, marks in left.items() if marks}
            self._corner = None

    def click(self, index: int, object_id: int, point: Point, *, foreground: bool = True) -> None:
        """The point lies on the object, or beside it: what the object's mask on this frame is made of, from now on."""
        with self._marking:
            self._corner = None
            self._extend(index, object_id, Click(self._inside(point), foreground))

    def corner(self, index: int, object_id: int, point: Point) -> bool:
        """One of two opposite corners of a box around the object; whether this was the second."""
        with self._marking:
            point = self._inside(point)
            if self._corner is None or self._corner[:2] != (index, object_id):
                self._check_object(object_id)
                self._corner = (index, object_id, point)
                return False
            box = box_of_corners(self._corner[2], point)
            self._corner = None
            self._extend(index, object_id, box)
            return True

    def undo(self, index: int, object_id: int) -> None:
        """Take back the last click, corner or box of the object on this frame."""
        with self._marking:
            if self._corner is not None and self._corner[:2] == (index, object_id):
                self._corner = None
                return
            mark = self._marks.get(index, {}).get(object_id)
            if mark is None:
                raise InputError("there is no click on this frame to take back")
            self._mark(index, object_id, mark.steps[:-1])

    def marks(self, index: int) -> dict[int, Mark]:
        """What was marked on the frame, by object."""
        return dict(self._marks.get(index, {}))

    def pending_corner(self, index: int) -> Point | None:
        """The first corner of a box that is being drawn on the frame."""
        return self._corner[2] if self._corner is not None and self._corner[0] == index else None

    def labels(self, index: int) -> np.ndarray:
        """int32 [H, W]: object ids of what was tracked, under what is marked."""
        labels = self._store.labels(index, self.paints, self.frames.size)
        for object_id, mark in self._marks.get(index, {}).items():
            labels[labels == object_id] = 0
            labels[unpack(mark, self.frames.size)] = object_id
        return labels

    def result(self, index: int) -> FrameResult:
        """Boxes and scores as tracked; of objects that were marked since then, those of their marks."""
        labels, marks, tracked = self.labels(index), self._marks.get(index, {}), self._store.tracked(index)
        boxes: dict[int, Box | None] = {}
        scores: dict[int, float] = {}
        estimates = {}
        for object_id in self.paints:
            mark, mask = marks.get(object_id), labels == object_id
            source = tracked.sources.get(object_id)
            if object_id in tracked.boxes and (index, object_id) not in self._outdated:
                boxes[object_id], scores[object_id] = tracked.boxes[object_id], tracked.scores[object_id]
            elif mark is not None:
                boxes[object_id], source = mask_to_box(mask), mark.source
                scores[object_id] = 1.0 if mark.confidence is None else mark.confidence
            if source is not None:
                estimates[object_id] = MaskEstimate(mask, source)
        return FrameResult(index, labels, boxes, scores, estimates)

    @property
    def known_frames(self) -> list[int]:
        """Those that were tracked or marked, in order."""
        return sorted({*self._store.indices, *self._marks})

    def seconds(self, index: int) -> float:
        """That tracking the frame took."""
        return self._store.tracked(index).seconds

    def start_of(self, index: int) -> int:
        """The frame that tracking begins with, for someone who looks at `index`: it, or the last known one before."""
        before = [known for known in self.known_frames if known <= index]
        if not self._marks or not before:
            raise InputError("nothing to track: click on an object on this frame first, or draw a box around it")
        return before[-1]

    def track(self, index: int) -> Iterator[int]:
        """Track on from frame `index` to the end of the video; gives the number of each frame that is done.

        What came before is kept, and so is what is marked later on: it counts when its frame is reached. The tracker
        is shown the marked frames up to here, which the user has looked at, and this one as it is now.
        InputError: nothing to track, or it is being tracked already.
        """
        with self._marking:
            start = self.start_of(index)
            if not self._busy.acquire(blocking=False):
                raise InputError("this video is being tracked already")
        try:
            self._stopping = False
            tracker = self._begin(start)
            for frame in range(start + 1, len(self.frames)):
                if self._stopping or self.is_closed:
                    break
                self._step(tracker, frame)
                yield frame
        finally:
            self._busy.release()
            if self.is_closed:
                self._remove_folder()

    def stop(self) -> None:
        """Tracking ends after the frame it is at."""
        self._stopping = True

    def close(self) -> None:
        """Nobody works on it any more. Whatever runs ends by itself."""
        self.is_closed = True
        self._remove_folder()

    @property
    def is_tracking(self) -> bool:
        return self._busy.locked()

    def _begin(self, start: int) -> Tracker:
        """A tracker that has seen frame `start` and the marked frames before it."""
        tracker, is_new = self._engine.new_tracker(), True
        for index in sorted({start, *(k for k in self._marks if k < start)}):
            targets, image = self._targets(index, everything=True), self.frames.image(index)
            with self._engine.lock:
                begin = time.perf_counter()
                if is_new and targets:
                    result, is_new = tracker.initialize(image, targets), False
                elif not is_new:
                    result = tracker.track(image, targets)
                seconds = time.perf_counter() - begin
            if index == start and targets:
                self._keep(index, self._kept(index, result), seconds)
        if is_new:
            raise InputError("nothing to track: no object is visible up to this frame")
        return tracker

    def _kept(self, index: int, result: FrameResult) -> FrameResult:
        """Of a frame where tracking begins again: what is known of it, and of marked objects the tracker's answer."""
        known, marked = self.result(index), self._marks.get(index, {})
        boxes = known.boxes | {i: box for i, box in result.boxes.items() if i in marked}
        return FrameResult(index, known.labels, boxes, known.scores, known.estimates)

    def _step(self, tracker: Tracker, index: int) -> None:
        image, targets = self.frames.image(index), self._targets(index, everything=False)
        with self._engine.lock:
            begin = time.perf_counter()
            result = tracker.track(image, targets)
            seconds = time.perf_counter() - begin
        self._keep(index, result, seconds)

    def _keep(self, index: int, result: FrameResult, seconds: float) -> None:
        self._store.write(index, result, seconds)
        self._outdated = {marked for marked in self._outdated if marked[0] != index}

    def _targets(self, index: int, *, everything: bool) -> dict[int, Target]:
        """What the tracker is given on a frame: what is marked; or the other objects' masks, too.

        A box goes as it is, for the tracker keeps the room it leaves around the mask.
        """
        labels, marks = self.labels(index), self._marks.get(index, {})
        targets: dict[int, Target] = {}
        for object_id in self.paints if everything else marks:
            mask, mark = labels == object_id, marks.get(object_id)
            target = None if mark is None else target_of(mark.steps, None)
            if isinstance(target, Box):
                targets[object_id] = target
            elif mask.any():
                targets[object_id] = mask
        return targets

    def _extend(self, index: int, object_id: int, step: Click | Box) -> None:
        mark = self._marks.get(index, {}).get(object_id)
        self._mark(index, object_id, (*(mark.steps if mark else ()), step))

    def _mark(self, index: int, object_id: int, steps: tuple[Click | Box, ...]) -> None:
        """Ask for the mask that these steps make, of what was tracked there."""
        self._check_object(object_id)
        self._check_idle()
        image = self.frames.image(index)
        marks = dict(self._marks.get(index, {}))
        marks.pop(object_id, None)
        if steps:
            tracked = self._store.labels(index, [object_id], self.frames.size) == object_id
            target = target_of(steps, tracked if tracked.any() else None)
            with self._engine.lock:
                estimate = self._engine.estimate(image, target)
            marks[object_id] = Mark(steps, np.packbits(estimate.mask), estimate.source, estimate.confidence)
        self._marks.pop(index, None)
        if marks:
            self._marks[index] = marks
        (self._outdated.add if steps else self._outdated.discard)((index, object_id))

    def _inside(self, point: Point) -> Point:
        (height, width), (x, y) = self.frames.size, point
        if not (0 <= x <= width and 0 <= y <= height):
            raise InputError(f"point ({x:g}, {y:g}) is outside the frame of {width}x{height} pixels")
        return (float(x), float(y))

    def _check_object(self, object_id: int) -> None:
        if object_id not in self.paints:
            raise InputError("there is no such object; add one first")

    def _check_idle(self) -> None:
        if self.is_tracking:
            raise InputError("the video is being tracked; stop that first")

    def _remove_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
