"""Frames from a video file, images, a stream or a camera, one at a time, forward or backward."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from .images import IMAGE_SUFFIXES, PathLike, read_image
from .types import InputError
from .video_file import MAX_FPS, VideoFile
from .words import counted

# Only to name them where images are looked for: what is a video, FFmpeg says.
VIDEO_SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".ts", ".mpg", ".mpeg", ".wmv", ".flv"})
_BACKWARD_BYTES = 1 << 28  # of frames that are held while a file is read backward
Source = PathLike | int
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


def open_source(source: Source, start: int = 0, *, end: int | None = None, stride: int = 1) -> FrameSource:
    """The frames start, start + stride, … before `end` of a source.

    source: a video file; a folder of images, a pattern of their names (`*.jpg`, in natural order; `%05d.jpg`, by their
            numbers); the address of a stream (`rtsp://…`, `http://…`); or the number of a camera, 0 or "0".

    Videos are turned upright as their metadata say. InputError: not there, not a video, no frames, nothing at `start`.
    """
    _check_range(start, end, stride)
    kind, found = _find(source)
    if kind == "images":
        return _open_images(str(source), found, range(len(found))[start:end:stride], start)
    if kind == "camera":
        return _open_camera(found, start, end, stride)
    return _open_video(VideoFile(found), found, start, end, stride)


def open_backward(source: Source, start: int, *, end: int | None = None, stride: int = 1) -> FrameSource:
    """The frames start, start - stride, … above `end` (default: to the first) of a video file or of images.

    Of a file as many frames are decoded at once as 256 MiB hold, each time from its beginning, since seeking is
    inexact in many files. InputError: as `open_source`; a stream or a camera, which have no way back.
    """
    _check_range(start, None, stride)
    kind, found = _find(source)
    indices = range(start, -1 if end is None else end, -stride)
    if not indices:
        raise InputError(f"going backward from frame {start} there is nothing above frame {end}")
    if kind == "images":
        return _open_images(str(source), found, indices, start)
    if kind == "video":
        return _open_video_backward(found, indices)
    raise InputError(f"{source} cannot be tracked backward: that takes a video file, a folder or a pattern of images")


def _check_range(start: int, end: int | None, stride: int) -> None:
    if start < 0:
        raise InputError(f"start frame {start} is negative; frames count from 0")
    if stride < 1:
        raise InputError(f"stride {stride}: every first, second, … frame is a number from 1")
    if end is not None and end <= start:
        raise InputError(f"there is nothing between frame {start} and frame {end}, at which to stop")


def _find(source: Source) -> tuple[str, Any]:
    """What a source is, and where: "images" and their paths, "video" and its path, "stream" or "camera". InputError."""
    path, text = Path(source) if not isinstance(source, int) else None, str(source)
    if isinstance(source, int) or (not path.exists() and re.fullmatch("[0-9]+", text)):
        return "camera", int(text)
    if path.is_dir():
        return "images", list_frames(path)
    if path.is_file():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise InputError(f"{path} is a single image; give a video, or the folder that holds the frames")
        return "video", path
    if re.match("[a-z][a-z0-9+]+://", text):
        return "stream", text
    if re.search(r"[*?\[]|%0?\d*d", path.name):
        return "images", list_pattern(path)
    raise InputError(
        f"source {source} is neither a file, nor a folder, a pattern of images, an address or the number of a camera"
    )


def list_frames(folder: Path) -> list[Path]:
    """The images of a folder in natural order of their names; InputError when there are none."""
    # Not `is_file`: a link to a frame that is gone must be noticed, not skipped.
    paths = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.is_dir()]
    paths = sorted((p for p in paths if not p.name.startswith(".")), key=_natural_key)
    if not paths:
        videos = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
        hint = f"; it holds {counted(len(videos), 'video')}, give one: {', '.join(videos[:5])}" if videos else ""
        raise InputError(f"folder {folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}){hint}")
    return paths


def list_pattern(pattern: Path) -> list[Path]:
    """The images that a pattern names: `*.jpg` in natural order, `%05d.jpg` by their numbers. InputError: none."""
    if (number := re.search(r"%0?(\d*)d", pattern.name)) is not None:
        before, after = (re.escape(part) for part in (pattern.name[: number.start()], pattern.name[number.end() :]))
        name = re.compile(f"{before}([0-9]{{{number[1] or 1},}}){after}")
        numbered = [(match, p) for p in _siblings(pattern) if (match := name.fullmatch(p.name))]
        paths = [p for _, p in sorted(numbered, key=lambda pair: int(pair[0][1]))]
    else:
        paths = sorted((p for p in _siblings(pattern) if fnmatch(p.name, pattern.name)), key=_natural_key)
    if not paths:
        raise InputError(f"no image is called {pattern}")
    return paths


def _siblings(pattern: Path) -> list[Path]:
    folder = pattern.parent
    if not folder.is_dir():
        raise InputError(f"folder {folder} of {pattern} does not exist")
    return [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.is_dir()]


def _open_images(name: str, paths: list[Path], indices: range, start: int) -> FrameSource:
    if start >= len(paths):
        raise InputError(f"there is no frame {start} in {name}: it holds {len(paths)}, counted from 0")
    _warn_of_gaps(paths)

    def frames() -> Iterator[Frame]:
        for index in indices:
            path = paths[index]
            try:
                image = read_image(path)
            except InputError as error:
                raise InputError(f"frame {index}: {error}") from error
            yield Frame(index, image, None, f"frame {index} ({path.name})", path.name)

    return FrameSource(name, None, len(indices), frames())


def _open_video(video: VideoFile, where: PathLike, start: int, end: int | None, stride: int) -> FrameSource:
    if video.skip(start) < start:
        video.close()
        raise InputError(f"there is no frame {start} in {where}: it holds {video.count}, counted from 0")
    short = Path(where).name

    def frames() -> Iterator[Frame]:
        index = start
        with video:
            while end is None or index < end:
                if (shown := next(iter(video), None)) is None:
                    break
                yield Frame(index, *shown, f"frame {index} of {short}")
                video.skip(stride - 1)
                index += stride
        if video.count == start:
            raise InputError(f"there is no frame {start} in {where} that can be decoded")

    length = video.length if end is None or video.length is None else min(video.length, end)
    return FrameSource(str(where), video.fps, length and (len(range(start, length, stride)) or None), frames())


def _open_video_backward(path: Path, indices: range) -> FrameSource:
    with VideoFile(path) as first:
        fps, at_once = first.fps, max(1, _BACKWARD_BYTES // max(first.frame_bytes, 1))

    def frames() -> Iterator[Frame]:
        for chunk in (indices[at : at + at_once] for at in range(0, len(indices), at_once)):
            with _open_video(VideoFile(path), path, chunk[-1], chunk[0] + 1, -indices.step) as source:
                kept = list(source)
            if len(kept) < len(chunk):
                last = kept[-1].index if kept else chunk[-1]
                raise InputError(f"there is no frame {chunk[0]} in {path}: the last to be decoded is frame {last}")
            yield from reversed(kept)

    return FrameSource(str(path), fps, len(indices), frames())


def _open_camera(number: int, start: int, end: int | None, stride: int) -> FrameSource:
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise InputError(f"camera {number} cannot be opened")

    def frames() -> Iterator[Frame]:
        begin, index = time.monotonic(), 0
        try:
            while end is None or index < end:
                there, image = capture.read()
                if not there:
                    raise InputError(f"camera {number} stopped sending after {index} frames")
                if index >= start and (index - start) % stride == 0:
                    label = f"frame {index} of camera {number}"
                    yield Frame(index, cv2.cvtColor(image, cv2.COLOR_BGR2RGB), time.monotonic() - begin, label)
                index += 1
        finally:
            capture.release()

    fps = capture.get(cv2.CAP_PROP_FPS)
    length = None if end is None else len(range(start, end, stride))
    return FrameSource(f"camera {number}", fps if 0 < fps <= MAX_FPS else None, length, frames())


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
