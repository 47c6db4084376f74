"""GrabCut from clicks: what each of some guesses about the object's size is cut to, and the most plausible of them."""

from __future__ import annotations

import cv2
import numpy as np

from ..geometry import box_to_mask, mask_to_box
from ..types import Box, InputError, MaskEstimate, Points
from .clicks import discs, place_clicks, plant, touched_parts
from .graph_cut import BAND, MEDIAN, Evidence, colour_bins, cut, enlarge, gradient_ranks, judge, reduce

_REACH = (0.06, 0.12, 0.25, 0.4)  # radii of the first guesses around clicks alone, in shorter sides of the picture
# In square roots of the area of a mask that clicks correct:
_BAND = 0.1  # what its contour may move everywhere
_NEAR = 0.15  # where a click is believed at first
_FAR = 1.0  # where a click may change the mask at all
_MARGIN = 0.3  # of its sides: the room around the object in which the fine cut looks


def cut_by_points(
    image: np.ndarray, points: Points, *, long_side: int, fine_side: int, iterations: int
) -> MaskEstimate:
    """The object that the clicks, as `targets.check_points` leaves them, mean on uint8 [H, W, 3].

    Every click has its way: it is a certain seed of each cut. Of clicks alone, guesses of several sizes around them
    are cut; of a mask, the mask with the clicks' word for what is near them; nothing outside a box is the object.
    details: `shape`, the guess whose cut was kept, and the evidence for it. InputError: no cut finds an object.
    """
    height, width = image.shape[:2]
    allowed = np.ones((height, width), bool) if points.box is None else box_to_mask(Box(*points.box), height, width)
    around, left, top = _surroundings(points, height, width)
    crop, inside = reduce(image[around], allowed[around], long_side)
    clicks = place_clicks(points, left, top, crop.shape[0] / image[around].shape[0], inside.shape)
    before = None if points.mask is None else reduce(image[around], points.mask[around], long_side)[1]
    best = _most_plausible(cv2.medianBlur(crop, MEDIAN), inside, clicks, before, iterations)
    if best is None:
        raise InputError("GrabCut finds no object at these points; a box around it helps")
    shape, coarse, evidence = best
    mask = np.zeros((height, width), bool)
    mask[around] = enlarge(coarse, image[around].shape[:2])
    mask = _fine(image, mask, points, allowed, fine_side)
    details = {"shape": shape, "colours": evidence.colours, "edges": evidence.edges}
    return MaskEstimate(mask, "grabcut", details=details)


def _surroundings(points: Points, height: int, width: int) -> tuple[tuple[slice, slice], int, int]:
    """Where the coarse cut looks, rows and columns, and where that begins: column, row."""
    known = np.zeros((height, width), bool) if points.mask is None else points.mask
    if points.box is not None:
        known = known | box_to_mask(Box(*points.box), height, width)
    if not known.any():
        return np.s_[:, :], 0, 0
    x, y, w, h = mask_to_box(known | discs(points.foreground, known.shape, 0))
    pad = max(w, h) // 2 + BAND
    left, top = max(0, x - pad), max(0, y - pad)
    return np.s_[top : y + h + pad, left : x + w + pad], left, top


def _most_plausible(
    crop: np.ndarray, inside: np.ndarray, clicks: Points, before: np.ndarray | None, iterations: int
) -> tuple[str, np.ndarray, Evidence] | None:
    """Of the cuts of all guesses: which one, bool [h, w], and the evidence for it."""
    bins, gradients, best = colour_bins(crop), gradient_ranks(crop), None
    for shape, seeds in _guesses(clicks, inside, before).items():
        seeds[~inside] = cv2.GC_BGD
        likely = (seeds & 1).astype(bool)  # GC_FGD and GC_PR_FGD are odd
        found = touched_parts(cut(crop, plant(seeds, clicks), iterations), clicks, likely)
        if found.any() and not found.all():
            evidence = judge(found, found if inside.all() else inside, bins, gradients)
            if best is None or evidence.plausibility > best[2].plausibility:
                best = shape, found, evidence
    return best


def _guesses(clicks: Points, inside: np.ndarray, before: np.ndarray | None) -> dict[str, np.ndarray]:
    """Seeds of a cut, uint8 [h, w] of GC_*, by name: where the object may be."""
    if before is not None and before.any():
        return {"mask": _corrected(clicks, before)}
    side = min(inside.shape)
    likely = {f"{reach:g}": discs(clicks.foreground, inside.shape, reach * side) for reach in _REACH}
    if not inside.all():
        likely = {"box": inside}
    return {name: np.where(where, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8) for name, where in likely.items()}


def _corrected(clicks: Points, before: np.ndarray) -> np.ndarray:
    """Seeds that leave a mask as it is far from its contour and from the clicks."""
    before = before & ~_denied(clicks, before)
    size = float(np.sqrt(before.sum()))
    band = np.ones((2 * round(_BAND * size) + 3,) * 2, np.uint8)
    on, off = (discs(c, before.shape, _NEAR * size) for c in (clicks.foreground, clicks.background))
    seeds = np.where(before, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[on & ~off], seeds[off & ~on] = cv2.GC_PR_FGD, cv2.GC_PR_BGD
    wide_on, wide_off = (discs(c, before.shape, _FAR * size) for c in (clicks.foreground, clicks.background))
    seeds[(cv2.erode(before.astype(np.uint8), band, borderValue=1) > 0) & ~wide_off] = cv2.GC_FGD
    seeds[(cv2.dilate(before.astype(np.uint8), band) == 0) & ~wide_on] = cv2.GC_BGD
    return seeds


def _denied(clicks: Points, before: np.ndarray) -> np.ndarray:
    """bool [h, w]: the 8-connected parts of a mask in which there are background clicks alone."""
    _, parts = cv2.connectedComponents(before.astype(np.uint8), connectivity=8)
    kept, gone = ({parts[int(y), int(x)] for x, y in c} for c in (clicks.foreground, clicks.background))
    return np.isin(parts, sorted(gone - kept - {0}))


def _fine(image: np.ndarray, mask: np.ndarray, points: Points, allowed: np.ndarray, fine_side: int) -> np.ndarray:
    """The mask cut anew along its contour, in a crop around it, with the clicks as they are."""
    x, y, w, h = mask_to_box(mask | discs(points.foreground, mask.shape, 1))
    pad_x, pad_y = (round(_MARGIN * side) + BAND for side in (w, h))
    left, top = max(0, x - pad_x), max(0, y - pad_y)
    around = np.s_[top : y + h + pad_y, left : x + w + pad_x]
    crop, coarse = reduce(image[around], mask[around], fine_side)
    clicks = place_clicks(points, left, top, crop.shape[0] / image[around].shape[0], coarse.shape)
    kernel = np.ones((BAND, BAND), np.uint8)
    seeds = np.where(coarse, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    seeds[cv2.erode(coarse.astype(np.uint8), kernel) > 0] = cv2.GC_FGD
    seeds[cv2.dilate(coarse.astype(np.uint8), kernel) == 0] = cv2.GC_BGD
    fine = cut(cv2.medianBlur(crop, 3), plant(seeds, clicks), 1)
    whole = np.zeros_like(mask)
    whole[around] = enlarge(fine if fine.any() else coarse, image[around].shape[:2])
    whole &= allowed
    for kind, clicked in ((True, points.foreground), (False, points.background)):
        for u, v in clicked:
            whole[int(v), int(u)] = kind
    return touched_parts(whole, points, mask)
