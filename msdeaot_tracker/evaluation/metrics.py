"""Measures of one run's boxes: pure functions of arrays.

Boxes are (x, y, w, h) in pixels; a row of NaN is an absent object. `ious` and `errors` have one value for every frame
on which the truth shows the object, in the order of the run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

THRESHOLDS = np.linspace(0, 1, 21)  # of overlap, in a success plot (OTB; TREK-150 toolkit, ExperimentTREK150)
ERROR_THRESHOLDS = np.linspace(0, 0.5, 51)  # of normalized centre error (ExperimentTREK150)
ROBUSTNESS_THRESHOLDS = np.linspace(0, 0.5, 51)  # of overlap (ExperimentTREK150)
PIXEL_THRESHOLDS = np.arange(51.0)  # of centre error (LaSOT evaluation toolkit, eval_tracker.m)


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union, row by row, of boxes [N, 4] -> float64 [N] in [0, 1]; 0 where one is absent.

    To the last bit as the TREK-150 toolkit has it (utils/metrics.py), for overlaps that lie on a threshold.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    corner = np.maximum(a[:, :2], b[:, :2])
    sides = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:]) - corner
    shared = np.nan_to_num(sides).clip(min=0).prod(axis=1)
    union = a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - shared
    ious = np.divide(shared, union + np.finfo(float).eps, out=np.zeros(len(a)), where=union > 0)
    return ious.clip(max=1)  # a box overlaps itself by a rounding error more than that


def center_error(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distance of the centres of boxes [N, 4] in pixels, float64 [N]; infinite where one is absent."""
    return _distance(predicted, truth, np.ones(2))


def normalized_center_error(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The same with x and y in units of the truth's width and height, but of at least 1 pixel (TREK-150 toolkit)."""
    return _distance(predicted, truth, np.maximum(1.0, np.asarray(truth, float)[:, 2:]))


def _distance(predicted: np.ndarray, truth: np.ndarray, unit: np.ndarray) -> np.ndarray:
    a, b = np.asarray(predicted, float), np.asarray(truth, float)
    # A pixel less on either side changes nothing but the rounding, on which an error at a threshold depends.
    apart = ((a[:, :2] + (a[:, 2:] - 1) / 2) - (b[:, :2] + (b[:, 2:] - 1) / 2)) / unit
    return np.nan_to_num(np.sqrt((apart**2).sum(axis=1)), nan=np.inf)


def start_from_truth(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The boxes [N, 4] of a run and of the truth [N, 4] as the TREK-150 toolkit compares them.

    The first frame counts as tracked, whatever the tracker made of it, and frames on which the object is absent from
    the truth are left out.
    """
    truth = np.asarray(truth, float)
    visible = ~np.isnan(truth).any(axis=1)
    return np.concatenate([truth[:1], np.asarray(predicted, float)[1:]])[visible], truth[visible]


def one_pass_ious(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Overlaps of one run [N, 4] after `start_from_truth`; an object that the tracker calls absent has none."""
    return box_iou(*start_from_truth(predicted, truth))


def success_curve(ious: np.ndarray) -> np.ndarray:
    """Part of the frames with an overlap above (not at) each of the THRESHOLDS: float64 [21]."""
    return (np.asarray(ious)[:, None] > THRESHOLDS).mean(axis=0)


def success_score(ious: np.ndarray) -> float:
    """Area under the success curve, in [0, 20/21]: even perfect overlap is not above the last threshold."""
    return float(success_curve(ious).mean())


def normalized_precision_curve(errors: np.ndarray) -> np.ndarray:
    """Part of the frames with a normalized centre error of at most each of the ERROR_THRESHOLDS: float64 [51]."""
    return (np.asarray(errors)[:, None] <= ERROR_THRESHOLDS).mean(axis=0)


def robustness_curve(ious: np.ndarray) -> np.ndarray:
    """Generalized success robustness: the part of the run before its first overlap at or below each threshold.

    float64 [51], for ROBUSTNESS_THRESHOLDS; 1 where no overlap is that low (TREK-150, IJCV 2022, 6.2; its toolkit).
    """
    lost = np.asarray(ious)[:, None] <= ROBUSTNESS_THRESHOLDS
    return np.where(lost.any(axis=0), lost.argmax(axis=0) / len(lost), 1.0)


def recall(ious: np.ndarray) -> np.float32:
    """Part of the frames with an overlap of at least 0.5.

    In float32, and summed up in it over runs, as the TREK-150 toolkit (under NumPy 2) does.
    """
    return (np.asarray(ious) >= 0.5).astype(np.float32).mean()


@dataclass(frozen=True)
class Returns:
    """How often an object came back after frames without it, and how often it was then found again."""

    back: int = 0
    found: int = 0
    stayed: int = 0  # of the times it came back, those on which it did not soon go again
    stayed_found: int = 0


def returns(ious: np.ndarray, visible: np.ndarray, *, within: int, stay: int, overlap: float) -> Returns:
    """ious float [N], visible bool [N]: of all frames of a run.

    Found: an overlap of at least `overlap` on one of the `within` frames from its coming back on, and before it goes
    again. Stayed: it was there on `stay` frames at least.
    """
    back = np.flatnonzero(visible[1:] & ~visible[:-1]) + 1
    counts = np.zeros(4, int)
    for first in back:
        frames = int(np.argmin([*visible[first:], False]))  # until it goes, or the run ends
        found, stayed = bool((ious[first : first + min(within, frames)] >= overlap).any()), frames >= stay
        counts += (1, found, stayed, found and stayed)
    return Returns(*map(int, counts))


def roc_area(high: np.ndarray, low: np.ndarray) -> float:
    """Probability that a value of `high` exceeds one of `low`, both float [N]; a tie counts one half.

    NaN if one of them is empty.
    """
    if not len(high) or not len(low):
        return float("nan")
    high, low = np.asarray(high)[:, None], np.asarray(low)[None]
    return float((high > low).mean() + 0.5 * (high == low).mean())


def trek150_curves(predicted: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Success [21], normalized precision [51] and generalized success robustness [51] of one run, boxes [N, 4].

    By the names they have in TREK-150's tables, each of which is the mean of its curve.
    """
    predicted, truth = start_from_truth(predicted, truth)
    ious = box_iou(predicted, truth)
    return {
        "success": success_curve(ious),
        "normalized_precision": normalized_precision_curve(normalized_center_error(predicted, truth)),
        "generalized_success_robustness": robustness_curve(ious),
    }


def lasot_curves(predicted: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Success [21], precision [51] and normalized precision [51] of one run, boxes [N, 4], as LaSOT defines them.

    From calc_seq_err_robust.m and eval_tracker.m of github.com/HengLan/LaSOT_Evaluation_Toolkit. It differs from
    TREK-150's: frames without the object are no successes but do count as frames; a box without an area, or of NaN, is
    replaced by the one before it; where the true box is not positive in all four numbers (LaSOT's pixels count from 1),
    there is no overlap, and the centres count as one.
    """
    predicted, truth = _fill_invalid(predicted), np.asarray(truth, float)
    visible = ~np.isnan(truth).any(axis=1)
    predicted = np.concatenate([truth[:1], predicted[1:]])[visible]
    truth, frames = truth[visible], len(truth)
    positive = (truth > 0).all(axis=1)
    ious = np.where(positive, box_iou(predicted, truth), -1)
    errors = np.where(positive, center_error(predicted, truth), -1)
    sides = np.where(positive[:, None], truth[:, 2:], 1)
    normalized = np.where(positive, _distance(predicted, truth, sides), -1)
    return {
        "success": (ious[:, None] > THRESHOLDS).sum(axis=0) / frames,
        "precision": (errors[:, None] <= PIXEL_THRESHOLDS).sum(axis=0) / frames,
        "normalized_precision": (normalized[:, None] <= PIXEL_THRESHOLDS / 100).sum(axis=0) / frames,
    }


def otb_curves(predicted: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Success [21] and precision [51], at PIXEL_THRESHOLDS, of one run, boxes [N, 4], over the frames with the object.

    Wu et al., "Online Object Tracking: A Benchmark", CVPR 2013, 4; the first frame counts as tracked.
    """
    predicted, truth = start_from_truth(predicted, truth)
    errors = center_error(predicted, truth)
    return {
        "success": success_curve(box_iou(predicted, truth)),
        "precision": (errors[:, None] <= PIXEL_THRESHOLDS).mean(axis=0),
    }


def _fill_invalid(boxes: np.ndarray) -> np.ndarray:
    """Boxes [N, 4] with the last valid one in place of each that is NaN or has no area."""
    boxes = np.asarray(boxes, float)
    valid = (boxes[:, 2:] > 0).all(axis=1) & ~np.isnan(boxes).any(axis=1)
    valid[:1] = True
    return boxes[np.maximum.accumulate(np.where(valid, np.arange(len(boxes)), 0))]
