"""Graph cuts by colour (GrabCut: Rother, Kolmogorov, Blake, 2004), and what speaks for their results."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod

import cv2
import numpy as np

from ..geometry import mask_to_box, rectangle_iou

MEDIAN = 5  # pixels; finer texture is noise to the colour models
BAND = 5  # pixels along the contour that the last, fine cut may change
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


def judge(mask: np.ndarray, inside: np.ndarray, bins: np.ndarray, gradients: np.ndarray) -> Evidence:
    shared = np.minimum(histogram(bins[mask]), histogram(bins[~mask])).sum()
    contour = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return Evidence(
        rectangle=rectangle_iou(mask_to_box(mask), mask_to_box(inside)),
        colours=1 - float(shared),
        edges=float(gradients[contour].mean()),
    )


def colour_bins(picture: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] RGB -> int32 [h, w]: the cell of each pixel's colour in a histogram over Lab."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.int32)
    lab[..., 1:] = np.clip(2 * lab[..., 1:] - 128, 0, 255)  # few colours are so strong that this merges them
    lightness, a, b = np.moveaxis(lab * _LEVELS // 256, 2, 0)
    return (lightness * _LEVELS + a) * _LEVELS + b


def histogram(bins: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """float64 [cells], adding up to 1; all zeros of no pixels."""
    counts = np.bincount(bins.ravel(), None if weight is None else weight.ravel(), minlength=_LEVELS**3)
    return counts / max(counts.sum(), np.finfo(float).tiny)


def gradient_ranks(picture: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] -> float64 [h, w]: share of the pixels with a weaker gradient, in [0, 1)."""
    smooth = cv2.GaussianBlur(picture, (0, 0), 1).astype(np.float32)
    strength = sum(np.abs(cv2.Sobel(smooth, -1, *order)) for order in ((1, 0), (0, 1))).max(axis=2)
    return np.searchsorted(np.sort(strength, axis=None), strength) / strength.size


def cut(crop: np.ndarray, seeds: np.ndarray, iterations: int) -> np.ndarray:
    """uint8 [h, w, 3] and GC_* labels [h, w] -> bool [h, w]; empty when one side has no pixel to learn from."""
    likely = seeds & 1  # GC_FGD and GC_PR_FGD are odd
    if likely.all() or not likely.any():
        return np.zeros(seeds.shape, bool)
    cv2.setRNGSeed(0)
    labels, *_models = cv2.grabCut(crop, seeds.copy(), None, *np.zeros((2, 1, 65)), iterations, cv2.GC_INIT_WITH_MASK)
    return (labels & 1).astype(bool)


def reduce(crop: np.ndarray, inside: np.ndarray, long_side: int) -> tuple[np.ndarray, np.ndarray]:
    scale = min(1.0, long_side / max(inside.shape))
    size = [max(1, round(side * scale)) for side in reversed(inside.shape)]
    reduced = cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
    return cv2.resize(crop, size, interpolation=cv2.INTER_AREA), reduced


def enlarge(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
