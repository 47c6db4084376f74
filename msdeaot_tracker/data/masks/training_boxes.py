"""Videos with one box per frame to make masks from, for training: which there are, and each read when its turn comes.

Frames are taken by number, so that one which is missing costs itself and not its video.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...types import InputError
from ..datasets.box_files import read_boxes, read_flags, read_integers, read_names
from ..datasets.box_types import BoxSequence
from ..datasets.egotracks import EgoTrack, read_egotracks, read_track


class Video(NamedTuple):
    """read: gives the frames' paths and boxes; InputError, naming the file, when they cannot be had. Can be pickled."""

    name: str
    read: Callable[[], BoxSequence]


def list_videos(layout: str, folder: Path) -> list[Video]:
    """The videos of a dataset by name, for training. InputError: no such layout, nothing of it in the folder."""
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}; there are: {', '.join(LAYOUTS)}")
    videos = sorted(LAYOUTS[layout](folder), key=lambda video: video.name)
    for video, following in pairwise(videos):
        if video.name == following.name:
            raise InputError(f"{folder} holds two videos of the name {video.name}")
    return videos


def choose_videos(videos: Sequence[Video], *, sample: int | None, seed: int, shard: tuple[int, int]) -> list[Video]:
    """A random sample of the videos, the same for the same seed, and of that every n-th from the i-th: shard (i, n).

    InputError: i is not from 1 to n, fewer videos than the sample needs.
    """
    index, shards = shard
    if not 1 <= index <= shards:
        raise InputError(f"shard {index}/{shards}: i/n with i from 1 to n")
    if sample is not None:
        if not 1 <= sample <= len(videos):
            raise InputError(f"a sample of {sample} videos: there are {len(videos)}")
        order = {video.name: position for position, video in enumerate(videos)}
        videos = sorted(random.Random(seed).sample(videos, sample), key=lambda video: order[video.name])
    return list(videos[index - 1 :: shards])


def _list_lasot(folder: Path) -> list[Video]:
    """`<class>/<sequence>` or `<sequence>`, each `img/00000001.jpg`..., `groundtruth.txt` and two files of flags.

    Those of `training_set.txt` if it is there, else all that are not in `testing_set.txt`.
    """
    training, testing = (folder / f"{split}_set.txt" for split in ("training", "testing"))
    if training.is_file():
        names = read_names(training)
        folders = [f if (f := folder / name).is_dir() else folder / name.rsplit("-", 1)[0] / name for name in names]
    else:
        excluded = set(read_names(testing)) if testing.is_file() else set()
        nested = [*folder.glob("*/groundtruth.txt"), *folder.glob("*/*/groundtruth.txt")]
        folders = [path.parent for path in nested if path.parent.name not in excluded]
    if not folders:
        raise InputError(f"{folder} has no <class>/<sequence>/groundtruth.txt to train on: is it the folder of LaSOT?")
    return [Video(path.name, partial(_read_lasot, path)) for path in folders]


def _read_lasot(folder: Path) -> BoxSequence:
    boxes = read_boxes(folder / "groundtruth.txt")
    for name in ("full_occlusion.txt", "out_of_view.txt"):
        if (folder / name).is_file():
            _hide(boxes, read_flags(folder / name), folder / name)
    return BoxSequence(folder.name, _numbered_frames(folder / "img", len(boxes)), boxes)


def _list_got10k(folder: Path) -> list[Video]:
    """`<sequence>/{00000001.jpg..., groundtruth.txt, absence.label, cover.label}` of the training split.

    `folder` is the split, with or without its `list.txt`, or what holds `train/`.
    """
    split = folder / "train" if (folder / "train").is_dir() else folder
    listed = split / "list.txt"
    if listed.is_file():
        folders = [split / name for name in read_names(listed)]
    else:
        folders = [path.parent for path in split.glob("*/groundtruth.txt")]
    if not folders:
        raise InputError(f"{split} has no <sequence>/groundtruth.txt: is it the training split of GOT-10k?")
    return [Video(path.name, partial(_read_got10k, path)) for path in folders]


def _read_got10k(folder: Path) -> BoxSequence:
    """cover.label: eighths of the object to be seen, 0 to 8 (GOT-10k paper, section 3.1)."""
    boxes = read_boxes(folder / "groundtruth.txt")
    absence, cover = folder / "absence.label", folder / "cover.label"
    if absence.is_file():
        _hide(boxes, read_flags(absence), absence)
    if cover.is_file():
        _hide(boxes, read_integers(cover, 1, "a cover is one number")[:, 0] == 0, cover)
    return BoxSequence(folder.name, _numbered_frames(folder, len(boxes)), boxes)


def _list_egotracks(path: Path) -> list[Video]:
    return [_egotracks_video(track) for track in read_egotracks(path)]


def _egotracks_video(track: EgoTrack) -> Video:
    return Video(track.name, partial(read_track, track))


def _numbered_frames(folder: Path, count: int) -> tuple[Path, ...]:
    """As LaSOT and GOT-10k number them."""
    return tuple(folder / f"{number:08d}.jpg" for number in range(1, count + 1))


def _hide(boxes: np.ndarray, hidden: np.ndarray, path: Path) -> None:
    """Make NaN of the boxes [N, 4] where `hidden` [N], which is from that file."""
    if len(hidden) != len(boxes):
        raise InputError(f"{path}: {len(hidden)} flags for {len(boxes)} boxes")
    boxes[hidden] = np.nan


LAYOUTS: dict[str, Callable[[Path], list[Video]]] = {
    "lasot": _list_lasot,
    "got10k": _list_got10k,
    "egotracks": _list_egotracks,
}
