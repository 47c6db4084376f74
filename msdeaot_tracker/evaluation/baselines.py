"""Baselines by name: other trackers, run as ours is."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from ..types import InputError
from .pipe import PipeTracker
from .runner import StaticTracker

_OPENCV = ("mil", "csrt", "kcf")
_CLONE_HAS = "pytracking/evaluation/tracker.py"


def check_baseline(name: str) -> str:
    """The name itself. InputError: not "static", "opencv:mil|csrt|kcf" or "pytracking:NAME/PARAM"."""
    kind, _, rest = name.partition(":")
    if name == "static" or (kind == "opencv" and rest in _OPENCV):
        return name
    if kind == "pytracking" and re.fullmatch(r"\w+/\w+", rest, re.ASCII):
        return name
    choices = ", ".join(["static", *(f"opencv:{each}" for each in _OPENCV), "pytracking:NAME/PARAMETERS"])
    raise InputError(f"tracker {name!r} is none of {choices}")


def make_baseline(
    name: str, *, python: str | None = None, pytracking: Path | None = None, timeout: float = 120
) -> StaticTracker | PipeTracker:
    """Anything but "static" runs in a process of its own.

    python:     its interpreter; default: this one.
    pytracking: folder of the clone that the trackers "pytracking:..." are from, with its `local.py` set up.
    timeout:    seconds an answer may take.
    InputError: no such baseline, or no clone. What `PipeTracker` raises comes when it is used.
    """
    if check_baseline(name) == "static":
        return StaticTracker()
    if name.startswith("opencv:"):
        return PipeTracker(name, python or sys.executable, timeout=timeout, fresh=True)
    if pytracking is None or not (pytracking / _CLONE_HAS).is_file():
        raise InputError(
            f"{name} needs a clone of github.com/visionml/pytracking, named with --pytracking"
            + (f": {pytracking} has no {_CLONE_HAS}" if pytracking else "")
        )
    paths = [str(pytracking.absolute()), os.environ.get("PYTHONPATH", "")]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "MPLBACKEND": "Agg"}
    return PipeTracker(name, python or sys.executable, environment=environment, timeout=timeout)
