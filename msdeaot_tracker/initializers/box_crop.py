"""The crop around a box that a network from boxes to masks sees, there and back."""

from __future__ import annotations

import cv2
import numpy as np

from ..types import Box

CROP = 209  # pixels, both sides; 16k+1
CONTEXT = 1.7  # the crop's side by the longer side of the box
GREY = (127, 127, 127)  # RGB outside the image
_LEAST = 4.0  # pixels of the image that a crop's side has at least


def crop_side(box: Box) -> float:
    """In pixels of the image."""
    return max(CONTEXT * max(box.w, box.h), _LEAST)


def into_crop(box: Box, size: int = CROP) -> np.ndarray:
    """float64 [2, 3]: from indices (column, row) of the image's pixels to those of the crop's.

    The centres of the crop's first and last pixels are `crop_side` apart, the box is in the middle.
    """
    scale = (size - 1) / crop_side(box)
    centre = np.array([box.x + box.w / 2, box.y + box.h / 2]) - 0.5
    return np.column_stack([scale * np.eye(2), (size - 1) / 2 - scale * centre])


def warp(picture: np.ndarray, matrix: np.ndarray, rows: int, columns: int, fill: float | tuple) -> np.ndarray:
    """[H, W] or [H, W, C] under a similarity `matrix` [2, 3] (from old to new indices) -> [rows, columns(, C)].

    Reduced without aliasing, enlarged smoothly; `fill` lies outside the picture.
    """
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if scale >= 1:
        return cv2.warpAffine(picture, matrix, (columns, rows), flags=cv2.INTER_CUBIC, borderValue=fill)
    window, left, top = _needed(picture, matrix, rows, columns, margin=int(4 / scale) + 2)
    moved = np.array(matrix, float)
    moved[:, 2] += moved[:, :2] @ (left, top)
    smooth = cv2.GaussianBlur(window, (0, 0), 0.5 * np.sqrt(scale**-2 - 1) + 1e-3, borderType=cv2.BORDER_REPLICATE)
    return cv2.warpAffine(smooth, moved, (columns, rows), flags=cv2.INTER_LINEAR, borderValue=fill)


def _needed(
    picture: np.ndarray, matrix: np.ndarray, rows: int, columns: int, margin: int
) -> tuple[np.ndarray, int, int]:
    """The part that shows, with a margin in pixels, and where it begins: column, row."""
    corners = np.array([[0, 0, 1], [columns, 0, 1], [0, rows, 1], [columns, rows, 1]])
    back = corners @ cv2.invertAffineTransform(np.array(matrix, float)).T
    height, width = picture.shape[:2]
    left, top = (int(v) for v in np.clip(np.floor(back.min(axis=0)) - margin, 0, (width - 1, height - 1)))
    right, bottom = (int(v) for v in np.clip(np.ceil(back.max(axis=0)) + margin, (left + 1, top + 1), (width, height)))
    return picture[top:bottom, left:right], left, top
