"""Jobs done one after the other, or by several processes of this machine; the results are files either way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from ..processes import GivenUp, work_in_processes
from ..types import TrackerError
from .jobs import Job, run_job, save_result
from .runner import VideoTracker

Outcome = tuple[Job, str | None]  # a job, and why it failed if it did
MakeTracker = Callable[[int], VideoTracker]  # from the place of a worker, 0, 1, ...


def do_job(
    tracker: VideoTracker, folder: Path, name: str, job: Job, on_frame: Callable[[], object] = lambda: None
) -> str | None:
    """Run a job and write its results. Why it failed, if it did for a reason that other jobs need not share."""
    try:
        save_result(folder, name, job, run_job(tracker, job, progress=on_frame))
    except (TrackerError, OSError) as error:
        return str(error)
    return None


def do_jobs(
    jobs: Sequence[Job],
    tracker: VideoTracker,
    folder: Path,
    name: str,
    *,
    on_frame: Callable[[], object] = lambda: None,
) -> Iterator[Outcome]:
    """Run the jobs and write their results into `folder`/`name`. on_frame: is called for every frame."""
    for job in jobs:
        yield job, do_job(tracker, folder, name, job, on_frame)


def do_jobs_in_processes(
    jobs: Sequence[Job],
    make_tracker: MakeTracker,
    folder: Path,
    name: str,
    *,
    workers: int,
    attempts: int = 3,
    on_frame: Callable[[], object] = lambda: None,
) -> Iterator[Outcome]:
    """The same by several processes, each with a tracker of its own; outcomes in any order, results the same.

    make_tracker: can be pickled.
    attempts:     how often a job is tried whose process dies; its frames are told to on_frame each time.
    TrackerError: a process died at every attempt to make its tracker.
    """
    make_work = partial(_make_work, make_tracker, folder, name)
    for job, outcome in work_in_processes(jobs, make_work, workers, attempts=attempts, on_step=on_frame):
        yield job, outcome.reason if isinstance(outcome, GivenUp) else outcome


def _make_work(
    make_tracker: MakeTracker, folder: Path, name: str, place: int
) -> Callable[[Job, Callable[[], object]], str | None]:
    return partial(do_job, make_tracker(place), folder, name)
