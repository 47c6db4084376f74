"""EgoTracks (Tang, Liang, Grauman, Feiszli, Wang, 2023): long tracks of objects in clips of Ego4D.

The annotations are one JSON file per split, `egotracks_train.json` in Ego4D's release v2:
videos[].clips[].{exported_clip_uid, annotations[].query_sets{number: {is_valid, object_title, lt_track, visual_clip,
visual_crop}}}. The last three are boxes {x, y, width, height, exported_clip_frame_number} or lists of them, in pixels
of a picture of original_width x original_height. Frames are files `frames/<exported_clip_uid>/<frame number>.jpg`, as
the dataset's own extraction script writes them.

Source: github.com/EGO4D/episodic-memory, EgoTracks/ (README, reader, extraction script) and VQ2D/ (what original_width
and original_height mean).
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...types import InputError
from .box_types import BoxSequence

logger = logging.getLogger(__name__)

TRAINING_SPLIT = "egotracks_train.json"
_FRAME_NUMBER = "exported_clip_frame_number"
_SIDES = ("x", "y", "width", "height")
_MAX_FRAME = 10**8
_MAX_COORDINATE = 1e6  # pixels; also keeps what is not a number away from arithmetic


@dataclass(frozen=True, eq=False)
class EgoTrack:
    """One object's boxes in one clip; only frames that were annotated.

    frames:  folder of the clip's frames.
    numbers: int64 [N], rising. boxes: float64 [N, 4], x,y,w,h in pixels of `size`; NaN where it has no area.
    size:    width, height of the annotated picture; None: as the frames are.
    """

    name: str
    frames: Path
    numbers: np.ndarray
    boxes: np.ndarray
    size: tuple[float, float] | None


def read_egotracks(path: Path) -> list[EgoTrack]:
    """The tracks of an annotation file, or of a folder's training split; `frames/` lies beside the file.

    Left out, as by the dataset's own reader: objects marked not valid, or without a track. Left out with a warning:
    objects with a box that has no frame number in the exported clip. A track is named
    `<clip>_<object's number>_<its title>`, the title without what file systems do not take.
    InputError, naming file and place: not such a file.
    """
    file = path / TRAINING_SPLIT if path.is_dir() else path
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{file} does not exist") from None
    except (ValueError, RecursionError) as error:  # not UTF-8 and not JSON are both ValueErrors
        raise InputError(f"{file} is not JSON: {error}") from None
    tracks: list[EgoTrack] = []
    unnumbered = 0
    for clip_uid, where, query_set in _query_sets(_Node(content, str(file))):
        if (query_set.has("is_valid") and not query_set.get("is_valid", bool)) or not query_set.has("lt_track"):
            continue
        boxes = list(_boxes(query_set))
        if not all(box.has(_FRAME_NUMBER) for box in boxes):
            unnumbered += 1
            continue
        title = re.sub(r"[^\w-]+", "_", query_set.get("object_title", str))[:60]
        tracks.append(_track(f"{clip_uid}_{where}_{title}", file.parent / "frames" / clip_uid, boxes))
    if unnumbered:
        logger.warning("%s: %d objects left out, whose boxes have no %s", file, unnumbered, _FRAME_NUMBER)
    if not tracks:
        raise InputError(f"{file} holds no tracks")
    return tracks


def read_track(track: EgoTrack) -> BoxSequence:
    """The boxes in pixels of the frames, which may be smaller than the picture that was annotated."""
    frames = tuple(track.frames / f"{number}.jpg" for number in track.numbers.tolist())
    boxes = track.boxes
    if track.size is not None and (size := _frame_size(frames)) is not None:
        boxes = boxes * np.tile(np.divide(size, track.size), 2)
    return BoxSequence(track.name, frames, boxes)


@dataclass(frozen=True)
class _Node:
    """A value of the file and its place in it, so that an error can say where."""

    value: Any
    where: str

    def has(self, key: str) -> bool:
        if not isinstance(self.value, dict):
            raise InputError(f"{self.where} is {type(self.value).__name__}, an object with {key!r} is expected")
        return key in self.value

    def get(self, key: str, kind: type | tuple[type, ...]) -> Any:
        """The value of a key of this object. InputError: it is missing, or of another type."""
        if not self.has(key):
            raise InputError(f"{self.where} has no {key!r}")
        found = self.value[key]
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
            raise InputError(f"{self.where}.{key} is {type(found).__name__} {str(found)[:40]!r}")
        return found

    def number(self, key: str) -> float:
        found = self.get(key, (int, float))
        if not abs(found) <= _MAX_COORDINATE:  # NaN, too
            raise InputError(f"{self.where}.{key} is {str(found)[:40]}, not a number of pixels")
        return float(found)

    def items(self, key: str) -> Iterator[_Node]:
        """The elements of a list."""
        for index, value in enumerate(self.get(key, list)):
            yield _Node(value, f"{self.where}.{key}[{index}]")

    def entries(self, key: str) -> Iterator[tuple[str, _Node]]:
        """The values of an object, with their keys."""
        for name, value in self.get(key, dict).items():
            yield name, _Node(value, f"{self.where}.{key}.{name[:40]}")


def _query_sets(root: _Node) -> Iterator[tuple[str, str, _Node]]:
    """Clip, number of the object in it, its annotation."""
    for video in root.items("videos"):
        for clip in video.items("clips"):
            clip_uid = clip.get("exported_clip_uid", (str, type(None)))
            if clip_uid is None:  # not exported, so it has no frames
                continue
            _check_name(clip_uid, f"{clip.where}.exported_clip_uid")
            for annotation in clip.items("annotations"):
                for number, query_set in annotation.entries("query_sets"):
                    _check_name(number, query_set.where)
                    yield clip_uid, number, query_set


def _boxes(query_set: _Node) -> Iterator[_Node]:
    """All of an object, later ones to replace earlier ones of the same frame."""
    yield from query_set.items("lt_track")
    if query_set.has("visual_clip"):
        yield from query_set.items("visual_clip")
    if query_set.has("visual_crop"):
        yield _Node(query_set.get("visual_crop", dict), f"{query_set.where}.visual_crop")


def _track(name: str, frames: Path, boxes: Iterable[_Node]) -> EgoTrack:
    by_frame: dict[int, list[float]] = {}
    size = None
    for box in boxes:
        number = box.get(_FRAME_NUMBER, int)
        if not 0 <= number <= _MAX_FRAME:
            raise InputError(f"{box.where}.{_FRAME_NUMBER} is {str(number)[:40]}")
        by_frame[number] = [box.number(side) for side in _SIDES]
        if box.has("original_width"):
            size = box.number("original_width"), box.number("original_height")
            if min(size) <= 0:
                raise InputError(f"{box.where}: an original picture of {size[0]:g}x{size[1]:g} pixels")
    numbers = np.array(sorted(by_frame), np.int64)
    rows = np.array([by_frame[number] for number in numbers.tolist()]).reshape(-1, 4)
    rows[(rows[:, 2:] <= 0).any(axis=1)] = math.nan
    return EgoTrack(name, frames, numbers, rows, size)


def _check_name(name: str, where: str) -> None:
    if not re.fullmatch(r"[\w-]{1,80}", name, re.ASCII):
        raise InputError(f"{where}: {name[:40]!r} cannot be part of a file name")


def _frame_size(frames: Iterable[Path]) -> tuple[int, int] | None:
    """Width, height of the first frame whose header can be read; all of a clip are of one size."""
    for frame in frames:
        try:
            with Image.open(frame) as image:
                return image.size
        except (OSError, Image.DecompressionBombError):  # named when the frame's turn comes
            continue
    return None
