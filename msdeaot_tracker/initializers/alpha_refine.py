"""Alpha-Refine (Yan et al., CVPR 2021): the exact box and the mask of a target near a rough box.

Around the box a region of twice its sides is cut out and resized to a square, whatever its shape; the network compares
it with the region cut out on the target's first frame. The geometry is that of the published scripts, to the pixel:
weights trained with it know no other.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from ..device import explain_out_of_memory, pick_device
from ..geometry import ellipse_in_box
from ..types import Box, InputError, MaskEstimate, TrackerError
from .alpha_refine_net import CROP, AlphaRefineNet
from .alpha_refine_weights import load_alpha_refine

logger = logging.getLogger(__name__)

_FACTOR = 2  # sides of the region by those of the box
_MARGIN = 10  # pixels of the image that a clipped box keeps at least, in the published scripts
_FLAT = 2.0  # a corner's best cell holds more than this many times its share of an even spread, or nothing was found


class Region(NamedTuple):
    """Whole pixels of an image, [x, x + w) by [y, y + h); may reach outside it."""

    x: int
    y: int
    w: int
    h: int


class NetworkRefiner:
    """Boxes and masks from a network of Alpha-Refine's form: corners and mask in one pass."""

    source = "ar"

    def __init__(
        self,
        network: AlphaRefineNet,
        *,
        device: str | torch.device = "auto",
        threshold: float = 0.5,
        half: bool | None = None,
    ):
        """half: compute in half precision, and again in single where that overflows; None: on CUDA."""
        if not isinstance(threshold, int | float) or not 0 < threshold < 1:
            raise InputError(f"threshold={threshold!r} is no probability between 0 and 1")
        self._device = pick_device(device)
        self._network = network.eval().to(self._device)
        self._threshold = threshold
        half = self._device.type == "cuda" if half is None else half
        self._precisions = (torch.float16, torch.float32) if half else (torch.float32,)

    def __call__(self, image: np.ndarray, box: Box) -> MaskEstimate:
        return self.refine(image, box)

    def reference(self, image: np.ndarray, box: Box) -> Tensor:
        """The kernel of the object in `box`, on the network's device."""
        (kernel,), _ = self._run(self._network.reference, cut_out(image, search_region(box)))
        return kernel

    def refine(self, image: np.ndarray, box: Box, reference: Tensor | None = None) -> MaskEstimate:
        """The object near `box`, which may leave the image; without a reference it is the one in the box itself.

        `details` hold the probability of either corner's best cell and the precision that was computed in.
        """
        height, width = image.shape[:2]
        region = search_region(box)
        (corners, heat_maps, logits), precision = self._run(self._network, cut_out(image, region), reference)
        peaks = heat_maps[0].flatten(1).amax(dim=1).tolist()
        details = {"peak_top_left": peaks[0], "peak_bottom_right": peaks[1], "precision": precision}

        exact = box_in_image(corners[0].cpu().numpy(), box)
        if min(peaks) > _FLAT / heat_maps[0, 0].numel() and _touches(exact, height, width):
            exact = clip_as_published(exact, height, width)
        else:
            logger.warning("Alpha-Refine finds no corners near box (%g, %g, %g, %g)", *box)
            exact = None

        probability = paste(logits[0, 0].sigmoid().cpu().numpy(), region, height, width)
        mask = probability > self._threshold
        if not mask.any():
            logger.warning("Alpha-Refine finds no pixel near box (%g, %g, %g, %g): using the ellipse in it", *box)
            mask = ellipse_in_box(box, height, width)
            details["fallback"] = "no pixel above the threshold"
        return MaskEstimate(mask, self.source, probability, exact, details)

    def _run(self, verb: Callable, crop: np.ndarray, kernel: Tensor | None = None) -> tuple[list[Tensor], str]:
        """One of the network's verbs for a uint8 crop: its outputs in float32, and the precision it was computed in."""
        failed = ""
        for dtype in self._precisions:
            with (
                torch.inference_mode(),
                torch.autocast(self._device.type, torch.float16, enabled=dtype is torch.float16),
                explain_out_of_memory("refining a box", "use the smaller variant r18, or the CPU"),
            ):
                pixels = torch.from_numpy(crop).to(self._device).permute(2, 0, 1)[None].float() / 255
                outputs = verb(pixels) if kernel is None else verb(pixels, kernel)
            outputs = [t.float() for t in (outputs if isinstance(outputs, tuple) else (outputs,))]
            precision = str(dtype).removeprefix("torch.")
            if all(bool(t.isfinite().all()) for t in outputs):
                return outputs, precision + failed
            failed = f" (not finite in {precision})"
            logger.warning("Alpha-Refine's network gives values that are not finite in %s", precision)
        raise TrackerError("Alpha-Refine's network gives values that are not finite: its weights are damaged")


class AlphaRefine(NetworkRefiner):
    """The published networks AR34c+m and AR18c+m."""

    def __init__(
        self,
        weights: str | os.PathLike[str] | None = None,
        *,
        variant: str = "r34",
        device: str | torch.device = "auto",
        threshold: float = 0.5,
    ):
        """
        weights:   a published file; None: the downloaded one of the variant.
        variant:   "r34" or "r18".
        threshold: probability above which a pixel belongs to the mask; the published VOT2020 scripts use 0.65.

        InputError: another variant, threshold or device. CheckpointError: no weights, or those of another network.
        """
        super().__init__(load_alpha_refine(weights, variant), device=device, threshold=threshold)


def search_region(box: Box) -> Region:
    """Twice the box's sides around its centre; sides rounded up, the corner to the nearest pixel, halves to even.

    InputError: a box that is not finite or has no area.
    """
    x, y, w, h = map(float, box)
    if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0:
        raise InputError(f"box ({x:g}, {y:g}, {w:g}, {h:g}) must be finite, with positive width and height")
    columns, rows = math.ceil(_FACTOR * w), math.ceil(_FACTOR * h)
    return Region(round(x + w / 2 - columns / 2), round(y + h / 2 - rows / 2), columns, rows)


def cut_out(image: np.ndarray, region: Region) -> np.ndarray:
    """uint8 [H, W, C] -> the region resized to uint8 [256, 256, C], black outside the image.

    Where the region reaches the image's right or bottom end, the last column or row is black as well: the published
    scripts pad one too many. Bilinear in OpenCV's fixed-point arithmetic; a grey level of difference moves corners.
    """
    height, width = image.shape[:2]
    x0, x1 = max(region.x, 0), region.x + region.w
    y0, y1 = max(region.y, 0), region.y + region.h
    x1, y1 = x1 if x1 < width else width - 1, y1 if y1 < height else height - 1
    patch = np.zeros((region.h, region.w, image.shape[2]), np.uint8)
    if x0 < x1 and y0 < y1:
        patch[y0 - region.y : y1 - region.y, x0 - region.x : x1 - region.x] = image[y0:y1, x0:x1]
    return cv2.resize(patch, (CROP, CROP), interpolation=cv2.INTER_LINEAR)


def paste(values: np.ndarray, region: Region, height: int, width: int) -> np.ndarray:
    """float32 [256, 256] over the region -> float32 [H, W], 0 outside the region."""
    patch = cv2.resize(values, (region.w, region.h), interpolation=cv2.INTER_LINEAR)
    whole = np.zeros((height, width), np.float32)
    x0, x1 = max(region.x, 0), min(region.x + region.w, width)
    y0, y1 = max(region.y, 0), min(region.y + region.h, height)
    if x0 < x1 and y0 < y1:
        whole[y0:y1, x0:x1] = patch[y0 - region.y : y1 - region.y, x0 - region.x : x1 - region.x]
    return whole


def box_in_image(corners: np.ndarray, box: Box) -> Box:
    """Corners x1, y1, x2, y2 in the crop around `box` -> rectangle in the image; sides < 0 if they contradict.

    Measured from the box itself, as in the published scripts, not from the region, whose corner is a whole pixel.
    That differs by up to half a pixel where twice the box's sides are whole numbers, else by up to one pixel.
    """
    x1, y1, x2, y2 = map(float, corners)
    region = search_region(box)
    across, down = region.w / CROP, region.h / CROP
    return Box(box.x - box.w / 2 + x1 * across, box.y - box.h / 2 + y1 * down, (x2 - x1) * across, (y2 - y1) * down)


def clip_as_published(box: Box, height: int, width: int) -> Box:
    """The rectangle with its corners moved into the image by the published scripts' rule, which leaves 10 pixels."""
    x1, y1, x2, y2 = box.x, box.y, box.x + box.w, box.y + box.h
    x1, y1 = min(max(x1, 0.0), max(width - _MARGIN, 0)), min(max(y1, 0.0), max(height - _MARGIN, 0))
    x2, y2 = max(min(x2, float(width)), min(_MARGIN, width)), max(min(y2, float(height)), min(_MARGIN, height))
    return Box(x1, y1, x2 - x1, y2 - y1)


def _touches(box: Box, height: int, width: int) -> bool:
    """Whether the rectangle has an area, and some of it inside the image."""
    inside = box.x < width and box.y < height and box.x + box.w > 0 and box.y + box.h > 0
    return inside and box.w > 0 and box.h > 0
