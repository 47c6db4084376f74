"""Tracking through a whole video, in one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from .loading import load_tracker
from .passes import Direction, Progress, Run
from .prompts import Prompts
from .targets import Target
from .tracker import Tracker
from .types import FrameResult, InputError
from .video import Source


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

    >>> for result in track_video(video, {1: box}, end=3):
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
    start = start if start is not None else (max if direction == "backward" else min)(by_frame)
    run = Run.open(source, start, end=end, stride=stride, direction=direction)
    try:
        run.prompt(by_frame)
        steps = run.steps(load_tracker(**options) if tracker is None else tracker, progress=progress)
    except BaseException:
        run.close()
        raise

    def results() -> Iterator[FrameResult]:
        with run, closing(steps):  # it may be reading ahead
            for step in steps:
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
