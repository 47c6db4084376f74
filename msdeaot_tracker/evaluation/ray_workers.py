"""Jobs done by actors of a Ray cluster, one per GPU, each with its own tracker; those of dead actors are done again."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..threads import spin_briefly
from ..types import TrackerError
from .jobs import Job
from .workers import MakeTracker, Outcome, do_job

_RESTARTS = 20  # of one actor, by whatever deaths, before it is not to be relied on


class _Actor:
    def __init__(self, make_tracker: MakeTracker, folder: Path, name: str) -> None:
        spin_briefly()  # Ray starts its processes itself
        self._tracker = make_tracker(0)  # Ray shows an actor its own GPU only
        self._folder, self._name = folder, name

    def do(self, job: Job) -> str | None:
        return do_job(self._tracker, self._folder, self._name, job)


def do_jobs_with_ray(
    jobs: Sequence[Job],
    make_tracker: MakeTracker,
    folder: Path,
    name: str,
    *,
    address: str = "auto",
    actors: int | None = None,
    attempts: int = 3,
    on_frame: Callable[[], object] = lambda: None,
) -> Iterator[Outcome]:
    """As `do_jobs_in_processes`, in a Ray cluster, whose machines all see the frames of the jobs and `folder`.

    address:  of the cluster; "auto": the one this machine is part of; "local": one of this machine, for this run.
    actors:   default: as many as the cluster has GPUs, or else CPUs.
    on_frame: is called for all frames of a job when it is done.
    ImportError: no Ray. TrackerError: no such cluster.
    """
    ray = _ray()
    try:
        ray.init(address, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise TrackerError(f"--ray {address}: {error}") from error
    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0))
    options = {"num_cpus": 1, "num_gpus": 1 if gpus else 0}
    kind = ray.remote(max_restarts=_RESTARTS, max_task_retries=attempts - 1, **options)(_Actor)
    waiting, running = deque(jobs), {}

    def give(actor: Any) -> None:
        """An actor without more to do is let go: its GPU may be what another waits for, whose machine is gone."""
        if waiting:
            job = waiting.popleft()
            running[actor.do.remote(job)] = actor, job

    try:
        for _ in range(min(actors or gpus or int(there["CPU"]), len(jobs))):
            give(kind.remote(make_tracker, folder, name))
        while running:
            (reference,), _ = ray.wait(list(running), num_returns=1)
            actor, job = running.pop(reference)
            try:
                reason = ray.get(reference)
            except ray.exceptions.RayError as error:
                reason = str(error)
                if isinstance(error, ray.exceptions.ActorDiedError):  # for good
                    yield job, reason
                    continue
            give(actor)
            del actor  # the handle; see `give`
            for _ in job.frames:
                on_frame()
            yield job, reason
        yield from ((job, "no worker is left") for job in waiting)
    finally:
        running.clear()
        ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ImportError('Ray is not installed: pip install "msdeaot-tracker[ray]"') from None
    return ray
