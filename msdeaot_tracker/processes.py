"""Several processes that do jobs side by side, each with what it loaded; one that dies is replaced, its job done again.

`concurrent.futures` and loky end all processes when one is killed, and say nothing of which job it had; and neither
gives a process a place of its own, which is how it knows its GPU.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from .types import TrackerError

Job = TypeVar("Job")
Result = TypeVar("Result")
Work = Callable[[Job, Callable[[], None]], Result]  # called with a job, and with what to call at each step of it

_READY, _STEP, _DONE, _FAILED = range(4)  # what a message of a process says


@dataclass(frozen=True)
class GivenUp:
    """Instead of a result: the job was tried as often as allowed, and each time the process died."""

    reason: str


def work_in_processes(
    jobs: Iterable[Job],
    make_work: Callable[[int], Work[Job, Result]],
    processes: int,
    *,
    attempts: int = 3,
    on_step: Callable[[], object] = lambda: None,
) -> Iterator[tuple[Job, Result | GivenUp]]:
    """Each job with its result, in any order.

    make_work: can be pickled; called once in each process, with its place (0, 1, ... processes - 1).
    attempts:  how often a job, or loading, is tried when the process dies of it: killed, or by an error that `Work`
               lets pass, whose traceback it prints.
    on_step:   is called here for every step of every job, also for those of a job that is done again.

    When this process ends, in whatever way, the others do: Ctrl-C and closing the iterator lose the jobs in hand.
    What make_work raises is raised here if it is a TrackerError, an ImportError or an OSError.
    TrackerError: the process of one place died at every attempt to load.
    """
    waiting = deque((job, attempts) for job in jobs)
    crew = [_Process(make_work, place) for place in range(min(processes, len(waiting)))]
    try:
        while waiting or any(process.task for process in crew):
            for process in crew:
                if process.idle and waiting:
                    process.give(waiting.popleft())
            for connection in wait([process.connection for process in crew]):
                process = next(each for each in crew if each.connection is connection)
                try:
                    kind, content = connection.recv()
                except (EOFError, OSError):  # it is dead, perhaps in the middle of a message
                    reason = process.bury()
                    if process.task is None:
                        process.failed_loads += not process.idle
                        if process.failed_loads == attempts:
                            raise TrackerError(
                                f"a process died {attempts} times before it could work: {reason}"
                            ) from None
                    elif process.task[1] > 1:
                        waiting.appendleft((process.task[0], process.task[1] - 1))
                    else:
                        yield process.task[0], GivenUp(f"its process died {attempts} times: {reason}")
                    process.start()
                    continue
                if kind == _FAILED:
                    raise content
                if kind == _STEP:
                    on_step()
                elif kind == _READY:
                    process.idle, process.failed_loads = True, 0
                else:
                    (job, _), process.task, process.idle = process.task, None, True
                    yield job, content
    finally:
        for process in crew:
            process.process.terminate()
        for process in crew:
            process.bury()


class _Process(Generic[Job, Result]):
    """One place, and the process that holds it now."""

    def __init__(self, make_work: Callable[[int], Work[Job, Result]], place: int) -> None:
        self._make_work, self._place = make_work, place
        self.failed_loads = 0
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA cannot be used in a forked process
        self.connection, theirs = context.Pipe()
        self.task: tuple[Job, int] | None = None  # the job in hand, and how many attempts that leaves with this one
        self.idle = False
        self.process = context.Process(target=_serve, args=(theirs, self._make_work, self._place), daemon=True)
        self.process.start()
        theirs.close()  # so that the connection ends when the process does

    def give(self, task: tuple[Job, int]) -> None:
        self.task, self.idle = task, False
        with suppress(OSError):  # it died while it was idle: its connection, at its end, says so next
            self.connection.send(task[0])

    def bury(self) -> str:
        """What it died of."""
        self.connection.close()
        self.process.join()
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"exit status {code}"
        name = signal.Signals(-code).name
        return f"killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")


def _serve(connection: Connection, make_work: Callable[[int], Work[Any, Any]], place: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work = make_work(place)
    except (TrackerError, ImportError, OSError) as error:
        connection.send((_FAILED, error))
        return
    connection.send((_READY, None))
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send((_DONE, work(job, lambda: connection.send((_STEP, None)))))


def _end_with_parent() -> None:
    """A parent that was killed cannot end the others."""
    multiprocessing.parent_process().join()
    os._exit(1)
