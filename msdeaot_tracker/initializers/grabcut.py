"""GrabCut (Rother, Kolmogorov, Blake, 2004) inside a box: colour statistics and a graph cut, no learned weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import cv2
import numpy as np

from ..geometry import box_to_mask, ellipse, ellipse_in_box, mask_to_box
from ..types import Box, MaskEstimate

logger = logging.getLogger(__name__)

_MIN_MARGIN = 8  # pixels; small boxes need some background around them too
_NOTHING, _EVERYTHING = 0.05, 0.98  # parts of the box's area; the certain core alone is 0.03 of it


@dataclass(frozen=True)
class GrabCut:
    """Outside the box is background, the box's middle is object, the rest is decided from colour and edges.

    Falls back to the ellipse inscribed in the box, with a warning, when the cut leaves nothing or nearly everything.
    The same image and box give the same mask: OpenCV's random numbers are seeded on each call.
    """

    margin: float = 0.5  # background looked at around the box, as a part of each of its sides
    core: float = 0.2  # sides of the certainly-object ellipse, as a part of the box's sides
    long_side: int = 400  # pixels; larger crops are reduced to this, so that the time does not grow with the image
    iterations: int = 5

    def __call__(self, image: np.ndarray, box: Box) -> MaskEstimate:
        height, width = image.shape[:2]
        filled = box_to_mask(box, height, width)
        x, y, w, h = mask_to_box(filled)
        pad_x, pad_y = (max(_MIN_MARGIN, round(self.margin * side)) for side in (w, h))
        left, top = max(0, x - pad_x), max(0, y - pad_y)
        crop = np.s_[top : min(height, y + h + pad_y), left : min(width, x + w + pad_x)]

        seeds = np.full(filled[crop].shape, cv2.GC_BGD, np.uint8)
        inside = seeds[y - top : y - top + h, x - left : x - left + w]
        inside[:] = np.where(ellipse(h, w), cv2.GC_PR_FGD, cv2.GC_PR_BGD)
        inside[ellipse(h, w, self.core)] = cv2.GC_FGD

        mask = np.zeros_like(filled)
        mask[crop] = self._cut(image[crop], seeds)
        mask &= filled
        part = mask.sum() / (w * h)
        details: dict[str, float | str] = {"part_of_box": float(part)}
        if not _NOTHING < part < _EVERYTHING:
            details["fallback"] = f"the cut took {100 * part:.0f} % of the box"
            logger.warning(
                "GrabCut took %.0f %% of box (%g, %g, %g, %g) as the object: using the ellipse in it", 100 * part, *box
            )
            mask = ellipse_in_box(box, height, width)
        return MaskEstimate(mask, source="grabcut", details=details)

    def _cut(self, crop: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """uint8 [h, w, 3] and GC_* labels [h, w] -> bool [h, w]; empty when one side has no pixel to learn from."""
        rows, columns = seeds.shape
        scale = self.long_side / max(rows, columns)
        if scale < 1:
            size = max(1, round(columns * scale)), max(1, round(rows * scale))
            crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
            seeds = cv2.resize(seeds, size, interpolation=cv2.INTER_NEAREST)
        foreground = (seeds & 1).astype(bool)  # GC_FGD and GC_PR_FGD are odd
        if foreground.any() and not foreground.all():
            cv2.setRNGSeed(0)
            models = np.zeros((2, 1, 65))
            cv2.grabCut(np.ascontiguousarray(crop), seeds, None, *models, self.iterations, cv2.GC_INIT_WITH_MASK)
            foreground = (seeds & 1).astype(bool)
        else:
            foreground[:] = False
        return cv2.resize(foreground.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR) > 0.5
