"""Looking a dataset through before days of training depend on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from ..images import read_image
from ..types import InputError
from .masked_videos import MaskedFrame, VideoSet, object_ids
from .mixing import MixConfig

MISSING = "missing frames"
UNREADABLE = "unreadable files"
SIZE = "masks of another size"
FRAME_SIZES = "videos whose frames are of different sizes"
EMPTY = "without any object"
SHORT = "videos of fewer than two frames"
CROWDED = f"with more than {MixConfig.max_objects} objects"
NOTES = frozenset({CROWDED})  # no fault: some are drawn by chance


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

    @property
    def is_sound(self) -> bool:
        return not self.faults.keys() - NOTES


def check_videos(
    videos: VideoSet, names: Iterable[str], *, on_video: Callable[[], object] = lambda: None
) -> DatasetReport:
    """Read every frame and every mask of these videos."""
    report = DatasetReport()
    for name in names:
        _check_video(videos, name, report)
        on_video()
    return report


def _check_video(videos: VideoSet, name: str, report: DatasetReport) -> None:
    report.videos += 1
    try:
        frames = videos.frames(name)
    except InputError as error:
        report.add(UNREADABLE, f"{name}: {error}")
        return
    if len(frames) < 2 and not videos.stills:
        report.add(SHORT, f"{name}: {len(frames)}")
    sizes: Counter[tuple[int, int]] = Counter()
    maps, unreadable = [], False
    for frame in frames:
        report.frames += 1
        labels = _check_frame(frame, name, sizes, report)
        if labels is None:
            unreadable = True
            continue
        report.empty_frames += not labels.any()
        maps.append(np.unique(labels))  # object_ids needs no more than the values
    if len(sizes) > 1:
        report.add(FRAME_SIZES, f"{name}: " + ", ".join(f"{n} of {w}x{h}" for (h, w), n in sizes.most_common()))
    ids = object_ids(maps) if maps else []
    report.objects += len(ids)
    if frames and not ids and not unreadable:
        report.add(EMPTY, name)
    if len(ids) > MixConfig.max_objects:
        report.add(CROWDED, f"{name}: {len(ids)}")


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
