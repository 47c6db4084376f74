"""The frames of an opened video, any of them at once, from disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..images import read_image, write_image
from ..types import InputError
from ..video import list_frames, open_source

MAX_FRAMES = 20_000
_MIN_FREE_BYTES = 1 << 30  # of the disk, which others write to as well

Progress = Callable[[int, int | None], None]  # frames done, and in all as far as known; what it raises ends the work


@dataclass(frozen=True)
class Frames:
    """Of a folder, its own files; of a video file, JPEGs made of it, since seeking in videos is inexact."""

    name: str
    paths: tuple[Path, ...]
    times: tuple[float | None, ...]  # seconds from the beginning
    fps: float | None
    size: tuple[int, int]  # height, width
    is_extracted: bool  # from a video file

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3] RGB. InputError: no such frame; damaged, gone or of another size than the first."""
        if not 0 <= index < len(self):
            raise InputError(f"there is no frame {index} in {self.name}: it holds {len(self)}, counted from 0")
        image = read_image(self.paths[index])
        if image.shape[:2] != self.size:
            raise InputError(f"frame {index} is {image.shape[:2]} (height, width), the first one {self.size}")
        return image


def open_frames(source: Path, folder: Path, progress: Progress) -> Frames:
    """The frames of a video file, written to `folder`, or of a folder of images, which are left where they are.

    InputError: neither; damaged; more than MAX_FRAMES frames; no room on the disk. A half-read video leaves its frames.
    """
    if source.is_dir():
        paths = tuple(list_frames(source))
        if len(paths) > MAX_FRAMES:
            raise InputError(f"{source.name} holds {len(paths):,} frames; the page takes {MAX_FRAMES:,}")
        return Frames(source.name, paths, (None,) * len(paths), None, read_image(paths[0]).shape[:2], False)
    if not source.is_file():
        raise InputError(f"{source.name} is neither a video file nor a folder of frames")
    return _extract(source, folder, progress)


def _extract(video: Path, folder: Path, progress: Progress) -> Frames:
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    times: list[float | None] = []
    with open_source(video) as source:
        for frame in source:
            if len(paths) == MAX_FRAMES:
                raise InputError(f"{video.name} has more than {MAX_FRAMES:,} frames, which the page does not take")
            if len(paths) % 50 == 0 and shutil.disk_usage(folder).free < _MIN_FREE_BYTES:
                raise InputError(f"the disk has no room for the frames of {video.name}")
            paths.append(folder / f"{frame.index:08d}.jpg")
            write_image(paths[-1], frame.image)
            times.append(frame.time)
            size = frame.image.shape[:2]
            progress(len(paths), source.length)
        return Frames(video.name, tuple(paths), tuple(times), source.fps, size, True)
