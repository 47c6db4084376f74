"""What is written down while masks are made: the settings, and what became of each frame."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..files import PART, whole_file
from ..types import InputError

SETTINGS = "masks.json"
KEPT, REJECTED, UNREADABLE = "kept", "rejected", "unreadable"
_MAX_FAULTS = 10  # kept of one video for messages; the file has them all
_TEXT = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}  # paths may hold any bytes


class FrameRecord(NamedTuple):
    """One row of a video's file. iou: of the mask's rectangle with the box, None where there is no mask."""

    frame: str  # name without suffix
    image: str  # path
    x: float  # the box that was given, in pixels
    y: float
    w: float
    h: float
    status: str
    iou: float | None = None
    source: str = ""
    reason: str = ""  # why it was not kept


@dataclass(frozen=True)
class VideoReport:
    """Numbers of frames by what became of them; of the first faults, what they were."""

    name: str
    kept: int = 0
    rejected: int = 0
    unreadable: int = 0
    iou_sum: float = 0.0  # over the kept
    faults: tuple[str, ...] = ()
    problem: str = ""  # why nothing could be done for this video


class RecordFile:
    """The rows of one video, appended as its frames are done; a context manager.

    The file has its final name from the end of the video on. Rows of an earlier run that did not get there are kept, so
    `done` names the frames that need no work; a row that was cut off is dropped.
    """

    def __init__(self, path: Path):
        self._path, self._part = path, path.with_name(path.name + PART)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._part.exists():
            _drop_cut_row(self._part)
        rows = read_records(self._part) if self._part.exists() and self._part.stat().st_size else None
        self.done = {record.frame for record in rows or ()}
        self._file = self._part.open("a", **_TEXT)
        self._writer = csv.writer(self._file, lineterminator="\n")
        if rows is None:
            self.append(FrameRecord._fields)

    def append(self, record: FrameRecord) -> None:
        self._writer.writerow(record)
        self._file.flush()

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            os.replace(self._part, self._path)


def records_path(folder: Path, video: str) -> Path:
    return folder / "masks" / f"{video}.csv"


def read_records(path: Path) -> Iterator[FrameRecord]:
    """InputError, naming file and line: not such a file."""
    with path.open(**_TEXT) as file:
        rows = csv.reader(file)
        if tuple(next(rows, ())) != FrameRecord._fields:
            raise InputError(f"{path} does not begin with {','.join(FrameRecord._fields)}")
        for row in rows:
            try:
                frame, image, x, y, w, h, status, iou, source, reason = row
                box = float(x), float(y), float(w), float(h)
                yield FrameRecord(frame, image, *box, status, float(iou) if iou else None, source, reason)
            except ValueError:
                raise InputError(f"{path}, line {rows.line_num}: not a row of this file: {str(row)[:80]}") from None


def read_report(folder: Path, video: str) -> VideoReport | None:
    """Of a video that is finished; None of another."""
    path = records_path(folder, video)
    if not path.is_file():
        return None
    counts = dict.fromkeys((KEPT, REJECTED, UNREADABLE), 0)
    iou_sum, faults = 0.0, []
    for record in read_records(path):
        if record.status not in counts:
            raise InputError(f"{path}: frame {record.frame} has the status {record.status!r}")
        counts[record.status] += 1
        if record.status == KEPT:
            iou_sum += record.iou or 0.0
        elif record.status == UNREADABLE and len(faults) < _MAX_FAULTS:
            faults.append(f"{video}, frame {record.frame}: {record.reason}")
    return VideoReport(video, counts[KEPT], counts[REJECTED], counts[UNREADABLE], iou_sum, tuple(faults))


def claim_folder(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings into a new or empty folder, or see that they are those it was begun with.

    settings: plain values by name. InputError: other settings, named; a folder with files of another origin.
    """
    path = folder / SETTINGS
    plain = json.loads(json.dumps(settings, default=repr))
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty and was not begun by this command: choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_text(json.dumps(plain, indent=1), encoding="utf-8")
        return
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    if not isinstance(begun, dict):
        raise InputError(f"{path} is damaged: no object")
    different = [key for key in {**begun, **plain} if begun.get(key) != plain.get(key)]
    if different:
        was = ", ".join(f"{key} {begun.get(key)!r} (now {plain.get(key)!r})" for key in different)
        raise InputError(f"{folder} was begun with {was}: give the same settings, or another folder")


def _drop_cut_row(path: Path) -> None:
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
