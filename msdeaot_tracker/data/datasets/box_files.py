"""Text files of boxes, anchors and flags, as trackers and datasets write them, read with every fault named.

What differs between tools is taken: commas, semicolons, tabs or spaces between values, Windows line ends, a byte-order
mark, blank lines at the end. What is odd and still has one meaning (a separator at the end of a line, flags as 0.0) is
taken, and told to `notes`, a list of texts that name file and line. What would change a number is an InputError with
both.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...types import InputError

Notes = list[str] | None
_SEPARATOR = re.compile(r"[,;\t ]+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?nan", re.IGNORECASE | re.ASCII)


def read_boxes(path: Path, *, complete: bool = False, notes: Notes = None) -> np.ndarray:
    """float64 [N, 4]: one box (x, y, w, h) per line, so row i is line i + 1; a row of four NaN is kept as that.

    complete: the last line must end with a line end, as every writer of results makes it; else the file was cut there,
    perhaps within a number.
    InputError, naming file and line: missing, empty, not text, not four numbers, some but not all of them NaN, cut.
    """
    text = read_text(path)
    if complete and text and not text.endswith(("\n", "\r")):
        raise InputError(f"{path}, line {len(text.splitlines())}: the line does not end, so the file was cut there")
    boxes = _parse_rows(path, text, 4, "a box is x,y,w,h", notes)
    broken = np.flatnonzero(np.isnan(boxes).any(axis=1) & ~np.isnan(boxes).all(axis=1))
    if len(broken):
        raise InputError(f"{path}, line {broken[0] + 1}: a box with some numbers and some NaN")
    return boxes


def read_integers(path: Path, columns: int, meaning: str, notes: Notes = None) -> np.ndarray:
    """int64 [N, columns] of a file with whole numbers ("12" or "12.0"). InputError as in `read_boxes`."""
    values = _parse_rows(path, read_text(path), columns, meaning, notes)
    fractions = np.flatnonzero((values != np.floor(values)).any(axis=1))  # NaN as well: it equals nothing
    if len(fractions):
        raise InputError(f"{path}, line {fractions[0] + 1}: {meaning}, in whole numbers")
    return values.astype(np.int64)


def read_flags(path: Path, notes: Notes = None) -> np.ndarray:
    """bool [N] of a file with 0 or 1 for every frame, on one line (LaSOT) or on one line each (GOT-10k)."""
    flags = [flag for line in read_text(path).splitlines() for flag in _split(line)]
    wrong = [flag for flag in flags if not _NUMBER.fullmatch(flag) or float(flag) not in (0, 1)]
    if wrong or not flags:
        raise InputError(f"{path}: {wrong[0][:40] if wrong else 'empty'}, where 0 or 1 is expected for every frame")
    odd = [flag for flag in flags if flag not in ("0", "1")]
    if odd and notes is not None:
        notes.append(f"{path}: {odd[0]}, where 0 or 1 is expected, taken as {float(odd[0]):g} ({len(odd)} such flags)")
    return np.array(flags, float) == 1


def read_names(path: Path) -> list[str]:
    """The lines of a list of sequences. InputError: missing, not text, a name that is not a plain path below here."""
    names = [line.strip() for line in read_text(path).splitlines()]
    for number, name in enumerate(names, start=1):
        if name and (Path(name).is_absolute() or ".." in Path(name).parts):
            raise InputError(f"{path}, line {number}: {name} leads out of the folder")
    return [name for name in names if name]


def read_text(path: Path) -> str:
    """InputError, naming the file: missing, or not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file (byte {error.start})") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _parse_rows(path: Path, text: str, columns: int, meaning: str, notes: Notes) -> np.ndarray:
    lines = text.rstrip().splitlines()
    if not lines:
        raise InputError(f"{path} is empty")
    odd = [number for number, line in enumerate(lines, start=1) if line.rstrip().endswith((",", ";"))]
    if odd and notes is not None:
        notes.append(f"{path}, line {odd[0]}: a separator after the last value ({len(odd)} such lines)")
    rows = np.empty((len(lines), columns))
    for number, line in enumerate(lines, start=1):
        values = parse_numbers(line, f"{path}, line {number}")
        if len(values) != columns:
            raise InputError(f"{path}, line {number}: {len(values)} values, {meaning}")
        rows[number - 1] = values
    return rows


def parse_numbers(line: str, where: object) -> np.ndarray:
    """float64 [N], NaN among them. InputError, beginning with `where`: not numbers, or not finite."""
    values = _split(line)
    wrong = [value for value in values if not _NUMBER.fullmatch(value)]
    if wrong:
        raise InputError(f"{where}: {wrong[0][:40]!r} is not a number")
    numbers = np.array(values, float)
    if np.isinf(numbers).any():  # 1e999
        raise InputError(f"{where}: a number that is not finite")
    return numbers


def _split(line: str) -> list[str]:
    line = line.strip().rstrip(",; \t")
    return _SEPARATOR.split(line) if line else []
