"""What the threads of a network do while they wait for work."""

from __future__ import annotations

import os

# Rounds in which a thread of GNU's OpenMP, which torch brings on Linux, looks for work before it sleeps. Its own 300000
# hold a core for milliseconds that another process could use; 0 has it wake for every layer. Measured: docs/speed.md.
_ROUNDS = 500
_OWN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")  # with any of these the user has chosen


def spin_briefly() -> None:
    """Have waiting threads sleep soon, instead of holding cores that other processes could use.

    Sets the variable GOMP_SPINCOUNT for this process and those it starts, unless it, OMP_WAIT_POLICY or KMP_BLOCKTIME
    is set. Call it before torch is loaded; later it is without effect here. The command line and the adapters for
    toolkits do.

    >>> spin_briefly()
    """
    if not any(name in os.environ for name in _OWN):
        os.environ["GOMP_SPINCOUNT"] = str(_ROUNDS)
