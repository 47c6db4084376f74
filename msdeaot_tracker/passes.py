"""The passes of a tracker over a video: forward, backward, or from a frame in the middle to both ends."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, get_args

import numpy as np

from .pipeline import read_ahead
from .prompts import Prompts, check_prompts
from .targets import Checked
from .tracker import Tracker
from .types import FrameResult, InputError, InputErrors, Points
from .video import Frame, FrameSource, Source, open_backward, open_source

Direction = Literal["forward", "backward", "both"]
Progress = Callable[[int, "int | None"], None]


class Step(NamedTuple):
    """A frame of the video, what the tracker says about it, and the seconds that it took."""

    frame: Frame
    result: FrameResult
    seconds: float


@dataclass
class Run:
    """An opened source with the frames of it to be tracked; close it, or use it as a context manager."""

    source: Source
    start: int
    stride: int
    first: Frame  # that it starts at
    forward: FrameSource | None  # from there, after its first frame; None: it only goes backward
    backward: FrameSource | None
    whole: bool  # whether it ends where the source does
    prompts: Prompts = field(default_factory=dict)
    _checked: dict[int, dict[int, Checked | None]] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls, source: Source, start: int, *, end: int | None = None, stride: int = 1, direction: Direction = "forward"
    ) -> Run:
        """The first frame is read. InputError: a source without these frames."""
        if direction not in get_args(Direction):
            raise InputError(f"direction={direction!r}: choose {', '.join(get_args(Direction))}")
        with ExitStack() as opened:
            forward = backward = None
            if direction != "forward":
                backward = opened.enter_context(
                    open_backward(source, start, end=end if direction == "backward" else None, stride=stride)
                )
                first = next(backward)
            if direction != "backward":
                forward = opened.enter_context(open_source(source, start, end=end, stride=stride))
                first = next(forward)
            opened.pop_all()
        return cls(source, start, stride, first, forward, backward, end is None and stride == 1)

    def prompt(self, prompts: Prompts) -> None:
        """What to track. InputError, InputErrors: prompts that no tracked frame can have."""
        checked = check_prompts(prompts, *self.first.image.shape[:2])
        lowest, highest = self._ends()
        faults = []
        for frame in sorted(prompts):
            if frame < lowest or (highest is not None and frame > highest) or (frame - self.start) % self.stride:
                tracked = self._tracked(lowest, highest)
                faults.append(f"prompts for frame {frame}, which is not tracked: {tracked} are")
        for frames in (
            sorted(f for f in prompts if f >= self.start),
            sorted(f for f in prompts if f <= self.start)[::-1],
        ):
            faults += _removed_in_vain(prompts, frames)
        if not any(target is not None for target in prompts.get(self.start, {}).values()):
            faults.append(f"nothing to track: there is no prompt for frame {self.start}, the first to be tracked")
        if faults:
            raise InputErrors(list(dict.fromkeys(faults)))
        self.prompts, self._checked = prompts, checked

    @property
    def object_ids(self) -> list[int]:
        """All that are tracked on some frame."""
        return sorted({i for targets in self.prompts.values() for i, target in targets.items() if target is not None})

    @property
    def size(self) -> tuple[int, int]:
        """Of the frames: width, height in pixels."""
        return self.first.image.shape[1], self.first.image.shape[0]

    @property
    def length(self) -> int | None:
        """Frames of the source in all; None: not known, or not asked of it."""
        if self.forward is None or self.forward.length is None or not self.whole:
            return None
        return self.start + self.forward.length

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
    ) -> Generator[Step]:
        """In the video's order. stop: whether to track no further; what is tracked still comes.

        InputError: at once, points for an initializer that takes boxes alone; later, prompts that are left when the
        video ends: all results have come by then.
        """
        if any(isinstance(target, Points) for targets in self._checked.values() for target in targets.values()):
            tracker.check_takes_points()
        return self._steps(tracker, progress, stop)

    def _steps(self, tracker: Tracker, progress: Progress | None, stop: Callable[[], bool] | None) -> Generator[Step]:
        counting = _Counter(self.total, progress, stop)
        stash: list[_Packed] = []
        if self.backward is not None:
            for step in _follow(tracker, self.first, self.backward, self._checked):
                stash.append(_Packed.of(step))
                if counting.one_more():
                    break
            yield from self._unpacked(stash, with_first=self.forward is None)
        if self.forward is not None and not counting.stopped:
            counting.done = max(len(stash) - 1, 0)
            for step in _follow(tracker, self.first, self.forward, self._checked):
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

    def _ends(self) -> tuple[int, int | None]:
        """The lowest and the highest frame that is tracked; None: not known."""
        lowest = self.start - (self.backward.length - 1) * self.stride if self.backward is not None else self.start
        if self.forward is None:
            return lowest, self.start
        length = self.forward.length
        return lowest, None if length is None else self.start + (length - 1) * self.stride

    def _tracked(self, lowest: int, highest: int | None) -> str:
        """For messages."""
        begin = f"frames {lowest}" if self.stride == 1 else f"frames {lowest}, {lowest + self.stride}, …"
        return f"{begin} on" if highest is None else f"{begin} to {highest}"

    def _check_all_seen(self, last: int) -> None:
        left = [frame for frame in sorted(self.prompts) if frame > last]
        if left:
            raise InputError(f"prompts for frame {left[0]}, but {self.name} ends after frame {last}")


def _removed_in_vain(prompts: Prompts, frames: list[int]) -> list[str]:
    """Faults: objects that are removed on one of these frames, in the order they are tracked in, and were not there."""
    there: set[int] = set()
    faults = []
    for frame in frames:
        for object_id, target in prompts[frame].items():
            if target is not None:
                there.add(object_id)
            elif object_id in there:
                there.remove(object_id)
            else:
                faults.append(f"frame {frame}: object {object_id} cannot be removed, since it is not tracked there")
    return faults


def _follow(tracker: Tracker, first: Frame, others: Iterator[Frame], prompts: Prompts) -> Iterator[Step]:
    """One pass: the tracker starts at the first frame, and takes each frame's prompts as it comes.

    The next frame is read while one is tracked.
    """
    begin = time.perf_counter()
    given = {i: target for i, target in prompts[first.index].items() if target is not None}
    yield _step(first, tracker.initialize(first.image, given), begin)
    with read_ahead(others) as frames:
        for frame in frames:
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
