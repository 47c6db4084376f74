"""From a box to a mask by colours and edges alone: several graph cuts, of which the most plausible is kept.

GrabCut (Rother, Kolmogorov, Blake, 2004) settles near its first guess, so it is given four of them, and the results are
judged by what it does not see itself: that the box is tight, and how the mask looks as a whole.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from math import prod

import cv2
import numpy as np

from ..geometry import box_to_mask, ellipse, ellipse_in_box, mask_to_box, rectangle_iou
from ..types import Box, MaskEstimate

logger = logging.getLogger(__name__)

_MIN_MARGIN = 8  # pixels; small boxes need some background around them too
_NOTHING, _EVERYTHING = 0.05, 0.98  # parts of the box's area; the small certain core alone is 0.03 of it
_LARGE_CORE = 0.6  # of the guess that the object is large; as `core` of the others
_MEDIAN = 5  # pixels; finer texture is noise to the colour models
_BAND = 5  # pixels along the contour that the last, fine cut may change
_LEVELS = 16  # of a colour channel in a histogram


@dataclass(frozen=True)
class Evidence:
    """What speaks for a mask, each in [0, 1]."""

    rectangle: float  # overlap of its rectangle with the box
    colours: float  # share of its colours that is not found around it: 1 - intersection of the two histograms
    edges: float  # mean rank of the gradient along its contour, among all gradients in the crop

    @property
    def plausibility(self) -> float:
        return prod(asdict(self).values())


@dataclass(frozen=True)
class GrabCut:
    """Cuts from four guesses at the object in a reduced crop; the most plausible is refined along its contour.

    details: `shape`, the guess whose cut was kept; the evidence for it; `part_of_box`, the share of the box it fills.
    Falls back to the ellipse inscribed in the box, with a warning, when every cut leaves nothing or nearly everything,
    or nothing speaks for it.
    The same image and box give the same mask: OpenCV's random numbers are seeded before each cut.
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

        best = self._most_plausible(*_reduce(crop, inside, self.long_side))
        if best is None:
            reason = f"no cut of {_NOTHING:.0%} to {_EVERYTHING:.0%} of the box differs from the rest"
            logger.warning("GrabCut in box (%g, %g, %g, %g): %s; using the ellipse in it", *box, reason)
            return MaskEstimate(ellipse_in_box(box, height, width), source="grabcut", details={"fallback": reason})
        shape, coarse, evidence = best
        mask = np.zeros_like(filled)
        mask[around] = _enlarge(self._refine(coarse, *_reduce(crop, inside, self.fine_side)), inside.shape)
        mask &= filled
        details = {"shape": shape, **asdict(evidence), "part_of_box": float(mask.sum() / (w * h))}
        return MaskEstimate(mask, source="grabcut", details=details)

    def _most_plausible(self, crop: np.ndarray, inside: np.ndarray) -> tuple[str, np.ndarray, Evidence] | None:
        """uint8 [h, w, 3], bool [h, w] (the box) -> which guess led to it, bool [h, w], and the evidence for it."""
        crop = cv2.medianBlur(crop, _MEDIAN)
        bins, gradients = _colour_bins(crop), _gradient_ranks(crop)
        best = None
        for shape, seeds in _guesses(bins, inside, self.core).items():
            mask = _cut(crop, seeds, self.iterations)
            if _NOTHING < mask.sum() / inside.sum() < _EVERYTHING:
                evidence = _judge(mask, inside, bins, gradients)
                if evidence.plausibility > (best[2].plausibility if best else 0):
                    best = shape, mask, evidence
        return best

    def _refine(self, coarse: np.ndarray, crop: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """The mask at the size of this crop, cut anew along its contour."""
        mask = _enlarge(coarse, inside.shape)
        kernel = np.ones((_BAND, _BAND), np.uint8)
        seeds = np.where(mask, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        seeds[cv2.erode(mask.astype(np.uint8), kernel) > 0] = cv2.GC_FGD
        seeds[cv2.dilate(mask.astype(np.uint8), kernel) == 0] = cv2.GC_BGD
        seeds[~inside] = cv2.GC_BGD
        fine = _cut(cv2.medianBlur(crop, 3), seeds, iterations=1)
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
    within = _histogram(bins[y : y + h, x : x + w], weight)
    return (within > _histogram(bins[~inside]))[bins]


def _judge(mask: np.ndarray, inside: np.ndarray, bins: np.ndarray, gradients: np.ndarray) -> Evidence:
    shared = np.minimum(_histogram(bins[mask]), _histogram(bins[~mask])).sum()
    contour = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return Evidence(
        rectangle=rectangle_iou(mask_to_box(mask), mask_to_box(inside)),
        colours=1 - float(shared),
        edges=float(gradients[contour].mean()),
    )


def _colour_bins(picture: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] RGB -> int32 [h, w]: the cell of each pixel's colour in a histogram over Lab."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.int32)
    lab[..., 1:] = np.clip(2 * lab[..., 1:] - 128, 0, 255)  # few colours are so strong that this merges them
    lightness, a, b = np.moveaxis(lab * _LEVELS // 256, 2, 0)
    return (lightness * _LEVELS + a) * _LEVELS + b


def _histogram(bins: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """float64 [cells], adding up to 1; all zeros of no pixels."""
    counts = np.bincount(bins.ravel(), None if weight is None else weight.ravel(), minlength=_LEVELS**3)
    return counts / max(counts.sum(), np.finfo(float).tiny)


def _gradient_ranks(picture: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] -> float64 [h, w]: share of the pixels with a weaker gradient, in [0, 1)."""
    smooth = cv2.GaussianBlur(picture, (0, 0), 1).astype(np.float32)
    strength = sum(np.abs(cv2.Sobel(smooth, -1, *order)) for order in ((1, 0), (0, 1))).max(axis=2)
    return np.searchsorted(np.sort(strength, axis=None), strength) / strength.size


def _cut(crop: np.ndarray, seeds: np.ndarray, iterations: int) -> np.ndarray:
    """uint8 [h, w, 3] and GC_* labels [h, w] -> bool [h, w]; empty when one side has no pixel to learn from."""
    likely = seeds & 1  # GC_FGD and GC_PR_FGD are odd
    if likely.all() or not likely.any():
        return np.zeros(seeds.shape, bool)
    cv2.setRNGSeed(0)
    labels, *_models = cv2.grabCut(crop, seeds.copy(), None, *np.zeros((2, 1, 65)), iterations, cv2.GC_INIT_WITH_MASK)
    return (labels & 1).astype(bool)


def _reduce(crop: np.ndarray, inside: np.ndarray, long_side: int) -> tuple[np.ndarray, np.ndarray]:
    scale = min(1.0, long_side / max(inside.shape))
    size = [max(1, round(side * scale)) for side in reversed(inside.shape)]
    reduced = cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    return cv2.resize(crop, size, interpolation=cv2.INTER_AREA), reduced


def _enlarge(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
