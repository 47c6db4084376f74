"""What training reads, whichever dataset it is from: videos with masks on some of their frames.

A still with masks is a video of one frame. Of a video only its name is held; its frames are listed when its turn comes.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...images import IMAGE_SUFFIXES, VOID, read_image, read_mask
from ...types import InputError


class MaskedFrame(NamedTuple):
    """read_labels: object ids int32 [H, W] below 65536, 0 = background, 255 = VOID; InputError, naming the file."""

    image: Path
    read_labels: Callable[[], np.ndarray]
    mask: Path | None = None  # the file of the labels, if it is an image of their own


@dataclass(frozen=True)
class VideoSet:
    """The videos of one dataset.

    frames: of a video by its name, those with a mask, in time; InputError, naming the folder or file, when they cannot
        be listed. A frame that is missing is an error when it is read. Can be pickled.
    stills: each is a picture of its own.
    masked: False: pictures alone, to put objects on.
    """

    name: str
    names: Sequence[str]
    frames: Callable[[str], list[MaskedFrame]]
    stills: bool = False
    masked: bool = True

    def __post_init__(self) -> None:
        if not self.names:
            raise InputError(f"{self.name}: there are no {'pictures' if self.stills else 'videos'} to train on")


def read_frame(frame: MaskedFrame) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [H, W, 3] RGB and int32 [H, W] object ids. InputError: missing, damaged, of different sizes."""
    image, labels = read_image(frame.image), frame.read_labels()
    if image.shape[:2] != labels.shape:
        (rows, columns), (height, width) = labels.shape, image.shape[:2]
        raise InputError(f"{frame.image} has {width}x{height} pixels, its mask {columns}x{rows}")
    return image, labels


def object_ids(labels: Sequence[np.ndarray]) -> list[int]:
    """The objects of some label maps together; 255 beside other ids is void, alone it is the object."""
    top = 1 + max(int(each.max()) for each in labels)
    counts = sum(np.bincount(each.ravel(), minlength=top) for each in labels)
    ids = [int(i) for i in np.flatnonzero(counts) if i]
    return ids if ids == [VOID] else [i for i in ids if i != VOID]


def paired_frames(
    images: Path, masks: Path, read: Callable[[Path], np.ndarray] = read_mask, suffix: str = ".png"
) -> list[MaskedFrame]:
    """A frame for every mask in its folder, with the image of the same stem. InputError: no such folders."""
    found = {Path(name).stem: name for name in folder_names(images) if Path(name).suffix.lower() in IMAGE_SUFFIXES}
    stems = [name[: -len(suffix)] for name in folder_names(masks) if name.endswith(suffix)]
    # Numbers are of one width, or without zeros before them: by length first is by number.
    stems.sort(key=lambda stem: (len(stem), stem))
    files = [(images / found.get(stem, f"{stem}.jpg"), masks / f"{stem}{suffix}") for stem in stems]
    return [MaskedFrame(image, partial(read, mask), mask) for image, mask in files]


def folder_names(folder: Path) -> list[str]:
    """What is in a folder, sorted, hidden files left out. InputError: there is no such folder."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"there is no folder {folder}") from None
    except OSError as error:
        raise InputError(f"folder {folder} cannot be read: {error}") from error


def existing_folder(*candidates: Path) -> Path:
    """The first that is there. InputError, naming the first: none is."""
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise InputError(f"there is no folder {candidates[0]}: is the dataset complete, and this its folder?")


_HELD_OUT = 10  # one of so many stills
_SEEN = 0.8  # of a video's frames


def hold_out(videos: VideoSet) -> VideoSet:
    """What of a set is trained on: nine tenths of its stills, always the same, or all but the end of each video."""
    if videos.stills:
        return replace(videos, names=[name for name in videos.names if not _is_held_out(name)])
    return replace(videos, frames=partial(_first_frames, videos.frames))


def held_out(videos: VideoSet) -> VideoSet:
    """What `hold_out` leaves out."""
    if videos.stills:
        return replace(videos, names=[name for name in videos.names if _is_held_out(name)])
    return replace(videos, frames=partial(_last_frames, videos.frames))


def _is_held_out(name: str) -> bool:
    return zlib.crc32(name.encode()) % _HELD_OUT == 0


def _first_frames(frames: Callable[[str], list[MaskedFrame]], name: str) -> list[MaskedFrame]:
    found = frames(name)
    return found[: round(_SEEN * len(found))]


def _last_frames(frames: Callable[[str], list[MaskedFrame]], name: str) -> list[MaskedFrame]:
    found = frames(name)
    return found[round(_SEEN * len(found)) :]
