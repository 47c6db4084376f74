"""Masks of many videos: what is finished is left alone, the rest is done here or by several processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from ...processes import GivenUp, Work, work_in_processes
from ...types import TrackerError
from ..mask_records import VideoReport, read_report
from .making import MaskRules, Segmenter, make_masks
from .training_boxes import Video


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
    TrackerError: several processes in a row died of one video, or while loading; those that died before were replaced.
    """
    pending = []
    for video in videos:
        if (report := read_report(folder, video.name)) is None:
            pending.append(video)
        else:
            yield report
    threads = max(1, (os.cpu_count() or 1) // workers)
    make_work = partial(_make_work, make_segmenter, folder, rules, threads)
    for video, report in work_in_processes(pending, make_work, workers, on_step=lambda: on_frames(1)):
        if isinstance(report, GivenUp):
            raise TrackerError(f"{video.name}: {report.reason}")
        if isinstance(report, Exception):
            raise report
        yield report


def _make_work(
    make_segmenter: Callable[[], Segmenter], folder: Path, rules: MaskRules, threads: int, place: int
) -> Work[Video, VideoReport | TrackerError | OSError]:
    torch.set_num_threads(threads)
    segment = make_segmenter()

    def work(video: Video, on_frame: Callable[[], object]) -> VideoReport | TrackerError | OSError:
        """An error that ends the run is the answer: raised, it would end this process, and the video be tried again."""
        try:
            return make_masks(video, segment, folder, rules, on_frame=on_frame)
        except (TrackerError, OSError) as error:
            return error

    return work
