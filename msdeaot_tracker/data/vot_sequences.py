"""Sequences of a vot-toolkit workspace, as boxes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..types import InputError
from .box_files import parse_numbers, read_integers, read_names, read_text
from .box_types import Anchor, BoxSequence, Interaction

_ABSENT = (np.nan,) * 4
_FRAMES = re.compile(r"([^%]+)%0?(\d?)d([^%]*)")
_DEFAULT_FRAMES = "color/%08d.jpg"
_DEFAULT_FPS = 30.0


def read_vot(folder: Path) -> list[BoxSequence]:
    """`sequences/<name>/{sequence, groundtruth.txt, anchor.value}` of the names in `sequences/list.txt`.

    Spans of the hand-object protocol are read from the property `interactions`, where `msdeaot workspace` puts them.

    The folder is the workspace, or its `sequences`. Rectangles are taken as they are, of masks and polygons their
    bounds; any other region means that the object is not to be seen. Every object of a multi-object sequence
    (`groundtruth_<object>.txt`) is a sequence of its own, <name>_<object>.
    InputError: no such list.
    """
    inner = folder / "sequences"
    folder = inner if inner.is_dir() else folder
    return [sequence for name in read_names(folder / "list.txt") for sequence in _read_folder(folder / name)]


def _read_folder(folder: Path) -> list[BoxSequence]:
    truths = sorted(folder.glob("groundtruth_*.txt")) or [folder / "groundtruth.txt"]
    return [_read_truth(folder, path) for path in truths]


def _read_truth(folder: Path, truth: Path) -> BoxSequence:
    name = folder.name + truth.stem.removeprefix("groundtruth")
    problems: list[str] = []
    try:
        boxes = read_regions(truth)
    except InputError as error:
        return BoxSequence(name, (), np.empty((0, 4)), problems=(str(error),))
    fps, frames, properties = _DEFAULT_FPS, (), {}
    try:
        properties = _read_properties(folder / "sequence")
        fps = float(parse_numbers(properties.get("fps", str(_DEFAULT_FPS)), folder / "sequence")[0])
        pattern = properties.get(f"channels.{properties.get('channel.default', 'color')}", _DEFAULT_FRAMES)
        frames = _frames(folder, pattern, len(boxes))
    except InputError as error:
        problems.append(f"{error}; the sequence cannot be run")
    try:
        anchors = _read_anchors(folder / "anchor.value", len(boxes))
    except InputError as error:
        anchors = ()
        problems.append(f"{error}; no anchors")
    try:
        interactions = _parse_interactions(properties.get("interactions", ""), len(boxes), folder / "sequence")
    except InputError as error:
        interactions = ()
        problems.append(f"{error}; no interactions")
    return BoxSequence(name, frames, boxes, anchors, interactions, fps, tuple(problems))


def read_regions(path: Path) -> np.ndarray:
    """float64 [N, 4]: the boxes of a file of regions, one per line (vot/region/io.py). InputError: file and line."""
    lines = read_text(path).rstrip().splitlines()
    if not lines:
        raise InputError(f"{path} is empty")
    return np.array([_region_box(line.strip(), f"{path}, line {number}") for number, line in enumerate(lines, 1)])


def _region_box(text: str, where: str) -> tuple[float, ...]:
    if text.startswith("m"):
        return _mask_box(parse_numbers(text[1:], where), where)
    values = parse_numbers(text, where)
    if len(values) == 4:
        return _ABSENT if np.isnan(values).any() else tuple(values)
    if len(values) >= 6 and len(values) % 2 == 0:
        (left, top), (right, bottom) = values.reshape(-1, 2).min(axis=0), values.reshape(-1, 2).max(axis=0)
        return left, top, right - left, bottom - top
    if len(values) == 1:
        return _ABSENT
    raise InputError(f"{where}: {len(values)} values are neither a rectangle, nor a polygon, nor a code")


def _mask_box(values: np.ndarray, where: str) -> tuple[float, ...]:
    """x,y,w,h of a window, then lengths of runs of pixels in its rows, without and with the object in turn."""
    if len(values) < 4 or (values != np.floor(values)).any() or (values[2:] < 0).any():
        raise InputError(f"{where}: not a mask x,y,w,h,<lengths of runs>")
    x, y, width, height = values[:4]
    ends = values[4:].cumsum()
    starts = ends - values[4:]
    inside = np.flatnonzero(ends > starts)
    inside = inside[inside % 2 == 1]
    if not len(inside):
        return _ABSENT
    if ends[-1] > width * height:
        raise InputError(f"{where}: {ends[-1]:.0f} pixels in a window of {width:.0f}x{height:.0f}")
    first, last = starts[inside], ends[inside] - 1
    if (first // width == last // width).all():
        left, right = (first % width).min(), (last % width).max()
    else:  # a run goes on in the next row
        left, right = 0, width - 1
    top, bottom = first[0] // width, last[-1] // width
    return x + left, y + top, right - left + 1, bottom - top + 1


def _read_anchors(path: Path, length: int) -> tuple[Anchor, ...]:
    if not path.is_file():
        return ()
    values = read_integers(path, 1, "one number for each frame")[:, 0]
    if len(values) != length:
        raise InputError(f"{path}, line {min(len(values), length) + 1}: {len(values)} numbers for {length} frames")
    return tuple(Anchor(int(frame), bool(values[frame] < 0)) for frame in np.flatnonzero(values))


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


def _frames(folder: Path, pattern: str, count: int) -> tuple[Path, ...]:
    """The frames, numbered from 1; none where there is no folder of them."""
    match = _FRAMES.fullmatch(pattern)
    if not match or Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise InputError(f"{folder / 'sequence'}: frames {pattern!r} are not of the form color/%08d.jpg")
    before, digits, after = match.groups()
    frames = [folder / f"{before}{number:0{int(digits or 1)}d}{after}" for number in range(1, count + 2)]
    parent = frames[0].parent
    if not parent.is_dir():
        return ()
    present = {path.name for path in parent.iterdir()}
    missing = [frame for frame in frames[:-1] if frame.name not in present]
    if missing:
        raise InputError(f"frame {missing[0]} does not exist ({len(missing)} of {count} are missing)")
    if frames[-1].name in present:
        raise InputError(f"{parent} holds more frames than the {count} of the truth, {frames[-1].name} for one")
    return tuple(frames[:-1])
