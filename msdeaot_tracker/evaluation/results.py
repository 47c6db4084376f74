"""Result files in the layout and names of the TREK-150 toolkit, so that either side can score the other's.

    RESULTS/TREK-150/<tracker>/<protocol>/<run>.txt             x,y,w,h per frame of the run, in its order
    RESULTS/TREK-150/<tracker>/ope/times/<sequence>_time.txt    seconds per frame
    RESULTS/TREK-150/<tracker>/<protocol>/settings.json         what they were made with (ours alone)

A file is there either whole or not at all.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.datasets.box_files import read_boxes
from ..types import InputError
from .protocols import PROTOCOLS

DATASET_FOLDERS = {
    "trek150": "TREK-150",
    "lasot": "LaSOT",
    "got10k": "GOT-10k",
    "davis": "DAVIS",
    "vot": "VOT",
    "boxes": "boxes",
}
SETTINGS = "settings.json"


def results_folder(results: Path, dataset: str) -> Path:
    """The folder with one folder per tracker: RESULTS/TREK-150, say, or RESULTS itself where that has trackers."""
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
    folder: Path, tracker: str, protocol: str, run: str, boxes: np.ndarray, times: Sequence[float] | np.ndarray = ()
) -> None:
    """boxes [N, 4] with 3 decimals; seconds per frame, of a run of ope, with 8. The boxes are written last."""
    if protocol == "ope" and len(times):
        _write(times_path(folder, tracker, run), "".join(f"{seconds:.8f}\n" for seconds in times))
    rows = (",".join(f"{side:.3f}" for side in box) for box in boxes)
    _write(result_path(folder, tracker, protocol, run), "".join(f"{row}\n" for row in rows))


def read_results(folder: Path, tracker: str, protocol: str, run: str, length: int) -> np.ndarray:
    """float64 [length, 4]. InputError, naming file and line: missing, cut, of another length, not boxes."""
    return read_result_file(result_path(folder, tracker, protocol, run), length)


def read_result_file(path: Path, length: int, *, complete: bool = True, notes: list[str] | None = None) -> np.ndarray:
    """The same of one file.

    complete: a last line that does not end is a fault (`read_boxes`).
    notes:    is told what was not taken as it is in the file; a longer one is cut then, as LaSOT's toolkit does.
    """
    boxes = read_boxes(path, complete=complete, notes=notes)
    if len(boxes) == length:
        return boxes
    frames = f"{length} frame{'s' * (length != 1)}"
    fault = f"{path}, line {min(len(boxes), length) + 1}: {len(boxes)} boxes for a run of {frames}"
    if len(boxes) < length or notes is None:
        raise InputError(fault)
    notes.append(f"{fault}; those after it left out")
    return boxes[:length]


def remove_results(folder: Path, tracker: str, protocol: str, run: str) -> None:
    """Nothing happens where there are none."""
    result_path(folder, tracker, protocol, run).unlink(missing_ok=True)
    if protocol == "ope":
        times_path(folder, tracker, run).unlink(missing_ok=True)


def claim_results(folder: Path, tracker: str, protocol: str, settings: Mapping[str, Any], *, replace: bool) -> None:
    """Note beside the results what they are made with, so that runs of two settings never stand in one table.

    InputError, naming what differs: there are results made with other settings, and they are not to be replaced.
    """
    path = folder / tracker / protocol / SETTINGS
    if path.is_file() and not replace:
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            raise InputError(f"{path} is damaged: what the results beside it were made with is not known") from None
        wanted = json.loads(json.dumps(settings))
        if noted != wanted:
            keys = [key for key in wanted if not isinstance(noted, dict) or noted.get(key) != wanted[key]]
            raise InputError(f"the results beside {path} were made with another {keys[0] if keys else 'program'}")
    else:
        _write(path, json.dumps(settings, indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")  # its own, should two processes do one run
    try:
        partial.write_text(text, encoding="ascii", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
