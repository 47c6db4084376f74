"""The box around an object that clicks mean, found with a network that takes boxes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ..geometry import main_parts, mask_to_box, rectangle_iou
from ..types import Box, InputError, MaskEstimate, Points
from .clicks import discs, obeyed
from .grabcut_points import cut_by_points

_SIDES = (0.08, 0.16, 0.32, 0.64, 1.0)  # of the first guesses around clicks, in shorter sides of the picture
_SETTLED = 0.9  # overlap (IoU) of a mask's rectangle with its box from which on nothing new comes
_ROUNDS = 4
_OFF_CENTRE = 0.25  # weight of the squared distance of the clicks from a box's middle, in half its sides; our choice
_MAIN = 0.1  # of a mask's pixels: smaller parts of it do not stretch the next box
_CUT = {"long_side": 200, "fine_side": 400, "iterations": 2}  # as GrabCut's own


def box_by_points(
    segment: Callable[[np.ndarray, Box], MaskEstimate], image: np.ndarray, points: Points
) -> MaskEstimate:
    """The best of the masks that `segment` makes of boxes that the clicks suggest, obeying every click.

    A box is guessed (the given one; the mask's; else squares of several sizes around the clicks) and follows the mask
    that is made of it until both fit. Best is what has most of the clicks on their side, then the highest product of
    the expected overlap, the overlap of box and mask and, of clicks alone, how much in the middle they are. What still
    contradicts a click is cut again with the clicks as seeds (`cut_by_points`), which `details["clicks"]` says.

    points: as `targets.check_points` leaves them. InputError: no object is found.
    """
    best, most = None, (-1.0, -1.0)
    for start in _first_boxes(points, *image.shape[:2]):
        for box, estimate in _settle(segment, image, start):
            fit = rectangle_iou(mask_to_box(main_parts(estimate.mask, _MAIN)), box)
            worth = obeyed(estimate.mask, points), (estimate.confidence or 0.0) * fit * _central(points, box)
            if worth > most:
                best, most = estimate, worth
    if best is None or most[1] == 0:
        return cut_by_points(image, points, **_CUT)
    if most[0] == 1:
        return best
    if not points.foreground or any(best.mask[int(y), int(x)] for x, y in points.foreground):
        points = replace(points, mask=best.mask)
    obeying = cut_by_points(image, points, **_CUT)
    return replace(obeying, source=best.source, details={"clicks": "cut by them"}, confidence=best.confidence)


def _central(points: Points, box: Box) -> float:
    """1 where clicks alone are in the middle of a box, less towards its sides: people click into the middle."""
    if points.box is not None or points.mask is not None or not points.foreground:
        return 1.0
    u, v = np.mean(points.foreground, axis=0)
    away = ((u - box.x - box.w / 2) / (box.w / 2)) ** 2 + ((v - box.y - box.h / 2) / (box.h / 2)) ** 2
    return 1 / (1 + _OFF_CENTRE * float(away))


def _settle(
    segment: Callable[[np.ndarray, Box], MaskEstimate], image: np.ndarray, box: Box
) -> Iterator[tuple[Box, MaskEstimate]]:
    """Boxes and their masks, each box the rectangle of the mask before."""
    for _ in range(_ROUNDS):
        estimate = segment(image, box)
        if "fallback" in estimate.details:
            return
        yield box, estimate
        seen = mask_to_box(main_parts(estimate.mask, _MAIN))
        if rectangle_iou(seen, box) >= _SETTLED:
            return
        box = seen


def _first_boxes(points: Points, height: int, width: int) -> Iterator[Box]:
    if points.box is not None:
        yield Box(*points.box)
        return
    shown = discs(points.foreground, (height, width), 0)
    if points.mask is not None:
        yield mask_to_box(points.mask | shown)
        return
    if not points.foreground:
        raise InputError("points need one in the foreground, or a box, to show where the object is")
    x, y, w, h = mask_to_box(shown)
    for side in _SIDES:
        pad = side * min(height, width) / 2
        left, top = max(x - pad, 0.0), max(y - pad, 0.0)
        yield Box(left, top, min(x + w + pad, width) - left, min(y + h + pad, height) - top)
