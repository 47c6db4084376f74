"""What the threads of a network do while they wait for work."""

from __future__ import annotations

import os
import time
from pathlib import Path

# Rounds in which a thread of GNU's OpenMP, which torch brings on Linux, looks for work before it sleeps. Its own 300000
# hold a core for milliseconds that another process could use; 0 has it wake for every layer. Measured: docs/speed.md.
_ALONE, _IN_COMPANY = 2000, 500
_OWN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")  # with any of these the user has chosen
_LOAD = Path("/proc/loadavg")


def spin_briefly() -> None:
    """Have waiting threads sleep soon, instead of holding cores that other processes could use.

    Sets the variable GOMP_SPINCOUNT for this process and those it starts, unless it, OMP_WAIT_POLICY or KMP_BLOCKTIME
    is set: lower where others compute at the moment. No result depends on it. Call it before torch is loaded; later it
    is without effect here. The command line and the adapters for toolkits do.

    >>> spin_briefly()
    """
    if not any(name in os.environ for name in _OWN):
        os.environ["GOMP_SPINCOUNT"] = str(_IN_COMPANY if _is_crowded() else _ALONE)


def _is_crowded() -> bool:
    """Whether others run that, with a thread on each core of ours, are more than there are cores. Not told: yes."""
    try:
        return _others() + len(os.sched_getaffinity(0)) > (os.cpu_count() or 1)
    except (OSError, AttributeError, ValueError, IndexError):
        return True


def _others() -> int:
    """Other processes and threads that run or could: the fewest of some moments, since many a one runs but briefly."""
    counts = []
    for _ in range(5):
        counts.append(int(_LOAD.read_text().split()[3].partition("/")[0]) - 1)
        time.sleep(0.002)
    return min(counts)
