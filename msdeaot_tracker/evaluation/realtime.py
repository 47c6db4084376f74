"""Real-time evaluation as the TREK-150 toolkit runs it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..types import Box


def run_realtime(
    start: Callable[[np.ndarray], object],
    follow: Callable[[np.ndarray], Box],
    images: Iterable[np.ndarray],
    box: Box,
    *,
    fps: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Box]:
    """The boxes known when each frame is over, if frames come at `fps` and the tracker misses those it is too slow for.

    start is called with the first image, follow with those the tracker has time for; `box` is the truth of the first
    frame; clock gives seconds, and only what passes inside the two calls counts.

    This is the procedure of the public toolkit (TREK-150-toolkit, ExperimentTREK150.run_rte), with what is odd in it:

    - After a frame that was finished before its end (the end of frame f is (f + 1) / fps), the time advances not to
      that end but to that end plus twice the time the tracker took, as if the sign of the time taken were lost in
      "end - (now + taken)". So a tracker that is fast enough still misses frames once 2 * taken reaches 1 / fps.
    - On a frame that is missed, and on one that is finished too late, the answer is not the tracker's latest box but
      the one before it, even where the latest was known.
    - The ends of frames are summed up, and rounded, one by one: a tracker that takes no time at all may come to stand
      just before a frame instead of at it, and is then not asked again.
    """
    frame_end = now = 0.0
    earlier = latest = box
    answers: list[Box] = []
    for index, image in enumerate(images):
        frame_end += 1.0 / fps
        if index == 0:
            now = max(1.0 / fps, _duration(start, image, clock)[1])
            answers.append(box)
        elif index != math.floor(now * fps):
            answers.append(earlier)
        else:
            earlier = latest
            latest, taken = _duration(follow, image, clock)
            in_time = now + taken < frame_end
            answers.append(latest if in_time else earlier)
            now += taken + (frame_end - now + taken) if in_time else taken
    return answers


def _duration(step: Callable[[np.ndarray], Any], image: np.ndarray, clock: Callable[[], float]) -> tuple[Any, float]:
    begin = clock()
    answer = step(image)
    return answer, clock() - begin
