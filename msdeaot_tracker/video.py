"""Frames from a video file, a folder or a camera, one at a time; and the overlay video."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from .images import IMAGE_SUFFIXES, PathLike, palette, read_image
from .types import FrameResult, InputError, TrackerError

logger = logging.getLogger(__name__)

DEFAULT_FPS = 25.0  # of an overlay whose source does not say
_MAX_FPS = 1000.0  # containers without a frame rate report their time base instead
_CODEC = "mp4v"  # MPEG-4 part 2: OpenCV's wheels have no H.264 encoder, and their VP9 takes 0.3 s per frame
_COUNT_TOLERANCE = 0.02  # frame counts are computed from the duration in some containers


class Frame(NamedTuple):
    index: int  # from 0, in the source
    image: np.ndarray  # uint8 [H, W, 3] RGB
    time: float | None  # seconds from the source's beginning; None in a folder
    label: str  # for messages


@dataclass
class FrameSource:
    """An iterator over frames, each decoded when it is asked for. Close it to give back the file or the camera.

    InputError, naming the frame, where one is missing, damaged or of another size than the first.
    """

    name: str
    fps: float | None
    length: int | None  # frames in all, as far as known
    frames: Iterator[Frame]
    _first: Frame | None = field(default=None, init=False, repr=False)

    def __iter__(self) -> FrameSource:
        return self

    def __next__(self) -> Frame:
        frame = next(self.frames)
        self._first = first = self._first or frame
        if frame.image.shape != first.image.shape:
            raise InputError(
                f"{frame.label} is {_size(frame.image)} pixels, {first.label} is {_size(first.image)}: "
                "all frames of a video have one size"
            )
        return frame

    def close(self) -> None:
        self.frames.close()

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_source(source: PathLike, start: int = 0) -> FrameSource:
    """A video file, a folder of images (in natural order of their names) or a camera index ("0"), from frame `start`.

    Videos are turned upright as their metadata say. InputError: not there, not a video, no frames, nothing at `start`.
    """
    if start < 0:
        raise InputError(f"start frame {start} is negative; frames count from 0")
    path = Path(source)
    if path.is_dir():
        return _open_folder(path, start)
    if path.is_file():
        return _open_video(path, start)
    if re.fullmatch("[0-9]+", str(source)):
        return _open_camera(int(str(source)), start)
    raise InputError(f"source {source} is neither a file, nor a folder, nor the number of a camera")


def list_frames(folder: Path) -> list[Path]:
    """The images of a folder in natural order of their names; InputError when there are none."""
    # Not `is_file`: a link to a frame that is gone must be noticed, not skipped.
    paths = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.is_dir()]
    paths = sorted((p for p in paths if not p.name.startswith(".")), key=_natural_key)
    if not paths:
        raise InputError(f"folder {folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return paths


def _open_folder(folder: Path, start: int) -> FrameSource:
    paths = list_frames(folder)
    if start >= len(paths):
        raise InputError(f"there is no frame {start} in {folder}: it holds {len(paths)}, counted from 0")
    _warn_of_gaps(paths)

    def frames() -> Iterator[Frame]:
        for index, path in enumerate(paths[start:], start):
            try:
                image = read_image(path)
            except InputError as error:
                raise InputError(f"frame {index}: {error}") from error
            yield Frame(index, image, None, f"frame {index} ({path.name})")

    return FrameSource(str(folder), None, len(paths) - start, frames())


def _open_video(path: Path, start: int) -> FrameSource:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise InputError(f"{path} is a single image; give a video, or the folder that holds the frames")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise InputError(f"{path} is not a video that can be decoded, or it is damaged")
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    announced = int(max(capture.get(cv2.CAP_PROP_FRAME_COUNT), 0))
    for index in range(start):  # stepping, since seeking is inexact in many files
        if not capture.grab():
            raise InputError(f"there is no frame {start} in {path}: it holds {index}, counted from 0")

    def frames() -> Iterator[Frame]:
        index = start
        try:
            while capture.grab():
                label = f"frame {index} of {path.name}"
                there, image = capture.retrieve()
                if not there:
                    raise InputError(f"{label} is damaged")
                seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                yield Frame(index, cv2.cvtColor(image, cv2.COLOR_BGR2RGB), seconds, label)
                index += 1
        finally:
            capture.release()
        if index == start:
            raise InputError(f"there is no frame {start} in {path} that can be decoded")
        if announced - index > max(2, _COUNT_TOLERANCE * announced):
            raise InputError(f"{path} ends after frame {index - 1} although it announces {announced} frames: damaged")

    return FrameSource(str(path), _frame_rate(capture), max(announced - start, 0) or None, frames())


def _open_camera(number: int, start: int) -> FrameSource:
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise InputError(f"camera {number} cannot be opened")

    def frames() -> Iterator[Frame]:
        begin, index = time.monotonic(), 0
        try:
            while True:
                there, image = capture.read()
                if not there:
                    raise InputError(f"camera {number} stopped sending after {index} frames")
                if index >= start:
                    label = f"frame {index} of camera {number}"
                    yield Frame(index, cv2.cvtColor(image, cv2.COLOR_BGR2RGB), time.monotonic() - begin, label)
                index += 1
        finally:
            capture.release()

    return FrameSource(f"camera {number}", _frame_rate(capture), None, frames())


class OverlayWriter:
    """An mp4 of the frames with what the tracker found drawn over them; a context manager.

    The file plays once it is closed. Sides are made even, as the codec needs, by repeating the last row or column.
    """

    def __init__(self, path: PathLike, fps: float | None = None, *, views: bool = False):
        """views: draw where the network looked as well."""
        self._path, self._views = Path(path), views
        self._fps = fps or DEFAULT_FPS
        self._writer: cv2.VideoWriter | None = None

    def write(self, image: np.ndarray, result: FrameResult) -> None:
        """image: uint8 [H, W, 3] RGB, of one size. OSError, TrackerError: the file cannot be written."""
        drawn = cv2.cvtColor(draw_overlay(image, result, views=self._views), cv2.COLOR_RGB2BGR)
        rows, columns = drawn.shape[:2]
        drawn = cv2.copyMakeBorder(drawn, 0, rows % 2, 0, columns % 2, cv2.BORDER_REPLICATE)
        if self._writer is None:
            self._writer = self._open(drawn.shape[1], drawn.shape[0])
        self._writer.write(drawn)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()

    def __enter__(self) -> OverlayWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self, width: int, height: int) -> cv2.VideoWriter:
        self._path.open("wb").close()  # says why it cannot be written; OpenCV does not
        writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter_fourcc(*_CODEC), self._fps, (width, height))
        if not writer.isOpened():
            raise TrackerError(f"OpenCV cannot encode {self._path} ({_CODEC}, {width}x{height}, {self._fps:g} fps)")
        return writer


def draw_overlay(image: np.ndarray, result: FrameResult, *, views: bool = False) -> np.ndarray:
    """A copy of the image [H, W, 3] with every object tinted and outlined, its box, and its id and score.

    views: in white, the rectangles in which the network looked as well.
    """
    drawn = image.copy()
    inside = result.labels > 0
    drawn[inside] = drawn[inside] // 2 + _colours(result.labels[inside]) // 2
    thickness = max(1, round(min(image.shape[:2]) / 240))
    for x, y, w, h in set(result.views.values()) if views else ():
        cv2.rectangle(drawn, (x, y), (x + w - 1, y + h - 1), (255, 255, 255), thickness)
    for object_id, box in result.boxes.items():
        if box is not None:
            colour = _colours(np.array(object_id)).tolist()
            outlines, _ = cv2.findContours(
                result.masks[object_id].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(drawn, outlines, -1, colour, thickness)
            x, y, w, h = (round(side) for side in box)
            cv2.rectangle(drawn, (x, y), (x + w - 1, y + h - 1), colour, thickness)
            _draw_text(drawn, f"{object_id}: {result.scores[object_id]:.2f}", (x, y), thickness)
    return drawn


def _colours(object_ids: np.ndarray) -> np.ndarray:
    """uint8 [..., 3]: the hues of the masks' palette (which begins again after 255), as bright as they go."""
    colours = palette()[1 + (object_ids - 1) % 255].astype(int)
    return (colours * 255 // colours.max(axis=-1, keepdims=True)).astype(np.uint8)


def _draw_text(image: np.ndarray, text: str, corner: tuple[int, int], thickness: int) -> None:
    """White on black, with its lower left corner at `corner` where the image has room for it."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, max(0.3, min(image.shape[:2]) / 900)
    (width, height), base = cv2.getTextSize(text, font, scale, thickness)
    x = max(0, min(corner[0], image.shape[1] - width))
    y = max(height, corner[1] - base)
    cv2.rectangle(image, (x, y - height), (x + width, y + base), (0, 0, 0), cv2.FILLED)
    cv2.putText(image, text, (x, y), font, scale, (255, 255, 255), thickness, cv2.LINE_AA)


def _frame_rate(capture: cv2.VideoCapture) -> float | None:
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if math.isfinite(fps) and 0 < fps <= _MAX_FPS else None


def _natural_key(path: Path) -> list[str | int]:
    """frame2 before frame10."""
    parts = re.split("([0-9]+)", path.name.lower())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def _warn_of_gaps(paths: list[Path]) -> None:
    """Frames may be numbered in any even step; a larger step somewhere means that some are missing."""
    numbers = [re.findall("[0-9]+", path.stem)[-1:] for path in paths]
    if all(numbers) and len(paths) > 2:
        steps = np.diff([int(number) for (number,) in numbers])
        widest = int(steps.argmax())
        if 0 < steps.min() < steps[widest]:
            logger.warning("frames are missing between %s and %s", paths[widest], paths[widest + 1].name)


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
