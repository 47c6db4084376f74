"""Result files in the layout and names of the TREK-150 toolkit, so that either side can score the other's.

    RESULTS/TREK-150/<tracker>/<protocol>/<run>.txt             x,y,w,h per frame of the run, in its order
    RESULTS/TREK-150/<tracker>/ope/times/<sequence>_time.txt    seconds per frame

A file is there either whole or not at all.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..data.box_files import read_boxes, read_numbers
from ..types import InputError
from .protocols import PROTOCOLS

DATASET_FOLDERS = {"trek150": "TREK-150", "lasot": "LaSOT", "got10k": "GOT-10k", "davis": "DAVIS", "vot": "VOT"}


def results_folder(results: Path, dataset: str) -> Path:
    """The folder with one folder per tracker: RESULTS/<dataset>, or RESULTS where there is no such folder in it."""
    inner = results / DATASET_FOLDERS[dataset]
    return inner if inner.is_dir() or not list_trackers(results) else results


def list_trackers(folder: Path) -> list[str]:
    """Names of the folders with results of any protocol, sorted."""
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in inside if any((path / protocol).is_dir() for protocol in PROTOCOLS))


def result_path(folder: Path, tracker: str, protocol: str, run: str) -> Path:
    return folder / tracker / protocol / f"{run}.txt"


def times_path(folder: Path, tracker: str, run: str) -> Path:
    return folder / tracker / "ope" / "times" / f"{run}_time.txt"


def write_results(
    folder: Path, tracker: str, protocol: str, run: str, boxes: np.ndarray, times: Iterable[float] = ()
) -> None:
    """boxes [N, 4] with 3 decimals; seconds per frame, of a run of ope, with 8. The boxes are written last."""
    if protocol == "ope":
        _write(times_path(folder, tracker, run), "".join(f"{seconds:.8f}\n" for seconds in times))
    rows = (",".join(f"{side:.3f}" for side in box) for box in boxes)
    _write(result_path(folder, tracker, protocol, run), "".join(f"{row}\n" for row in rows))


def read_results(folder: Path, tracker: str, protocol: str, run: str, length: int) -> np.ndarray:
    """float64 [length, 4]. InputError, naming file and line: missing, cut, of another length, not boxes."""
    path = result_path(folder, tracker, protocol, run)
    boxes = read_boxes(path, complete=True)
    if len(boxes) != length:
        raise InputError(f"{path}, line {min(len(boxes), length) + 1}: {len(boxes)} boxes for a run of {length} frames")
    return boxes


def read_times(folder: Path, tracker: str, run: str) -> np.ndarray:
    """Seconds per frame, float64 [N]; empty where there is no such file. InputError: a line that is not a number."""
    path = times_path(folder, tracker, run)
    return read_numbers(path) if path.is_file() else np.empty(0)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")  # of its own, should two processes do one run
    try:
        partial.write_text(text, encoding="ascii", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
