"""Boxes of a tracking dataset -> masks to train on.

    OUT/Annotations/<video>/<frame>.png   indexed, the object is 1; for frames whose mask passed
    OUT/JPEGImages/<video>/<frame>.jpg    links to the dataset's frames, for the same frames
    OUT/masks/<video>.csv                 what became of each frame, with the path of its image
    OUT/masks.json                        the settings

Nothing is held of a video but the current frame. A run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...files import whole_file
from ...geometry import clip_box, mask_to_box, rectangle_iou
from ...images import read_image, read_mask, write_mask
from ...types import Box, InputError, MaskEstimate
from ..contact_sheet import GREEN, RED, Sample
from ..mask_records import (
    KEPT,
    REJECTED,
    UNREADABLE,
    FrameRecord,
    RecordFile,
    VideoReport,
    read_records,
    read_report,
    records_path,
)
from .training_boxes import Video

logger = logging.getLogger(__name__)

Segmenter = Callable[[np.ndarray, Box], MaskEstimate]


@dataclass(frozen=True)
class MaskRules:
    """Which frames get a mask, and which masks are kept."""

    every: int = 1  # of the frames that have a box, every n-th, from the first
    min_iou: float = 0.7  # of the mask's rectangle with the box

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"every={self.every}: every n-th frame, n from 1")
        if not 0 <= self.min_iou <= 1:
            raise InputError(f"min_iou={self.min_iou:g} is no overlap between 0 and 1")


class Judged(NamedTuple):
    record: FrameRecord
    image: np.ndarray | None  # uint8 [H, W, 3]; None: it cannot be read
    mask: np.ndarray | None  # bool [H, W], whether kept or not; None: there is none


def make_masks(
    video: Video, segment: Segmenter, folder: Path, rules: MaskRules, *, on_frame: Callable[[], object] = lambda: None
) -> VideoReport:
    """Make the masks of one video, or those that an earlier run has left to do."""
    try:
        sequence = video.read()
    except InputError as error:
        return VideoReport(video.name, problem=str(error))
    masks, links = folder / "Annotations" / video.name, folder / "JPEGImages" / video.name
    linked = True
    with RecordFile(records_path(folder, video.name)) as records:
        for index in np.flatnonzero(sequence.visible)[:: rules.every]:
            frame = sequence.frames[index]
            if frame.stem in records.done:
                continue
            judged = judge_frame(frame, Box(*sequence.boxes[index].tolist()), segment, rules.min_iou)
            if judged.record.status == KEPT:
                _write_mask(masks / f"{frame.stem}.png", judged.mask)
                linked = _link(frame, links / frame.name) and linked
            records.append(judged.record)
            on_frame()
    if not linked:
        logger.warning(
            "no links can be made in %s; the frames' paths are in %s", links, records_path(folder, video.name)
        )
    return read_report(folder, video.name)


def judge_frame(path: Path, box: Box, segment: Segmenter, min_iou: float) -> Judged:
    """The mask of a box on an image file, and whether it is fit to train on."""

    def record(status: str, **more: Any) -> FrameRecord:
        return FrameRecord(path.stem, str(path.absolute()), *box, status, **more)

    try:
        image = read_image(path)
    except InputError as error:
        return Judged(record(UNREADABLE, reason=_one_line(error)), None, None)
    try:
        inside = clip_box(box, *image.shape[:2])
    except InputError as error:
        return Judged(record(REJECTED, reason=_one_line(error)), image, None)
    estimate = segment(image, inside)
    iou = rectangle_iou(mask_to_box(estimate.mask), inside)
    reason = ""
    if "fallback" in estimate.details:  # a stand-in made from the box fits the box
        reason = f"no mask found: {_one_line(estimate.details['fallback'])}"
    elif iou < min_iou:
        reason = f"rectangle's IoU with the box below {min_iou:g}"
    judged = record(REJECTED if reason else KEPT, iou=round(iou, 4), source=estimate.source, reason=reason)
    return Judged(judged, image, estimate.mask)


def contact_samples(folder: Path, count: int, segment: Segmenter, seed: int = 0) -> Iterator[Sample]:
    """Frames of many finished videos, the same for the same seed: up to half of them rejected ones, which come last.

    segment: what the masks are from, since rejected ones are not on disk.
    """
    rng = random.Random(seed)
    paths = sorted((folder / "masks").glob("*.csv"))
    rng.shuffle(paths)
    each = -(-count // max(len(paths), 1))
    found: dict[str, list[tuple[int, str, FrameRecord]]] = {KEPT: [], REJECTED: []}
    for path in paths:
        if min(map(len, found.values())) >= count:
            break
        records = list(read_records(path))
        for status, chosen in found.items():
            candidates = [record for record in records if record.status == status]
            sample = rng.sample(candidates, min(each, len(candidates)))
            chosen += [(turn, path.stem, record) for turn, record in enumerate(sample)]
    for chosen in found.values():
        chosen.sort(key=lambda choice: choice[0])  # one of every video, then another
    rejected = found[REJECTED][: max(count // 2, count - len(found[KEPT]))]
    kept = found[KEPT][: count - len(rejected)]
    for _, video, record in sorted(kept, key=lambda choice: choice[1:]):
        mask = read_mask(folder / "Annotations" / video / f"{record.frame}.png") == 1
        yield _sample(video, Judged(record, read_image(record.image), mask))
    for _, video, record in sorted(rejected, key=lambda choice: choice[1:]):
        _, image, mask = judge_frame(Path(record.image), Box(*record[2:6]), segment, 0.0)
        if image is not None:
            yield _sample(video, Judged(record, image, mask))


def _sample(video: str, judged: Judged) -> Sample:
    record = judged.record
    what = [record.status, *([f"IoU {record.iou:.2f}"] if record.iou is not None else []), record.source]
    if record.status == REJECTED and (record.iou is None or record.reason.startswith("no mask")):
        what = [record.status, record.reason]
    box = None if judged.mask is None else Box(*record[2:6])
    colour = GREEN if record.status == KEPT else RED
    return Sample(judged.image, judged.mask, box, ("  ".join(what), f"{video}  {record.frame}"), colour)


def _write_mask(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        write_mask(partial, mask)


def _link(frame: Path, link: Path) -> bool:
    """A symbolic link, or a hard one where those need rights, as on Windows; False where neither can be had."""
    link.parent.mkdir(parents=True, exist_ok=True)
    for make in (os.symlink, os.link):
        try:
            make(frame.absolute(), link)
            return True
        except FileExistsError:  # of a run that was cut off here
            return True
        except OSError:
            continue
    return False


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
