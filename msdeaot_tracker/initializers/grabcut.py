"""From a box to a mask by colours and edges alone: several graph cuts, of which the most plausible is kept.

GrabCut (Rother, Kolmogorov, Blake, 2004) settles near its first guess, so it is given four of them, and the results are
judged by what it does not see itself: that the box is tight, and how the mask looks as a whole.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from ..geometry import box_to_mask, ellipse, ellipse_in_box, mask_to_box
from ..types import Box, MaskEstimate, Points
from .grabcut_points import cut_by_points
from .graph_cut import BAND, MEDIAN, Evidence, colour_bins, cut, enlarge, gradient_ranks, histogram, judge, reduce

logger = logging.getLogger(__name__)

_MIN_MARGIN = 8  # pixels; small boxes need some background around them too
_NOTHING, _EVERYTHING = 0.05, 0.98  # parts of the box's area; the small certain core alone is 0.03 of it
_LARGE_CORE = 0.6  # of the guess that the object is large; as `core` of the others


@dataclass(frozen=True)
class GrabCut:
    """Cuts from four guesses at the object in a reduced crop; the most plausible is refined along its contour.

    details: `shape`, the guess whose cut was kept; the evidence for it; `part_of_box`, the share of the box it fills.
    Falls back to the ellipse inscribed in the box, with a warning, when every cut leaves nothing or nearly everything,
    or nothing speaks for it.
    The same image and box give the same mask: OpenCV's random numbers are seeded before each cut.
    Points are seeds, see `cut_by_points`.
    """

    margin: float = 0.25  # background looked at around the box, as a part of each of its sides
    core: float = 0.2  # sides of the certainly-object ellipse, as a part of the box's sides
    long_side: int = 200  # pixels; larger crops are reduced to this, so that the time does not grow with the image
    fine_side: int = 400  # pixels; the same for the last cut
    iterations: int = 2

    def __call__(self, image: np.ndarray, box: Box) -> MaskEstimate:
        height, width = image.shape[:2]
        filled = box_to_mask(box, height, width)
        x, y, w, h = mask_to_box(filled)
        pad_x, pad_y = (max(_MIN_MARGIN, round(self.margin * side)) for side in (w, h))
        around = np.s_[max(0, y - pad_y) : y + h + pad_y, max(0, x - pad_x) : x + w + pad_x]
        crop, inside = image[around], filled[around]

        best = self._most_plausible(*reduce(crop, inside, self.long_side))
        if best is None:
            reason = f"no cut of {_NOTHING:.0%} to {_EVERYTHING:.0%} of the box differs from the rest"
            logger.warning("GrabCut in box (%g, %g, %g, %g): %s; using the ellipse in it", *box, reason)
            return MaskEstimate(ellipse_in_box(box, height, width), source="grabcut", details={"fallback": reason})
        shape, coarse, evidence = best
        mask = np.zeros_like(filled)
        mask[around] = enlarge(self._refine(coarse, *reduce(crop, inside, self.fine_side)), inside.shape)
        mask &= filled
        details = {"shape": shape, **asdict(evidence), "part_of_box": float(mask.sum() / (w * h))}
        return MaskEstimate(mask, source="grabcut", details=details)

    def from_points(self, image: np.ndarray, points: Points) -> MaskEstimate:
        return cut_by_points(
            image, points, long_side=self.long_side, fine_side=self.fine_side, iterations=self.iterations
        )

    def _most_plausible(self, crop: np.ndarray, inside: np.ndarray) -> tuple[str, np.ndarray, Evidence] | None:
        """uint8 [h, w, 3], bool [h, w] (the box) -> which guess led to it, bool [h, w], and the evidence for it."""
        crop = cv2.medianBlur(crop, MEDIAN)
        bins, gradients = colour_bins(crop), gradient_ranks(crop)
        best = None
        for shape, seeds in _guesses(bins, inside, self.core).items():
            mask = cut(crop, seeds, self.iterations)
            if _NOTHING < mask.sum() / inside.sum() < _EVERYTHING:
                evidence = judge(mask, inside, bins, gradients)
                if evidence.plausibility > (best[2].plausibility if best else 0):
                    best = shape, mask, evidence
        return best

    def _refine(self, coarse: np.ndarray, crop: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """The mask at the size of this crop, cut anew along its contour."""
        mask = enlarge(coarse, inside.shape)
        kernel = np.ones((BAND, BAND), np.uint8)
        seeds = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        seeds[cv2.erode(mask.astype(np.uint8), kernel) > 0] = cv2.GC_FGD
        seeds[cv2.dilate(mask.astype(np.uint8), kernel) == 0] = cv2.GC_BGD
        seeds[~inside] = cv2.GC_BGD
        fine = cut(cv2.medianBlur(crop, 3), seeds, iterations=1)
        return fine if fine.any() else mask


def _guesses(bins: np.ndarray, inside: np.ndarray, core: float) -> dict[str, np.ndarray]:
    """Seeds of a cut, uint8 [h, w] of GC_*, by name: how much of the box is object, or which of its colours are."""
    x, y, w, h = mask_to_box(inside)
    box = np.s_[y : y + h, x : x + w]
    seeds = {}
    for name, likely, certain in (
        ("medium", ellipse(h, w), core),
        ("small", ellipse(h, w, 0.7), core),
        ("large", ellipse(h, w), _LARGE_CORE),
        ("colour", _likelier_inside(bins, inside)[box], core),
    ):
        seeds[name] = np.full(inside.shape, cv2.GC_BGD, np.uint8)
        seeds[name][box] = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
        seeds[name][box][ellipse(h, w, certain)] = cv2.GC_FGD
    return seeds


def _likelier_inside(bins: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """bool [h, w]: pixels of a colour that is more frequent in the box, above all in its middle, than around it."""
    x, y, w, h = mask_to_box(inside)
    down, across = ((2 * np.arange(n) + 1) / n - 1 for n in (h, w))  # -1 to 1 from side to side
    weight = np.exp(-(down[:, None] ** 2 + across**2))
    within = histogram(bins[y : y + h, x : x + w], weight)
    return (within > histogram(bins[~inside]))[bins]
