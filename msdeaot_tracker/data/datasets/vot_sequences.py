"""Sequences of a vot-toolkit workspace, as boxes: what that toolkit reads is read alike (vot/dataset/common.py there).

Alike are the frames, their number, the regions and the anchors. Where the toolkit has no mercy (it stops all), the
fault is a problem of the sequence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...types import InputError
from .box_files import parse_numbers, read_names, read_text
from .box_types import Anchor, BoxSequence, Interaction
from .vot_regions import read_regions

_FRAMES = re.compile(r"([^%]*/)?[^%/]*%0?\d?d[^%/]*")
_CHANNELS = ("color", "depth", "ir")  # the first that a sequence names is the one that is tracked on
_DEFAULT_FRAMES = "color/%08d.jpg"
_LEGACY_FRAMES = "%08d.jpg"  # of sequences without a file of properties
_DEFAULT_FPS = 30.0
_MOST_FRAMES = 10_000_000  # more is no length
Problems = list[str]


def read_vot(folder: Path) -> list[BoxSequence]:
    """`sequences/<name>/{sequence, groundtruth.txt, anchor.value}` of the names in `sequences/list.txt`.

    Spans of the hand-object protocol are read from the property `interactions`, where `msdeaot workspace` puts them.

    The folder is the workspace, or its `sequences`. Regions become boxes as in `read_regions`. Every object of a
    multi-object sequence (`groundtruth_<object>.txt`) is a sequence of its own, <name>_<object>. A sequence is as long
    as the property `length` says, else as there are frames; frames beyond the truth have none.
    InputError: no such list.
    """
    inner = folder / "sequences"
    folder = inner if inner.is_dir() else folder
    names = dict.fromkeys(read_names(folder / "list.txt"))
    return [sequence for name in names for sequence in _read_folder(folder / name)]


def _read_folder(folder: Path) -> list[BoxSequence]:
    problems: Problems = []
    try:
        properties = _read_properties(folder / "sequence")
    except InputError as error:
        properties = {}
        problems.append(f"{error}; its properties are not known")
    single = Path(properties.get("groundtruth") or "groundtruth.txt")
    if single.is_absolute() or ".." in single.parts:
        problems.append(f"{folder / 'sequence'}: groundtruth={single} leads out of the folder")
        return [BoxSequence(folder.name, (), np.empty((0, 4)), problems=tuple(problems))]
    several = sorted(folder.glob("groundtruth_*.txt"))
    if not several:
        return [_read_truth(folder, folder.name, folder / single, properties, list(problems))]
    names = [folder.name + path.stem.removeprefix("groundtruth") for path in several]
    return [_read_truth(folder, *each, properties, list(problems)) for each in zip(names, several, strict=True)]


def _read_truth(folder: Path, name: str, truth: Path, properties: Mapping[str, str], problems: Problems) -> BoxSequence:
    where = folder / "sequence"
    try:
        boxes = read_regions(truth, problems)
    except InputError as error:
        return BoxSequence(name, (), np.empty((0, 4)), problems=(*problems, str(error)))
    fps = _read_fps(properties, where, problems)
    length, frames = len(boxes), ()
    try:
        length = _read_length(properties, where) or length
        length, frames = _find_frames(folder, properties, length, problems)
    except InputError as error:
        problems.append(f"{error}; the sequence cannot be run")
    boxes = _fit(boxes, length, truth, problems)
    try:
        anchors = _read_anchors(folder / "anchor.value", length)
    except InputError as error:
        anchors = ()
        problems.append(f"{error}; no anchors")
    try:
        interactions = _parse_interactions(properties.get("interactions", ""), length, where)
    except InputError as error:
        interactions = ()
        problems.append(f"{error}; no interactions")
    return BoxSequence(name, frames, boxes, anchors, interactions, fps, tuple(problems))


def _fit(boxes: np.ndarray, length: int, truth: Path, problems: Problems) -> np.ndarray:
    """Boxes of `length` frames: none where the truth ends earlier. The first alone is how test sets are published."""
    if len(boxes) > length:
        problems.append(f"{truth}, line {length + 1}: {len(boxes)} regions for {length} frames; the others left out")
    elif 1 < len(boxes) < length:
        problems.append(f"{truth}: {len(boxes)} regions for {length} frames; the others are not scored")
    missing = np.full((max(0, length - len(boxes)), 4), np.nan)
    return np.concatenate([boxes[:length], missing])


def _find_frames(
    folder: Path, properties: Mapping[str, str], length: int, problems: Problems
) -> tuple[int, tuple[Path, ...]]:
    """The number of frames, and the frames, numbered from 1; `length` and none where there is no folder of them.

    InputError: frames that a property counts are missing, there are none at all, or their pattern is none.
    """
    pattern = _frame_pattern(folder, properties)
    parent = (folder / pattern).parent
    if not parent.is_dir():
        return length, ()
    present = {path.name for path in parent.iterdir()}

    def there(number: int) -> bool:
        return Path(pattern % number).name in present

    if _read_length(properties, folder / "sequence") is None:
        length = next(number for number in range(len(present) + 1) if not there(number + 1))
        if any(there(number) for number in range(length + 2, length + 2 + len(present))):
            missing = folder / (pattern % (length + 1))
            problems.append(f"frame {missing} does not exist; the frames after it are left out")
    elif missing := [number for number in range(1, length + 1) if not there(number)]:
        lacking = f"{len(missing)} of {length} are missing"
        raise InputError(f"frame {folder / (pattern % missing[0])} does not exist ({lacking})")
    if not length:
        raise InputError(f"frame {folder / (pattern % 1)} does not exist")
    return length, tuple(folder / (pattern % number) for number in range(1, length + 1))


def _frame_pattern(folder: Path, properties: Mapping[str, str]) -> str:
    """Below the folder, with one number in it. InputError: it is of another form."""
    if not (folder / "sequence").is_file() and not (folder / _DEFAULT_FRAMES).parent.is_dir():
        return _LEGACY_FRAMES
    named = (properties.get(f"channels.{channel}") for channel in _CHANNELS)
    pattern = next((text for text in named if text is not None), _DEFAULT_FRAMES)
    path = Path(pattern.replace("\\", "/"))
    if not path.suffix:  # a folder
        path /= _LEGACY_FRAMES
    if not _FRAMES.fullmatch(str(path)) or path.is_absolute() or ".." in path.parts:
        raise InputError(f"{folder / 'sequence'}: frames {pattern!r} are not of the form color/%08d.jpg")
    return str(path)


def _read_length(properties: Mapping[str, str], where: Path) -> int | None:
    """What is no whole number is not looked at, and there is always a first frame, as in the toolkit.

    InputError: nobody has so many frames.
    """
    try:
        length = max(1, int(properties["length"]))
    except (KeyError, ValueError):
        return None
    if length > _MOST_FRAMES:
        raise InputError(f"{where}: length {length} is more than {_MOST_FRAMES}")
    return length


def _read_fps(properties: Mapping[str, str], where: Path, problems: Problems) -> float | None:
    text = properties.get("fps", str(_DEFAULT_FPS))
    try:
        fps = float(text)
    except ValueError:
        fps = math.nan
    if 0 < fps < math.inf:
        return fps
    problems.append(f"{where}: fps {text[:40]!r} is no number above 0; without it there is no real time")
    return None


def _read_anchors(path: Path, length: int) -> tuple[Anchor, ...]:
    """One number for each frame, and 0 for those after the last: above 0 a forward, below 0 a backward anchor."""
    if not path.is_file():
        return ()
    lines = read_text(path).rstrip().splitlines()
    rows = [parse_numbers(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]
    wrong = next((number for number, row in enumerate(rows, start=1) if len(row) != 1), None)
    if wrong is not None:
        raise InputError(f"{path}, line {wrong}: one number is expected")
    if len(rows) > length:
        raise InputError(f"{path}, line {length + 1}: {len(rows)} numbers for {length} frames")
    return tuple(Anchor(frame, bool(value < 0)) for frame, (value,) in enumerate(rows) if value < 0 or value > 0)


def _parse_interactions(text: str, length: int, where: Path) -> tuple[Interaction, ...]:
    """A property of this project's workspaces: "46-82-0 90-97-2"."""
    spans = []
    for word in text.split():
        match = re.fullmatch(r"(\d+)-(\d+)-([012])", word, re.ASCII)
        span = Interaction(*map(int, match.groups())) if match else None
        if span is None or not span.start <= span.end < length:
            raise InputError(f"{where}: interactions: {word!r} is not <start>-<end>-<hand> within {length} frames")
        spans.append(span)
    return tuple(spans)


def _read_properties(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    pairs = [line.partition("=") for line in read_text(path).splitlines()]
    return {key.strip(): value.strip() for key, _, value in pairs}
