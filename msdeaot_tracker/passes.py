"""A whole video through the tracker: forward, backward, or from a frame in the middle to both ends."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from .loading import load_tracker
from .prompts import Prompts, check_prompts
from .targets import Target
from .tracker import Tracker
from .types import FrameResult, InputError
from .video import Frame, FrameSource, Source, open_backward, open_source

Direction = Literal["forward", "backward", "both"]
Progress = Callable[[int, "int | None"], None]


class Step(NamedTuple):
    """A frame of the video, what the tracker says about it, and the seconds that it took."""

    frame: Frame
    result: FrameResult
    seconds: float


def track_video(
    source: Source,
    prompts: Mapping[int, Target] | Prompts,
    *,
    tracker: Tracker | None = None,
    start: int | None = None,
    end: int | None = None,
    stride: int = 1,
    direction: Direction = "forward",
    progress: Progress | None = None,
    **options: Any,
) -> Iterator[FrameResult]:
    """Track objects through a video: an iterator over its results, in the video's order.

    >>> for result in track_video(video, {1: (60, 60, 40, 40)}, end=3):
    ...     print(result.frame_index, result.boxes[1] is not None)
    0 True
    1 True
    2 True

    source:    as for `open_source`: a video file, folder, pattern (`*.jpg`, `%05d.jpg`), address or camera.
    prompts:   targets (boxes, masks, `Points`) by object id for the first frame; or these by frame, each counting from
               its frame on in the direction of tracking, where None removes an object: `{0: {1: box}, 40: {1: None}}`.
    tracker:   one to track with, which forgets its video; None: `load_tracker(**options)`.
    start:     the frame to start at; None: the first with prompts, of "backward" the last.
    end:       the frame before which to stop, of "backward" the one after which.
    stride:    every so many frames are tracked.
    direction: "forward", "backward" from `start`, or "both" from `start` to either end. Results of frames before
               `start` come when all of them are known; until then `progress` tells how far it is.
    progress:  called with the number of frames tracked, and how many there are (None: not known).

    In the results `frame_index` is the frame's number in the source; `time` and `image` are set. The source is closed
    at its end, or when the iterator is. InputError: at once, as far as source and prompts tell; at its frame otherwise.
    """
    by_frame = prompts_by_frame(prompts, start)
    run = Run.open(source, by_frame, start=start, end=end, stride=stride, direction=direction)
    chosen = load_tracker(**options) if tracker is None else tracker

    def results() -> Iterator[FrameResult]:
        with run:
            for step in run.steps(chosen, progress=progress):
                yield step.result

    return results()


def prompts_by_frame(prompts: Mapping[int, Target] | Prompts, start: int | None) -> Prompts:
    """As given by frame, or of the first frame. InputError: none, or both mixed."""
    nested = {isinstance(value, Mapping) for value in prompts.values()}
    if not nested:
        raise InputError("nothing to track: there are no prompts")
    if len(nested) == 2:
        raise InputError("prompts are targets by object id, or by frame and then by object id; both are mixed here")
    return dict(prompts) if nested == {True} else {start or 0: dict(prompts)}


@dataclass
class Run:
    """An opened source with the frames of it to be tracked; close it, or use it as a context manager."""

    source: Source
    prompts: Prompts
    start: int
    end: int | None
    stride: int
    direction: Direction
    first: Frame  # that it starts at
    forward: FrameSource | None  # from there, after its first frame; None: it only goes backward
    backward: FrameSource | None

    @classmethod
    def open(
        cls,
        source: Source,
        prompts: Prompts,
        *,
        start: int | None = None,
        end: int | None = None,
        stride: int = 1,
        direction: Direction = "forward",
    ) -> Run:
        """InputError, InputErrors: no such frames, or prompts that no tracked frame can have."""
        if direction not in get_args(Direction):
            raise InputError(f"direction={direction!r}: choose {', '.join(get_args(Direction))}")
        start = start if start is not None else (max if direction == "backward" else min)(prompts)
        forward = backward = None
        try:
            if direction != "backward":
                forward = open_source(source, start, end=end, stride=stride)
            if direction != "forward":
                backward = open_backward(source, start, end=end if forward is None else None, stride=stride)
                first = next(backward)
            first = first if forward is None else next(forward)
            run = cls(source, prompts, start, end, stride, direction, first, forward, backward)
            run._check()
        except BaseException:
            for opened in (forward, backward):
                if opened is not None:
                    opened.close()
            raise
        return run

    @property
    def fps(self) -> float | None:
        return (self.forward or self.backward).fps

    @property
    def name(self) -> str:
        return (self.forward or self.backward).name

    @property
    def total(self) -> int | None:
        """Frames to be tracked, the first among them once; None: not known."""
        lengths = [opened.length for opened in (self.forward, self.backward) if opened is not None]
        return None if None in lengths else sum(lengths) - (len(lengths) - 1)

    def steps(
        self, tracker: Tracker, *, progress: Progress | None = None, stop: Callable[[], bool] | None = None
    ) -> Iterator[Step]:
        """In the video's order. stop: whether to track no further; what is tracked still comes.

        InputError: prompts are left when the video ends; all results have come by then.
        """
        counting = _Counter(self.total, progress, stop)
        stash: list[_Packed] = []
        if self.backward is not None:
            for step in _follow(tracker, self.first, self.backward, self.prompts):
                stash.append(_Packed.of(step))
                if counting.one_more():
                    break
            yield from self._unpacked(stash, with_first=self.forward is None)
        if self.forward is not None and not counting.stopped:
            counting.done = max(len(stash) - 1, 0)
            for step in _follow(tracker, self.first, self.forward, self.prompts):
                yield step
                if counting.one_more():
                    return
            self._check_all_seen(step.frame.index)

    def _unpacked(self, stash: list[_Packed], *, with_first: bool) -> Iterator[Step]:
        """What went backward, forward."""
        if not with_first:
            stash = stash[1:]
        if not stash:
            return
        with open_source(self.source, stash[-1].index, end=stash[0].index + 1, stride=self.stride) as frames:
            for frame, packed in zip(frames, reversed(stash), strict=True):
                yield packed.step(frame)

    def close(self) -> None:
        for opened in (self.forward, self.backward):
            if opened is not None:
                opened.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check(self) -> None:
        check_prompts(self.prompts, *self.first.image.shape[:2])
        if not any(target is not None for target in self.prompts.get(self.start, {}).values()):
            raise InputError(f"nothing to track: there is no prompt for frame {self.start}, the first to be tracked")
        lowest, highest = self._ends()
        for frame in sorted(self.prompts):
            if frame < lowest or (highest is not None and frame > highest) or (frame - self.start) % self.stride:
                until = "on" if highest is None else f"to {highest}"
                every = "" if self.stride == 1 else f", every {self.stride}th"
                raise InputError(f"prompts for frame {frame}, which is not tracked: frames {lowest} {until} are{every}")

    def _ends(self) -> tuple[int, int | None]:
        """The lowest and the highest frame that is tracked; None: not known."""
        lowest = self.start - (self.backward.length - 1) * self.stride if self.backward is not None else self.start
        if self.forward is None:
            return lowest, self.start
        length = self.forward.length
        return lowest, None if length is None else self.start + (length - 1) * self.stride

    def _check_all_seen(self, last: int) -> None:
        left = [frame for frame in sorted(self.prompts) if frame > last]
        if left:
            raise InputError(f"prompts for frame {left[0]}, but {self.name} ends after frame {last}")


def _follow(tracker: Tracker, first: Frame, others: Iterator[Frame], prompts: Prompts) -> Iterator[Step]:
    """One pass: the tracker starts at the first frame, and takes each frame's prompts as it comes."""
    begin = time.perf_counter()
    given = {i: target for i, target in prompts[first.index].items() if target is not None}
    yield _step(first, tracker.initialize(first.image, given), begin)
    for frame in others:
        begin = time.perf_counter()
        targets = prompts.get(frame.index, {})
        try:
            tracker.remove([i for i, target in targets.items() if target is None])
            given = {i: target for i, target in targets.items() if target is not None}
            result = tracker.track(frame.image, given)
        except InputError as error:
            raise InputError(f"frame {frame.index}: {error}") from error
        yield _step(frame, result, begin)


def _step(frame: Frame, result: FrameResult, begin: float) -> Step:
    seconds = time.perf_counter() - begin
    return Step(frame, replace(result, frame_index=frame.index, time=frame.time, image=frame.image), seconds)


class _Packed(NamedTuple):
    """A result that waits for its turn: its labels are compressed, its image is decoded again."""

    result: FrameResult
    labels: bytes
    seconds: float

    @classmethod
    def of(cls, step: Step) -> _Packed:
        labels = zlib.compress(step.result.labels.tobytes(), 1)
        return cls(replace(step.result, labels=np.empty((0, 0), np.int32), image=None), labels, step.seconds)

    @property
    def index(self) -> int:
        return self.result.frame_index

    def step(self, frame: Frame) -> Step:
        labels = np.frombuffer(zlib.decompress(self.labels), np.int32).reshape(frame.image.shape[:2]).copy()
        return Step(frame, replace(self.result, labels=labels, image=frame.image, time=frame.time), self.seconds)


@dataclass
class _Counter:
    total: int | None
    progress: Progress | None
    stop: Callable[[], bool] | None
    done: int = 0
    stopped: bool = False

    def one_more(self) -> bool:
        """Tell how many are done; whether to stop."""
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)
        self.stopped = self.stop is not None and self.stop()
        return self.stopped
