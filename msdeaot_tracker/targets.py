"""What a caller gives to track: ids, boxes and masks checked, boxes turned into masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .geometry import clip_box
from .initializers import Initializer
from .types import Box, InputError, MaskEstimate

Target = Sequence[float] | np.ndarray  # a box (x, y, w, h) or a mask [H, W]


def check_targets(targets: Mapping[int, Target], height: int, width: int) -> dict[int, Box | np.ndarray]:
    """By object id: a Box inside the image, or a mask, bool [H, W].

    InputError: a bad id; a mask that is empty or of another size; a box that `clip_box` refuses.
    """
    return {_check_id(i): _check_target(i, target, height, width) for i, target in targets.items()}


def estimate_masks(
    initializer: Initializer, image: np.ndarray, targets: Mapping[int, Box | np.ndarray]
) -> dict[int, MaskEstimate]:
    """A mask for every checked target, by object id. InputError: the initializer's mask is empty."""
    estimates = {}
    for object_id, target in targets.items():
        given = isinstance(target, np.ndarray)
        estimates[object_id] = MaskEstimate(target, source="given") if given else initializer(image, target)
        if not estimates[object_id].mask.any():
            raise InputError(f"object {object_id}: the mask is empty")
    return estimates


def check_image(image: np.ndarray, expected: tuple[int, int] | None) -> None:
    """InputError unless it is uint8 [H, W, 3], not empty, and of the expected (height, width), if that is known."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"an image is uint8 [H, W, 3] RGB, got {found}")
    if 0 in image.shape:
        raise InputError(f"the image is empty: {image.shape}")
    if expected is not None and image.shape[:2] != expected:
        raise InputError(f"the image is {image.shape[:2]} (height, width), the video's first one {expected}")


def _check_id(object_id: int) -> int:
    """Whole numbers up to what a float32 label map can hold."""
    if isinstance(object_id, bool) or not isinstance(object_id, int | np.integer) or not 1 <= object_id < 2**24:
        raise InputError(f"an object id is a whole number from 1 to {2**24 - 1}, got {object_id!r}")
    return int(object_id)


def _check_target(object_id: int, target: Target, height: int, width: int) -> Box | np.ndarray:
    if not isinstance(target, np.ndarray) or target.ndim != 2:
        return clip_box(target, height, width)
    if target.shape != (height, width):
        raise InputError(f"object {object_id}: mask is {target.shape}, the image {(height, width)}")
    if not target.any():
        raise InputError(f"object {object_id}: the mask is empty")
    return target != 0
