"""Where the tools of the field keep what a tracker answered, so that published results can be scored beside ours.

A run has one name in all layouts, that of TREK-150 (`protocols.Run`); of one-pass evaluation that is the sequence's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.datasets.box_files import parse_numbers, read_text
from ..types import InputError
from .results import list_trackers


class Layout(NamedTuple):
    """Of result files: one box x,y,w,h per frame, apart by commas, tabs or spaces."""

    pattern: str  # for messages
    trackers: Callable[[Path], list[str]]  # names of those with results of any protocol, as paths below the folder
    folder: Callable[[Path, str, str], Path]  # (results, tracker, protocol) -> where the runs are
    boxes: Callable[[Path, str], Path]  # (that folder, run) -> file
    times: Callable[[Path, str], Path]  # seconds per frame, where they are known
    complete: bool  # every line ends; if not, a file cut within its last number is not noticed


def read_seconds(path: Path) -> np.ndarray:
    """float64 [N], the first number of every line (got10k has one for each repetition); empty: there is no such file.

    InputError, naming file and line: not a number.
    """
    if not path.is_file():
        return np.empty(0)
    seconds = []
    for number, line in enumerate(read_text(path).rstrip().splitlines(), start=1):
        values = parse_numbers(line, f"{path}, line {number}")
        if not len(values):
            raise InputError(f"{path}, line {number}: empty, one number is expected")
        seconds.append(values[0])
    return np.array(seconds)


def _flat_folder(results: Path, tracker: str, protocol: str) -> Path:
    return results / tracker


def _flat_boxes(folder: Path, run: str) -> Path:
    return folder / f"{run}.txt"


def _below_tracker(pattern: str, depth: int = 1) -> Callable[[Path], list[str]]:
    """The first `depth` parts of the paths that match the pattern."""
    return lambda results: sorted(
        {"/".join(path.relative_to(results).parts[:depth]) for path in results.glob(pattern) if path.is_file()}
    )


TREK150 = Layout(  # of its toolkit, and of `msdeaot evaluate --dataset`
    "<tracker>/<protocol>",
    list_trackers,
    lambda results, tracker, protocol: results / tracker / protocol,
    _flat_boxes,
    lambda folder, run: folder / "times" / f"{run}_time.txt",
    complete=True,
)
LASOT = Layout(  # tracking_results/ of LaSOT's evaluation toolkit; got10k writes those of LaSOT, OTB and others so, too
    "<tracker>/<sequence>.txt",
    _below_tracker("*/*.txt"),
    _flat_folder,
    _flat_boxes,
    lambda folder, run: folder / "times" / f"{run}_time.txt",
    complete=False,
)
PYTRACKING = Layout(  # tracking_results/; <parameters> ends with the number of the repetition, as in dimp50_004, if any
    "<tracker>/<parameters>/<sequence>.txt",
    _below_tracker("*/*/*.txt", depth=2),
    _flat_folder,
    _flat_boxes,
    lambda folder, run: folder / f"{run}_time.txt",
    complete=False,
)
GOT10K = Layout(  # results/GOT-10k/; the first repetition, as the toolkit's own report takes it
    "<tracker>/<sequence>/<sequence>_001.txt",
    _below_tracker("*/*/*_001.txt"),
    _flat_folder,
    lambda folder, run: folder / run / f"{run}_001.txt",
    lambda folder, run: folder / run / f"{run}_time.txt",
    complete=False,
)
LAYOUTS = {"trek150": TREK150, "lasot": LASOT, "pytracking": PYTRACKING, "got10k": GOT10K}
