"""Pure functions between masks, boxes, label maps and network sizes."""

from __future__ import annotations

import logging
import math
import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from .types import Box, InputError, MapSize

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

_GRID = 16  # pixels per cell of the coarsest map
_THERE = 0.1  # overlap (IoU) with where an object was from which on a part of a mask lies there


def mask_to_box(mask: np.ndarray) -> Box | None:
    """Smallest upright rectangle of a mask [H, W] (nonzero = object), None when it is empty."""
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    x, y = int(columns[0]), int(rows[0])
    return Box(x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1)


def main_parts(mask: np.ndarray, share: float, *, last: Box | None = None, growth: float | None = None) -> np.ndarray:
    """bool [H, W]: of a mask (nonzero = object), the 8-connected parts with at least `share` of its pixels.

    The largest part always stays. last and growth: of the mask counts only the part that lies where the object was, or
    else the largest, and the others as far as a rectangle of `growth` times that area, and at most so many times as
    wide and as high, or that part's, holds them: what is farther off is another thing that looks like it.
    """
    kept, parts, _ = _main(mask, share, last, growth)
    return np.append(False, kept)[parts]


def main_box(mask: np.ndarray, share: float, *, last: Box | None = None, growth: float | None = None) -> Box | None:
    """The smallest upright rectangle of the mask's `main_parts`, None when it is empty."""
    kept, _, rectangles = _main(mask, share, last, growth)
    return hull([Box(*row) for row in rectangles[kept].tolist()]) if kept.any() else None


def _main(
    mask: np.ndarray, share: float, last: Box | None, growth: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each part whether it is a main one; the map of parts, from 1; and their rectangles, (x, y, w, h) each."""
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(np.asarray(mask, np.uint8), connectivity=8)
    rectangles, areas = statistics[1:, :4], statistics[1:, cv2.CC_STAT_AREA]  # the first is the background
    return kept_parts(rectangles, areas, share, last, growth), parts, rectangles


def kept_parts(
    rectangles: np.ndarray, areas: np.ndarray, share: float, last: Box | None, growth: float | None
) -> np.ndarray:
    """bool [P]: which parts of a mask are its `main_parts`.

    rectangles: integers [P, 4], (x, y, w, h). areas: integers [P], in pixels.
    """
    if len(areas) > 1 and last is not None and growth is not None:
        areas = np.where(_near(rectangles, areas, last, growth), areas, 0)
    return areas >= max(min(share * areas.sum(), areas.max(initial=0)), 1)


def _near(rectangles: np.ndarray, areas: np.ndarray, last: Box, growth: float) -> np.ndarray:
    """Which of these parts of a mask, (x, y, w, h) each, are those of one object."""
    x, y, w, h = rectangles.T
    by_area = np.argsort(-areas, kind="stable")
    across = np.minimum(x + w, last.x + last.w) - np.maximum(x, last.x)
    shared = across.clip(0) * (np.minimum(y + h, last.y + last.h) - np.maximum(y, last.y)).clip(0)
    there = shared / (w * h + last.w * last.h - shared)
    first = max(by_area, key=there.__getitem__)
    if there[first] < _THERE:
        first = by_area[0]
    around = Box(*rectangles[first].tolist())
    widest, highest = growth * max(last.w, around.w), growth * max(last.h, around.h)
    largest = growth * max(last.w * last.h, around.w * around.h)

    def fits(width: np.ndarray | float, height: np.ndarray | float) -> np.ndarray | bool:
        return (width <= widest) & (height <= highest) & (width * height <= largest)

    right, bottom = np.maximum(x + w, around.x + around.w), np.maximum(y + h, around.y + around.h)
    alone = fits(right - np.minimum(x, around.x), bottom - np.minimum(y, around.y))  # with the first, without others
    near = np.zeros(len(rectangles), bool)
    for i in by_area[alone[by_area]]:
        wider = hull([around, Box(*rectangles[i].tolist())])
        if fits(wider.w, wider.h):
            near[i], around = True, wider
    near[first] = True
    return near


def share_inside(labels: np.ndarray, object_id: int, box: Box | None) -> float:
    """Of a box's area what an object's pixels cover in it, in [0, 1]; labels: int [H, W]. None: 0."""
    if box is None or not box.w * box.h > 0:
        return 0.0
    top, left = max(math.floor(box.y), 0), max(math.floor(box.x), 0)
    inside = labels[top : math.ceil(box.y + box.h), left : math.ceil(box.x + box.w)]
    return min(np.count_nonzero(inside == object_id) / (box.w * box.h), 1.0)


def hull(boxes: Sequence[Box]) -> Box:
    """The smallest rectangle that holds these, at least one."""
    left, top = min(box.x for box in boxes), min(box.y for box in boxes)
    right, bottom = max(box.x + box.w for box in boxes), max(box.y + box.h for box in boxes)
    return Box(left, top, right - left, bottom - top)


def completed(box: Box, whole: Box, height: int, width: int) -> Box:
    """What a box at a border of the image may be the visible part of: as large as `whole`, reaching beyond."""
    x, y, w, h = box
    if x <= 0 or x + w >= width:
        right, w = x + w, max(w, whole.w)
        x = right - w if x <= 0 else x
    if y <= 0 or y + h >= height:
        bottom, h = y + h, max(h, whole.h)
        y = bottom - h if y <= 0 else y
    return Box(x, y, w, h)


def grown(box: Box, wider: Box, width: float, height: float) -> Box:
    """The box, grown in a wider one that holds it until it is so wide and so high, or as that one is.

    Both sides of a pair go the same part of their way to the wider one's.
    """
    sides = []
    for start, length, low, most, wanted in (
        (box.x, box.w, wider.x, wider.w, width),
        (box.y, box.h, wider.y, wider.h, height),
    ):
        reached = min(max(wanted, length), most)
        part = (reached - length) / (most - length) if most > length else 0.0
        sides.append((start - part * (start - low), reached))
    (x, w), (y, h) = sides
    return Box(x, y, w, h)


class Margins(NamedTuple):
    """How far a box reaches beyond another on its left, top, right and bottom, in the other's widths and heights."""

    left: float
    top: float
    right: float
    bottom: float


def margins(outer: Box, inner: Box) -> Margins:
    """What to add to `inner` to get `outer`; negative on the sides where inner is the one that reaches farther."""
    right, bottom = outer.x + outer.w - inner.x - inner.w, outer.y + outer.h - inner.y - inner.h
    return Margins((inner.x - outer.x) / inner.w, (inner.y - outer.y) / inner.h, right / inner.w, bottom / inner.h)


def with_margins(box: Box, added: Margins, height: int, width: int) -> Box:
    """The box and its margins, as far as they lie inside an image; where that is nothing, the box as it is."""
    x0, y0 = max(box.x - added.left * box.w, 0.0), max(box.y - added.top * box.h, 0.0)
    x1 = min(box.x + (1 + added.right) * box.w, float(width))
    y1 = min(box.y + (1 + added.bottom) * box.h, float(height))
    return Box(x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else box


def box_to_mask(box: Box, height: int, width: int) -> np.ndarray:
    """bool [H, W]: the pixels whose centre lies in the box; at least one for a box inside the image."""
    x0, y0 = min(max(round(box.x), 0), width - 1), min(max(round(box.y), 0), height - 1)
    x1, y1 = max(round(box.x + box.w), x0 + 1), max(round(box.y + box.h), y0 + 1)
    mask = np.zeros((height, width), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def ellipse(rows: int, columns: int, size: float = 1.0) -> np.ndarray:
    """bool [rows, columns]: pixels whose centre lies in the centred ellipse with axes `size` times the sides."""
    y, x = ((np.arange(n) + 0.5 - n / 2) / (size * n / 2) for n in (rows, columns))
    return y[:, None] ** 2 + x[None] ** 2 <= 1


def ellipse_in_box(box: Box, height: int, width: int) -> np.ndarray:
    """bool [H, W]: the ellipse that touches the box's sides; the best guess when nothing but the box is known."""
    filled = box_to_mask(box, height, width)
    x, y, w, h = mask_to_box(filled)
    filled[y : y + h, x : x + w] = ellipse(h, w)
    return filled


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two bool masks [H, W]; 1 where both are empty."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0


def towards(before: Box, now: Box, share: float) -> Box:
    """A box where `now` is, whose sides went that share of the way, in logarithms, from those of `before`."""
    w, h = before.w ** (1 - share) * now.w**share, before.h ** (1 - share) * now.h**share
    return Box(now.x + (now.w - w) / 2, now.y + (now.h - h) / 2, w, h)


def shifted(box: Box, across: float, down: float, height: int, width: int) -> Box:
    """The box so many pixels further to the right and down, its middle not beyond the borders of an image.

    Unless it is beyond already: then it stays there in that direction.
    """
    x, y = box.x + box.w / 2, box.y + box.h / 2
    right, bottom = min(max(x + across, min(x, 0.0)), max(x, width)), min(max(y + down, min(y, 0.0)), max(y, height))
    return box._replace(x=right - box.w / 2, y=bottom - box.h / 2)


def rectangle_iou(a: Box, b: Box) -> float:
    """Intersection over union of two rectangles with an area, in [0, 1]."""
    width = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    height = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (a.w * a.h + b.w * b.h - shared)


def clip_box(box: Sequence[float], height: int, width: int) -> Box:
    """The part of (x, y, w, h) inside an image, with a warning when that is not all of it, or hardly a pixel.

    InputError: not four finite numbers, a side <= 0, or no part inside.
    """
    try:
        x, y, w, h = map(float, [] if isinstance(box, str | bytes) else box)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is torch's
        raise InputError(f"a box is four numbers (x, y, w, h), got {reprlib.repr(box)}") from None
    shown = f"box ({x:g}, {y:g}, {w:g}, {h:g})"
    if not all(map(math.isfinite, (x, y, w, h))):
        raise InputError(f"{shown} is not finite")
    if w <= 0 or h <= 0:
        raise InputError(f"{shown} has no area: width and height must be positive")
    x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
    if x1 <= x0 or y1 <= y0:
        hint = _corners_hint(x, y, w, h, height, width)
        raise InputError(f"{shown} lies outside the image of {width}x{height} pixels{hint}")
    clipped = Box(x0, y0, x1 - x0, y1 - y0)
    if max(abs(a - b) for a, b in zip(clipped, (x, y, w, h), strict=True)) > 1e-6:
        hint = _corners_hint(x, y, w, h, height, width)
        logger.warning("%s reaches outside the image of %dx%d pixels and is clipped%s", shown, width, height, hint)
        return clipped
    if max(x + w, y + h) <= 1:
        logger.warning("%s lies in the first pixel; fractions of the image are to be given in pixels", shown)
    return Box(x, y, w, h)


def _corners_hint(x: float, y: float, w: float, h: float, height: int, width: int) -> str:
    """What to say of a box that leaves the image as (x, y, w, h) and would not as two corners."""
    if not (0 <= x < w <= width and 0 <= y < h <= height):
        return ""
    return f"; if it was meant as two corners, (x, y, w, h) is ({x:g}, {y:g}, {w - x:g}, {h - y:g})"


def network_size(height: int, width: int, *, long_edge: int, short_edge: int, align_corners: bool) -> MapSize:
    """Size at which the network sees an image: AOT's rule (PARITY 19), 16k+1 with align_corners, else 16k.

    Images whose short edge is below `short_edge` are enlarged first (HQTrack's rule); `long_edge` has the last word.
    """
    scale = max(1.0, short_edge / min(height, width))
    if max(height, width) * scale > long_edge:
        scale = long_edge / max(height, width)
    offset = 1 if align_corners else 0
    cells = (round((int(side * scale) - offset) / _GRID) for side in (height, width))
    rows, columns = (max(n, 1) * _GRID + offset for n in cells)
    return rows, columns


def one_hot(labels: Tensor, objects: int) -> Tensor:
    """Integer labels [B, H, W] -> float32 [B, objects + 1, H, W]; labels above `objects` (255, say): in no channel."""
    import torch

    channels = torch.arange(objects + 1, device=labels.device)
    return (labels[:, None] == channels[None, :, None, None]).float()
