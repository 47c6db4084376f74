"""Jobs: one run of one protocol each, small values that can be handed to another process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.datasets.box_types import BoxSequence
from ..images import read_image
from ..pipeline import read_ahead
from ..types import Box, InputError
from .protocols import find_protocol, why_no_runs, why_nothing
from .realtime import run_realtime
from .results import read_results, result_path, write_results
from .runner import VideoTracker

_OBJECT = 1  # the id under which a tracker is given the one object of a box sequence


@dataclass(frozen=True)
class Job:
    """Follow the object from `box` on the first of the frames through the others."""

    protocol: str
    run: str  # name of the result file
    frames: tuple[Path, ...]  # in the order of the run
    box: Box
    fps: float | None  # None: not of rte


@dataclass(frozen=True)
class RunResult:
    boxes: np.ndarray  # float64 [N, 4] x,y,w,h; the first is the one given
    seconds: np.ndarray  # float64 [N], inside the tracker; empty where frames were skipped


def list_jobs(sequences: Sequence[BoxSequence], protocols: Sequence[str]) -> tuple[list[Job], list[str]]:
    """All jobs of the protocols, protocol by protocol, and what is left out, a line each with its reason.

    InputError: no such protocol.
    """
    jobs: list[Job] = []
    left_out: list[str] = []
    for protocol in protocols:
        plan, before = find_protocol(protocol), len(jobs) + len(left_out)
        for sequence in sequences:
            try:
                runs = plan(sequence)
            except InputError as error:
                left_out.append(str(error))
                continue
            if not runs and (reason := why_no_runs(protocol, sequence)):
                left_out.append(reason)
            for run in runs:
                first = run.frames[0]
                if protocol == "rte" and sequence.fps is None:
                    left_out.append(f"{run.name} ({protocol}): its frames per second are not known")
                elif not sequence.frames:
                    left_out.append(f"{run.name} ({protocol}): there are no frames that fit the truth")
                elif not sequence.visible[first]:
                    left_out.append(
                        f"{run.name} ({protocol}): the object is not to be seen on its first frame, {first}"
                    )
                else:
                    frames = tuple(sequence.frames[index] for index in run.frames)
                    jobs.append(Job(protocol, run.name, frames, Box(*sequence.boxes[first].tolist()), sequence.fps))
        if len(jobs) + len(left_out) == before:
            left_out.append(why_nothing(protocol, len(sequences)))
    return jobs, left_out


def shard_jobs(jobs: Sequence[Job], index: int, count: int) -> list[Job]:
    """One of `count` parts of much the same length; any `count` indices in a row make up the whole, each job once."""
    by_length = sorted(range(len(jobs)), key=lambda i: -len(jobs[i].frames))
    return [jobs[i] for i in sorted(by_length[index % count :: count])]


def pending_jobs(jobs: Iterable[Job], folder: Path, tracker: str) -> tuple[list[Job], list[str]]:
    """The jobs without whole results, and what is wrong with those results that are there but not whole."""
    pending, broken = [], []
    for job in jobs:
        if result_path(folder, tracker, job.protocol, job.run).is_file():
            try:
                read_results(folder, tracker, job.protocol, job.run, len(job.frames))
                continue
            except InputError as error:
                broken.append(str(error))
        pending.append(job)
    return pending, broken


def run_job(tracker: VideoTracker, job: Job, *, progress: Callable[[], object] = lambda: None) -> RunResult:
    """Run the tracker; `progress` is called for each frame. Where the object is absent, its last box is repeated.

    InputError, naming the file: a frame that is missing or damaged. What the tracker raises.
    """
    last = job.box

    def start(image: np.ndarray) -> Box:
        tracker.initialize(image, {_OBJECT: job.box})
        return job.box

    def follow(image: np.ndarray) -> Box:
        nonlocal last
        last = tracker.track(image).boxes[_OBJECT] or last
        return last

    images = map(read_image, job.frames)
    if job.protocol == "rte":  # measures time: nothing else goes on meanwhile
        images = _counted(images, progress)
        return RunResult(np.array(run_realtime(start, follow, images, job.box, fps=job.fps)), np.empty(0))
    boxes, seconds = [], []
    with read_ahead(images) as ready:
        for index, image in enumerate(_counted(ready, progress)):
            begin = time.perf_counter()
            boxes.append(follow(image) if index else start(image))
            seconds.append(time.perf_counter() - begin)
    return RunResult(np.array(boxes, float), np.array(seconds))


def save_result(folder: Path, tracker: str, job: Job, result: RunResult) -> None:
    write_results(folder, tracker, job.protocol, job.run, result.boxes, result.seconds)


def _counted(images: Iterable[np.ndarray], progress: Callable[[], object]) -> Iterator[np.ndarray]:
    for image in images:
        yield image
        progress()
