"""Regions as vot-toolkit writes them, one per line of a text file (vot/region/io.py there), as boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...types import InputError
from .box_files import parse_numbers, read_text

ABSENT = (np.nan,) * 4


def read_regions(path: Path, notes: list[str] | None = None) -> np.ndarray:
    """float64 [N, 4]: a box x,y,w,h per line; NaN where the object is not to be seen, or nothing is known of it.

    Rectangles are taken as they are; of polygons and masks the bounds, in whole pixels of masks; all else (a code, a
    rectangle or polygon with a NaN, a mask without a pixel) is no box.
    notes: is told what was not taken as it is in the file: runs of a mask that go on beyond its window.
    InputError, naming file and line: missing, empty, not regions.
    """
    lines = read_text(path).rstrip().splitlines()
    if not lines:
        raise InputError(f"{path} is empty")
    notes = [] if notes is None else notes
    return np.array([_region_box(line.strip(), f"{path}, line {n}", notes) for n, line in enumerate(lines, 1)])


def _region_box(text: str, where: str, notes: list[str]) -> tuple[float, ...]:
    if text.startswith("m"):
        return _mask_box(parse_numbers(text[1:], where), where, notes)
    values = parse_numbers(text, where)
    if len(values) not in (1, 4) and (len(values) < 6 or len(values) % 2):
        raise InputError(f"{where}: {len(values)} values are neither a rectangle, nor a polygon, nor a code")
    if len(values) == 1 or np.isnan(values).any():
        return ABSENT
    if len(values) == 4:
        return tuple(values)
    (left, top), (right, bottom) = values.reshape(-1, 2).min(axis=0), values.reshape(-1, 2).max(axis=0)
    return left, top, right - left, bottom - top


def _mask_box(values: np.ndarray, where: str, notes: list[str]) -> tuple[float, ...]:
    """x,y,w,h of a window, then lengths of runs of pixels in its rows, without and with the object in turn."""
    if len(values) < 4 or (values != np.floor(values)).any() or (values[2:] < 0).any():
        raise InputError(f"{where}: not a mask x,y,w,h,<lengths of runs>")
    x, y, width, height = values[:4]
    ends = values[4:].cumsum()
    starts = ends - values[4:]
    if not width * height:  # as the toolkit writes an empty mask
        return ABSENT
    if len(ends) and ends[-1] > width * height:
        notes.append(f"{where}: {ends[-1]:.0f} pixels in a window of {width:.0f}x{height:.0f}; the others left out")
        ends, starts = ends.clip(max=width * height), starts.clip(max=width * height)
    inside = np.flatnonzero(ends > starts)
    inside = inside[inside % 2 == 1]
    if not len(inside):
        return ABSENT
    first, last = starts[inside], ends[inside] - 1
    if (first // width == last // width).all():
        left, right = (first % width).min(), (last % width).max()
    else:  # a run goes on in the next row
        left, right = 0, width - 1
    top, bottom = first[0] // width, last[-1] // width
    return x + left, y + top, right - left + 1, bottom - top + 1
