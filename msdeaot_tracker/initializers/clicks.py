"""Clicks on a picture: as seeds of a graph cut, and as what a mask has to obey."""

from __future__ import annotations

import cv2
import numpy as np

from ..types import Points

_DOT = 0.01  # radius of what a click makes certain, as a part of the picture's shorter side


def obeyed(mask: np.ndarray, points: Points) -> float:
    """Share of the clicks that a mask, bool [H, W], has on their side, in [0, 1]; 1 without any."""
    right = [bool(mask[int(y), int(x)]) for x, y in points.foreground]
    right += [not mask[int(y), int(x)] for x, y in points.background]
    return sum(right) / len(right) if right else 1.0


def discs(clicks: tuple[tuple[float, float], ...], shape: tuple[int, int], radius: float) -> np.ndarray:
    """bool [h, w]: what is within `radius` pixels of a click, its own pixel at least."""
    drawn = np.zeros(shape, np.uint8)
    for x, y in clicks:
        cv2.circle(drawn, (int(x), int(y)), max(int(radius), 0), 1, cv2.FILLED)
    return drawn > 0


def place_clicks(points: Points, left: float, top: float, scale: float, shape: tuple[int, int]) -> Points:
    """The clicks in the pixels of a crop [h, w] that begins at (left, top) and is scaled; those outside are dropped."""
    rows, columns = shape
    moved = (
        tuple(((x - left) * scale, (y - top) * scale) for x, y in clicks)
        for clicks in (points.foreground, points.background)
    )
    return Points(*(tuple((x, y) for x, y in c if 0 <= x < columns and 0 <= y < rows) for c in moved))


def plant(seeds: np.ndarray, points: Points) -> np.ndarray:
    """uint8 [h, w] of GC_* with the clicks, in its pixels, as certain; where both are near, the nearer one counts."""
    planted, radius = seeds.copy(), _DOT * min(seeds.shape)
    on, off = discs(points.foreground, seeds.shape, radius), discs(points.background, seeds.shape, radius)
    planted[on & ~off], planted[off & ~on] = cv2.GC_FGD, cv2.GC_BGD
    for clicks, label in ((points.foreground, cv2.GC_FGD), (points.background, cv2.GC_BGD)):
        planted[discs(clicks, seeds.shape, 0)] = label
    return planted


def touched_parts(mask: np.ndarray, points: Points, before: np.ndarray | None = None) -> np.ndarray:
    """bool [h, w]: the 8-connected parts of a mask that a foreground click lies in, or that were there for the most."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    kept = {parts[int(y), int(x)] for x, y in points.foreground}
    if before is not None:
        areas = np.bincount(parts.ravel(), minlength=count)
        kept |= set(np.flatnonzero(2 * np.bincount(parts[before], minlength=count) > areas).tolist())
    return np.isin(parts, sorted(kept - {0}))
