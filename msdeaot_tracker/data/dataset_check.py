"""Looking a dataset through before days of training depend on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ..images import read_image, read_mask_and_notes
from ..mask_files import ALPHA, INVERTED, PALETTE, SOFT
from ..types import InputError
from .datasets.masked_videos import MaskedFrame, VideoSet, object_ids
from .mixing import MixConfig

MISSING = "missing frames"
UNREADABLE = "unreadable files"
SIZE = "masks of another size"
FRAME_SIZES = "videos whose frames are of different sizes"
EMPTY = "without any object"
SHORT = "videos of fewer than two frames"
CROWDED = f"with more than {MixConfig.max_objects} objects"
MASK_NOTES = {
    SOFT: "with soft edges, which are cut at half white",
    ALPHA: "with masks that are read by their alpha channel",
    PALETTE: "with adaptive palettes, which are read by colour",
}
SUSPECT = "with masks that look inverted: an object on the whole border and most of the frame"
# What is no fault, and why.
NOTES = {CROWDED: "some are drawn by chance", **dict.fromkeys(MASK_NOTES.values(), "they are read as they are meant")}


@dataclass
class DatasetReport:
    """faults: kind -> what it is about, one text for each. NOTES among the kinds are no faults."""

    videos: int = 0
    frames: int = 0
    objects: int = 0  # summed over the videos
    empty_frames: int = 0
    faults: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, text: str) -> None:
        self.faults.setdefault(kind, []).append(text)

    def include(self, other: DatasetReport) -> None:
        self.videos += other.videos
        self.frames += other.frames
        self.objects += other.objects
        self.empty_frames += other.empty_frames
        for kind, texts in other.faults.items():
            self.faults.setdefault(kind, []).extend(texts)

    @property
    def is_sound(self) -> bool:
        return not self.faults.keys() - NOTES.keys()


def check_videos(
    videos: VideoSet, names: Sequence[str], *, threads: int = 1, on_video: Callable[[], object] = lambda: None
) -> DatasetReport:
    """Read every frame and every mask of these videos. InputError: threads < 1."""
    if threads < 1:
        raise InputError(f"{threads} threads: at least one")
    report = DatasetReport()
    pool = ThreadPoolExecutor(threads)  # most of the time is spent waiting for files and decoding pictures
    try:
        for one in pool.map(partial(_check_video, videos), names):
            report.include(one)
            on_video()
    finally:
        pool.shutdown(cancel_futures=True)
    return report


def _check_video(videos: VideoSet, name: str) -> DatasetReport:
    report = DatasetReport(videos=1)
    try:
        frames = videos.frames(name)
    except InputError as error:
        report.add(UNREADABLE, f"{name}: {error}")
        return report
    if len(frames) < 2 and not videos.stills:
        report.add(SHORT, f"{name}: {len(frames)}")
    sizes: Counter[tuple[int, int]] = Counter()
    notes: dict[str, list[str]] = {}  # of the masks: the files by what is said of them
    found, unreadable = [], False  # values in the masks
    for frame in frames:
        report.frames += 1
        labels = _check_frame(frame, name, sizes, report)
        if labels is None:
            unreadable = True
            continue
        for note in read_mask_and_notes(frame.mask).notes if frame.mask else ():
            notes.setdefault(note, []).append(str(frame.mask))
        found.append(np.flatnonzero(np.bincount(labels.ravel())))
        report.empty_frames += not found[-1].any()
    if len(sizes) > 1:
        report.add(FRAME_SIZES, f"{name}: " + ", ".join(f"{n} of {w}x{h}" for (h, w), n in sizes.most_common()))
    for note, files in notes.items():
        kind = SUSPECT if note == INVERTED else MASK_NOTES[note]
        report.add(kind, f"{name}: {len(files)} of {len(frames)}, as {files[0]}")
    ids = object_ids(found) if found else []
    report.objects = len(ids)
    if videos.masked and frames and not ids and not unreadable:
        report.add(EMPTY, name)
    if len(ids) > MixConfig.max_objects:
        report.add(CROWDED, f"{name}: {len(ids)}")
    return report


def _check_frame(
    frame: MaskedFrame, video: str, sizes: Counter[tuple[int, int]], report: DatasetReport
) -> np.ndarray | None:
    """The labels of a frame that can be used."""
    if not frame.image.is_file():
        report.add(MISSING, f"{video}: {frame.image}")
        return None
    try:
        height, width = read_image(frame.image).shape[:2]
        labels = frame.read_labels()
    except InputError as error:
        report.add(UNREADABLE, f"{video}: {error}")
        return None
    sizes[height, width] += 1
    if labels.shape != (height, width):
        rows, columns = labels.shape
        report.add(SIZE, f"{video}: {frame.image} is {width}x{height}, its mask {columns}x{rows}")
        return None
    return labels
