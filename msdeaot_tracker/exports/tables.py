"""Boxes and scores as text, a line per frame and object: CSV, JSON lines, MOTChallenge."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from .folder import FrameRecord, RunFolder, Sighting

COLUMNS = ("frame", "time", "image", "id", "x", "y", "w", "h", "score", "area", "source")


def write_csv(run: RunFolder, path: Path) -> None:
    """COLUMNS, then a row per frame and object: frames from 0, seconds, pixels; of an absent object no box."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for frame, object_id, seen in _sightings(run):
            box = seen.box or ("",) * 4
            table.writerow((frame.index, frame.time, frame.image, object_id, *box, seen.score, seen.area, seen.source))


def write_jsonl(run: RunFolder, path: Path) -> None:
    """The same as objects of JSON; `box` is [x, y, w, h], or null of an absent object."""
    with path.open("w", encoding="utf-8") as file:
        for frame, object_id, seen in _sightings(run):
            row = {"frame": frame.index, "time": frame.time, "image": frame.image, "id": object_id, "box": seen.box}
            row |= {"score": seen.score, "area": seen.area, "source": seen.source}
            file.write(json.dumps(row) + "\n")


def write_mot(run: RunFolder, path: Path) -> None:
    """`frame,id,x,y,w,h,score,-1,-1,-1`, as results are submitted to MOTChallenge: frames and pixels count from 1.

    Frames are numbered as in the whole video, whichever the run began with. Absent objects have no line.
    Source: motchallenge.net/instructions.
    """
    with path.open("w", encoding="ascii") as file:
        for frame, object_id, seen in _sightings(run):
            if seen.box is not None:
                x, y, w, h = seen.box
                sides = ",".join(f"{side:.8g}" for side in (x + 1, y + 1, w, h))
                file.write(f"{frame.index + 1},{object_id},{sides},{seen.score:g},-1,-1,-1\n")


def _sightings(run: RunFolder) -> Iterator[tuple[FrameRecord, int, Sighting]]:
    for frame in run:
        for object_id, seen in sorted(frame.objects.items()):
            yield frame, object_id, seen
