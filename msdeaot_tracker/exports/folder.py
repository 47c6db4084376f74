"""A results folder as it lies on disk: what each file of it is called and holds, and a finished run read back.

result.json      about the run: `source`, `objects`, `size` [width, height], `fps`, `status`, maybe `names` of objects
                 by id, and of its frames the number of the `first` and the `count`
frames.jsonl     a line per frame, see `frame_line`
masks/N.png      the object ids of frame N, unless the run was told to leave them out
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from ..images import read_mask
from ..types import Box, FrameResult, InputError
from ..words import counted

if TYPE_CHECKING:
    from ..video import Frame

SUMMARY, FRAMES, MASKS = "result.json", "frames.jsonl", "masks"
TRACKED = "tracked"  # the source of a mask that was propagated; others are an initializer's, or "given"
_MAX_ID = 255

logger = logging.getLogger(__name__)


def mask_name(index: int) -> str:
    """Of the mask of a frame, by its number in the source."""
    return f"{index:08d}.png"


def video_name(source: str, *, is_folder: bool) -> str:
    """What results of a source are called, in letters of a file name: as its file or folder, or a pattern's folder."""
    path = Path(source.partition("?")[0] if "://" in source else source)
    if any(sign in path.name for sign in "%*"):
        path, is_folder = path.parent, True
    name = (path.name or path.resolve().name) if is_folder else path.stem
    return re.sub(r"[^\w.\- ]", "_", name) or "video"


def frame_line(frame: Frame, result: FrameResult, boxes: Mapping[int, Box | None]) -> str:
    """One frame of a run as a line of JSON.

        {"frame": number in the source, from 0, "time": seconds or null, "image": name of its file or null,
         "objects": {id: {"box": [x, y, w, h] in pixels, or null where it is absent, "score": 0 to 1,
                          "area": pixels of its mask, "source": who made the mask}}}

    A line takes the place of earlier ones of the same frame. boxes: to be told of this frame.
    """
    areas = np.bincount(result.labels.ravel(), minlength=_MAX_ID + 1)
    objects = {
        object_id: {
            "box": None if box is None else [float(f"{side:.8g}") for side in box],
            "score": round(float(result.scores[object_id]), 6),
            "area": int(areas[object_id]),
            "source": result.estimates[object_id].source if object_id in result.estimates else TRACKED,
        }
        for object_id, box in boxes.items()
    }
    return json.dumps({"frame": frame.index, "time": frame.time, "image": frame.file, "objects": objects})


@dataclass(frozen=True)
class Sighting:
    """One object on one frame; `box` in pixels, None where it is absent, then `score` and `area` (pixels) are 0."""

    box: Box | None
    score: float
    area: int
    source: str


@dataclass(frozen=True)
class FrameRecord:
    index: int  # in the source, from 0
    time: float | None  # seconds
    image: str | None  # name of the image's file; None of a video
    objects: Mapping[int, Sighting]

    @property
    def stem(self) -> str:
        """What files about this frame are called: as the input's, or by the number of a video's frame."""
        return f"{self.index:08d}" if self.image is None else PurePath(self.image).stem


class RunFolder:
    """A run that is over, read from its folder a frame at a time, in the order of the video."""

    def __init__(self, folder: Path):
        """InputError: not a results folder of `msdeaot track`, one whose run is not over, or a damaged one."""
        self.folder = folder
        summary = _read_summary(folder)
        try:
            self.width, self.height = (int(side) for side in summary["size"])
            self.source = str(summary["source"])
            self.fps = None if summary["fps"] is None else float(summary["fps"])
            files = summary["files"]
            self._names = {str(key): str(name) for key, name in summary.get("names", {}).items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{folder / SUMMARY} is not whole: {type(error).__name__} {error}") from None
        if FRAMES not in files:
            raise InputError(f"{folder} is of an earlier version, without {FRAMES}: track again")
        self._lines = _find_lines(folder / FRAMES)
        if not self._lines:
            raise InputError(f"{folder / FRAMES} holds no frame")
        self.object_ids = sorted({object_id for frame in self for object_id in frame.objects})

    def __iter__(self) -> Iterator[FrameRecord]:
        with (self.folder / FRAMES).open("rb") as file:
            for index in sorted(self._lines):
                file.seek(self._lines[index])
                yield _parse(file.readline(), self.folder / FRAMES)

    def __len__(self) -> int:
        return len(self._lines)

    def name(self, object_id: int) -> str:
        """What the user calls an object, where he has said so."""
        return self._names.get(str(object_id)) or f"object {object_id}"

    @property
    def sequence(self) -> str:
        """A name for the video that may be a file's."""
        return video_name(self.source, is_folder=next(iter(self)).image is not None)

    @property
    def has_masks(self) -> bool:
        return (self.folder / MASKS / mask_name(min(self._lines))).is_file()

    def mask_file(self, frame: FrameRecord) -> Path:
        return self.folder / MASKS / mask_name(frame.index)

    def labels(self, frame: FrameRecord) -> np.ndarray:
        """int32 [H, W], the object ids of a frame. InputError: its mask is missing, damaged or of another size."""
        labels = read_mask(self.mask_file(frame))
        if labels.shape != (self.height, self.width):
            rows, columns = labels.shape
            raise InputError(f"{self.mask_file(frame)} is {columns}x{rows} pixels, not {self.width}x{self.height}")
        return labels


def _read_summary(folder: Path) -> dict[str, Any]:
    path = folder / SUMMARY
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder with results of `msdeaot track`")
    if not path.is_file():
        inside = sorted(found.parent.name for found in folder.glob(f"*/{SUMMARY}"))
        hint = f"; there are results in {', '.join(inside[:5])}" if inside else ""
        raise InputError(f"{folder} holds no results of `msdeaot track`: no {SUMMARY} in it{hint}")
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        status, frames = summary["status"], int(summary["frames"]["count"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{path} was not written by `msdeaot track`") from None
    if status == "running":
        raise InputError(f"the run in {folder} is not over, or was killed: track again, or wait")
    if not frames:
        raise InputError(f"the run in {folder} is {status}, without a frame")
    if status != "complete":
        logger.warning("the run in %s is %s: what it wrote is %s", folder, status, counted(frames, "frame"))
    return summary


def _find_lines(path: Path) -> dict[int, int]:
    """Where the last line of each frame begins, in bytes: the frames themselves do not stay in memory."""
    offsets: dict[int, int] = {}
    try:
        with path.open("rb") as file:
            offset = 0
            for line in file:
                if not line.endswith(b"\n"):  # of a run that a full disk ended
                    break
                offsets[_parse(line, path).index] = offset
                offset += len(line)
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    return offsets


def _parse(line: bytes, path: Path) -> FrameRecord:
    try:
        content = json.loads(line)
        time, image = content["time"], content["image"]
        objects = {int(object_id): _sighting(of) for object_id, of in content["objects"].items()}
        if not all(1 <= object_id < _MAX_ID for object_id in objects):
            raise ValueError("object ids")
        name = None if image is None else PurePath(str(image)).name
        return FrameRecord(int(content["frame"]), None if time is None else float(time), name, objects)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise InputError(f"{path} has a line that is not of a frame: {line[:80].decode(errors='replace')!r}") from None


def _sighting(of: Mapping[str, Any]) -> Sighting:
    """ValueError, KeyError, TypeError: not one."""
    box = of["box"]
    if box is not None:
        box = Box(*(float(side) for side in box))
        if not all(map(math.isfinite, box)):
            raise ValueError("box")
    return Sighting(box, float(of["score"]), int(of["area"]), str(of["source"]))
