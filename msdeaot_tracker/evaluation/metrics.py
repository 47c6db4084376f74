"""Overlap of boxes and masks, and the scores made of it. Boxes are (x, y, w, h); a row of NaN is an absent object."""

from __future__ import annotations

import numpy as np

THRESHOLDS = np.linspace(0, 1, 21)  # of overlap, in a success plot (OTB; TREK-150 toolkit, ExperimentTREK150)


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union, row by row, of boxes [N, 4] -> float64 [N] in [0, 1]; 0 where one is absent."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    corner = np.maximum(a[:, :2], b[:, :2])
    sides = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:]) - corner
    shared = np.nan_to_num(sides).clip(min=0).prod(axis=1)
    union = a[:, 2:].prod(axis=1) + b[:, 2:].prod(axis=1) - shared
    return np.divide(shared, union, out=np.zeros(len(a)), where=union > 0)


def one_pass_ious(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Box overlaps [N, 4] of one run, as the TREK-150 toolkit takes them.

    The first frame counts as tracked, whatever the tracker made of it; frames on which the object is absent from the
    truth are left out; an object that the tracker calls absent has no overlap.
    """
    ious = box_iou(predicted, truth)
    ious[:1] = 1.0
    return ious[~np.isnan(truth).any(axis=1)]


def success_curve(ious: np.ndarray) -> np.ndarray:
    """Part of the frames with an overlap above (not at) each of the THRESHOLDS: float64 [21]."""
    return (np.asarray(ious)[:, None] > THRESHOLDS).mean(axis=0)


def success_score(ious: np.ndarray) -> float:
    """Area under the success curve, in [0, 20/21]: even perfect overlap is not above the last threshold."""
    return float(success_curve(ious).mean())
