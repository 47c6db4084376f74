"""A table of box sequences wherever their frames are: one folder, one `manifest.tsv`, any benchmark's files.

    name  frames_dir  first_frame_file  n_frames  width  height  gt_xywh_file

Tab-separated, with this head; paths from the folder of the table. A sequence is the `n_frames` frames of its folder
from the first one on, in the order of their names, and as many lines x,y,w,h.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...types import InputError
from ...video import list_frames
from .box_files import read_boxes, read_text
from .box_types import BoxSequence

MANIFEST = "manifest.tsv"
_COLUMNS = ("name", "frames_dir", "first_frame_file", "n_frames", "width", "height", "gt_xywh_file")
_NEEDED = ("name", "frames_dir", "first_frame_file", "n_frames", "gt_xywh_file")


def read_manifest(folder: Path) -> list[BoxSequence]:
    """The sequences in the order of the table. A box of NaN or without an area is an object not to be seen.

    InputError: no table, without one of the columns, or with two sequences of one name.
    """
    path = folder / MANIFEST
    rows = list(csv.DictReader(read_text(path).splitlines(), delimiter="\t"))
    lacking = [column for column in _NEEDED if not rows or column not in rows[0]]
    if lacking:
        raise InputError(f"{path} has no column {lacking[0]}; its head is {', '.join(_COLUMNS)}, tab-separated")
    names = [row["name"] for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path} has two sequences {twice}")
    return [_read(folder, row, f"{path}, line {line}") for line, row in enumerate(rows, start=2)]


def _read(folder: Path, row: Mapping[str, str | None], where: str) -> BoxSequence:
    """One line; every fault becomes a problem of the sequence."""
    name = row["name"] or ""
    boxes, frames = np.empty((0, 4)), ()
    try:
        _check(row, where)
        truth = folder / row["gt_xywh_file"]
        boxes = read_boxes(truth)
        boxes[(boxes[:, 2:] <= 0).any(axis=1)] = np.nan
        count = int(row["n_frames"])
        if len(boxes) != count:
            raise InputError(f"{truth}: {len(boxes)} boxes, where {where} has {count} frames")
        frames = _frames(folder / row["frames_dir"], row["first_frame_file"], count)
    except InputError as error:
        return BoxSequence(name, (), boxes, problems=(str(error),))
    return BoxSequence(name, frames, boxes)


def _check(row: Mapping[str, str | None], where: str) -> None:
    empty = next((column for column in _NEEDED if not row[column]), None)
    if empty is not None:
        raise InputError(f"{where}: {empty} is empty")
    if not row["n_frames"].isdecimal() or int(row["n_frames"]) < 1:
        raise InputError(f"{where}: n_frames is {row['n_frames']!r}, not a number of frames")
    if Path(row["name"]).name != row["name"]:
        raise InputError(f"{where}: the name {row['name']!r} is no plain name")
    for column in ("frames_dir", "gt_xywh_file"):
        path = Path(row[column])
        if path.is_absolute() or ".." in path.parts:
            raise InputError(f"{where}: {column} {row[column]} leads out of the folder")


def _frames(folder: Path, first: str, count: int) -> tuple[Path, ...]:
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist")
    frames = list_frames(folder)
    names = [path.name for path in frames]
    if first not in names:
        raise InputError(f"{folder / first} does not exist")
    start = names.index(first)
    if len(frames) - start < count:
        raise InputError(f"{folder}: {len(frames) - start} frames from {first} on, where {count} are expected")
    return tuple(frames[start : start + count])
