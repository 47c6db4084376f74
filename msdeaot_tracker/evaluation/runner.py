"""One pass of a tracker over a sequence, scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from ..geometry import box_to_mask, mask_iou, mask_to_box
from ..pipeline import read_ahead
from ..types import Box, FrameResult
from .metrics import Returns, box_iou, one_pass_ious, returns, success_score

Init = Literal["mask", "box"]
ABSENT = (np.nan,) * 4
FOUND_WITHIN = 30  # frames after an object has come back
STAYED = 10  # frames; an object that comes back for fewer can hardly be found
_FOUND = 0.3  # overlap of the boxes from which on it counts as found
GOOD = 0.5  # overlap of the masks above which a frame counts as well tracked


class VideoTracker(Protocol):
    """All that an evaluation sees of a tracker."""

    def initialize(self, image: np.ndarray, targets: Mapping[int, Box | np.ndarray]) -> FrameResult: ...

    def track(self, image: np.ndarray) -> FrameResult: ...


class TruthSequence(Protocol):
    """All that a pass sees of a sequence: `data.datasets.mask_sequences.Sequence` says what each is."""

    @property
    def name(self) -> str: ...

    def __len__(self) -> int: ...

    def image(self, index: int) -> np.ndarray: ...

    def masks(self, index: int) -> dict[int, np.ndarray] | None: ...


class StaticTracker:
    """Says on every frame what it was told on the first: the baseline that sees nothing."""

    def initialize(self, image: np.ndarray, targets: Mapping[int, Box | np.ndarray]) -> FrameResult:
        labels = np.zeros(image.shape[:2], np.int32)
        boxes: dict[int, Box | None] = {}
        for object_id, target in targets.items():
            given_mask = isinstance(target, np.ndarray)
            boxes[object_id] = mask_to_box(target) if given_mask else Box(*target)  # a box stays as it is, unrounded
            labels[target if given_mask else box_to_mask(target, *labels.shape)] = object_id
        self._result = FrameResult(0, labels, boxes, dict.fromkeys(boxes, 1.0))
        return self._result

    def track(self, image: np.ndarray) -> FrameResult:
        return self._result


@dataclass(frozen=True)
class ObjectScore:
    success: float  # area under the success curve of the boxes, metrics.one_pass_ious
    jaccard: float  # mean J of the masks; as in DAVIS, the first frame (given) and the last are left out
    returns: Returns = Returns()  # found: within FOUND_WITHIN frames
    good: tuple[float, ...] = ()  # the tracker's scores on frames after the first whose masks overlap by more than GOOD
    poor: tuple[float, ...] = ()  # and on the others, those without the object among them


@dataclass(frozen=True)
class SequenceScore:
    name: str
    frames: int
    objects: Mapping[int, ObjectScore]
    seconds_per_frame: float  # inside the tracker, first frame included


def run_sequence(
    tracker: VideoTracker, sequence: TruthSequence, init: Init, *, progress: Callable[[], object] = lambda: None
) -> SequenceScore:
    """Start the tracker from the first frame's masks, or from their boxes, and follow it to the end.

    Frames whose truth is not known are tracked, and not scored. `progress` is called after each frame.
    """
    given = sequence.masks(0)
    targets = given if init == "mask" else {object_id: mask_to_box(mask) for object_id, mask in given.items()}
    predicted: dict[int, list[Box]] = {object_id: [] for object_id in given}
    truth: dict[int, list[Box]] = {object_id: [] for object_id in given}
    overlaps: dict[int, dict[int, float]] = {object_id: {} for object_id in given}  # by frame
    said: dict[int, list[tuple[float, bool]]] = {object_id: [] for object_id in given}  # score, well tracked
    seconds = 0.0
    with read_ahead((sequence.image(index), sequence.masks(index)) for index in range(len(sequence))) as frames:
        for index, (image, masks) in enumerate(frames):
            start = time.perf_counter()
            result = tracker.track(image) if index else tracker.initialize(image, targets)
            seconds += time.perf_counter() - start
            for object_id, mask in ({} if masks is None else masks).items():
                predicted[object_id].append(result.boxes[object_id] or ABSENT)
                truth[object_id].append(mask_to_box(mask) or ABSENT)
                overlaps[object_id][index] = mask_iou(result.masks[object_id], mask)
                good = bool(mask.any()) and overlaps[object_id][index] > GOOD
                said[object_id].append((result.scores[object_id], good))
            progress()
    inner = range(1, len(sequence) - 1)
    scores = {
        object_id: _score(np.array(predicted[object_id]), np.array(truth[object_id]), of, inner, said[object_id][1:])
        for object_id, of in overlaps.items()
    }
    return SequenceScore(sequence.name, len(sequence), scores, seconds / len(sequence))


def _score(
    predicted: np.ndarray,
    truth: np.ndarray,
    overlaps: Mapping[int, float],
    inner: range,
    said: Sequence[tuple[float, bool]],
) -> ObjectScore:
    """Boxes [N, 4] on the frames with truth, NaN where there is none; the overlaps of the masks, by frame.

    inner: the frames that J is a mean over, where they have truth. said: scores, and whether the frame is a GOOD one.
    """
    visible = ~np.isnan(truth).any(axis=1)
    back = returns(box_iou(predicted, truth), visible, within=FOUND_WITHIN, stay=STAYED, overlap=_FOUND)
    return ObjectScore(
        success_score(one_pass_ious(predicted, truth)),
        float(np.mean([overlaps[index] for index in overlaps if index in inner] or [*overlaps.values()])),
        back,
        tuple(score for score, good in said if good),
        tuple(score for score, good in said if not good),
    )
