"""Frames from a video file, a folder or a camera, one at a time."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from .images import IMAGE_SUFFIXES, PathLike, read_image
from .types import InputError
from .video_file import MAX_FPS, VideoFile
from .words import counted

# Only to name them where images are looked for: what is a video, FFmpeg says.
_VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".ts", ".mpg", ".mpeg", ".wmv", ".flv"})
logger = logging.getLogger(__name__)


class Frame(NamedTuple):
    index: int  # from 0, in the source
    image: np.ndarray  # uint8 [H, W, 3] RGB
    time: float | None  # seconds from the source's beginning; None in a folder
    label: str  # for messages
    file: str | None = None  # name of the image's file; None of a video or a camera


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
        videos = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _VIDEO_SUFFIXES)
        hint = f"; it holds {counted(len(videos), 'video')}, give one: {', '.join(videos[:5])}" if videos else ""
        raise InputError(f"folder {folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}){hint}")
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
            yield Frame(index, image, None, f"frame {index} ({path.name})", path.name)

    return FrameSource(str(folder), None, len(paths) - start, frames())


def _open_video(path: Path, start: int) -> FrameSource:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise InputError(f"{path} is a single image; give a video, or the folder that holds the frames")
    video = VideoFile(path)
    if video.skip(start) < start:
        video.close()
        raise InputError(f"there is no frame {start} in {path}: it holds {video.count}, counted from 0")

    def frames() -> Iterator[Frame]:
        index = start
        with video:
            for index, (image, seconds) in enumerate(video, start):
                yield Frame(index, image, seconds, f"frame {index} of {path.name}")
        if video.count == start:
            raise InputError(f"there is no frame {start} in {path} that can be decoded")

    length = None if video.length is None else max(video.length - start, 0) or None
    return FrameSource(str(path), video.fps, length, frames())


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

    fps = capture.get(cv2.CAP_PROP_FPS)
    return FrameSource(f"camera {number}", fps if 0 < fps <= MAX_FPS else None, None, frames())


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
