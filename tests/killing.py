"""Commands in processes that start fast, killed at any moment."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Sequence

import numpy as np

from msdeaot_tracker.cli.main import main

SIGKILLED = -9


def command(arguments: Sequence[str]) -> None:
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    sys.exit(main(arguments))


def start(arguments: Sequence[object]) -> multiprocessing.Process:
    """`msdeaot ARGUMENTS`; the packages are loaded once, by the process that the others are copied from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killing", "msdeaot_tracker.cli.main", "msdeaot_tracker.models"])
    process = context.Process(target=command, args=([str(argument) for argument in arguments],))
    process.start()
    return process


def run_to_end(arguments: Sequence[object]) -> float:
    """Seconds that it took."""
    begun = time.monotonic()
    process = start(arguments)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - begun


def run_killed(arguments: Sequence[object], seconds: float) -> int:
    """The exit code of a command that is killed after so many seconds, if it is not done by then."""
    process = start(arguments)
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode


def moments(count: int, longest: float, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).uniform(0, longest, count).tolist()
