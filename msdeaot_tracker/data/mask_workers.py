"""Masks of many videos: what is finished is left alone, the rest is done here or by several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from ..types import TrackerError
from .mask_making import MaskRules, Segmenter, make_masks
from .mask_records import VideoReport, read_report
from .training_boxes import Video

_POLL = 0.5  # seconds between looks at what the workers have done


def make_dataset(
    videos: Sequence[Video],
    segment: Segmenter,
    folder: Path,
    rules: MaskRules,
    *,
    on_frames: Callable[[int], object] = lambda count: None,
) -> Iterator[VideoReport]:
    """Make the masks of all videos into a folder, and report on each that is finished, now or by an earlier run.

    on_frames: is told how many frames were done since it was last called.

    Errors of the segmenter and of writing end the run; a video or frame that cannot be read is reported.
    """
    for video in videos:
        report = read_report(folder, video.name)
        yield report or make_masks(video, segment, folder, rules, on_frame=lambda: on_frames(1))


def make_in_parallel(
    videos: Sequence[Video],
    make_segmenter: Callable[[], Segmenter],
    folder: Path,
    rules: MaskRules,
    workers: int,
    *,
    on_frames: Callable[[int], object] = lambda count: None,
) -> Iterator[VideoReport]:
    """As `make_dataset`, by several processes, each with a segmenter of its own; reports come in any order.

    make_segmenter: can be pickled.
    """
    context = multiprocessing.get_context("spawn")
    done, stop = context.Value("Q", 0), context.Event()
    threads = max(1, (os.cpu_count() or 1) // workers)
    arguments = ((make_segmenter, folder, rules, done, stop), threads)
    with ProcessPoolExecutor(workers, context, _begin, arguments) as pool:
        pending = {pool.submit(_work, video) for video in videos}
        told = 0
        try:
            while pending:
                finished, pending = wait(pending, _POLL, FIRST_COMPLETED)
                count = done.value
                on_frames(count - told)
                told = count
                for future in finished:
                    yield future.result()
        except BrokenProcessPool:
            raise TrackerError("a worker process was ended from outside, perhaps for want of memory") from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


class _Stopped(Exception):
    """The run ends; raised between two frames."""


class _Worker:
    """What a worker process knows. Its segmenter is made for the first video."""

    def __init__(self, make_segmenter: Callable[[], Segmenter], folder: Path, rules: MaskRules, done: Any, stop: Any):
        self._make_segmenter, self._folder, self._rules = make_segmenter, folder, rules
        self._done, self._stop = done, stop
        self._segment: Segmenter | None = None

    def work(self, video: Video) -> VideoReport:
        report = read_report(self._folder, video.name)
        if report is not None:
            return report
        self._segment = self._segment or self._make_segmenter()
        return make_masks(video, self._segment, self._folder, self._rules, on_frame=self._count)

    def _count(self) -> None:
        with self._done.get_lock():
            self._done.value += 1
        if self._stop.is_set():
            raise _Stopped


_worker: _Worker | None = None  # of this process, set as it begins


def _begin(worker_arguments: tuple, threads: int) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one says when to stop
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(*worker_arguments)


def _end_with_parent() -> None:
    """A parent that was killed cannot say stop, and idle workers would wait for it for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(video: Video) -> VideoReport:
    return _worker.work(video)
