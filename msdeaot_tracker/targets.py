"""What a caller gives to track: ids, boxes and masks checked, boxes turned into masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .geometry import clip_box
from .initializers import Initializer
from .types import InputError, MaskEstimate

Target = Sequence[float] | np.ndarray  # a box (x, y, w, h) or a mask [H, W]


def estimate_masks(
    initializer: Initializer, image: np.ndarray, targets: Mapping[int, Target]
) -> dict[int, MaskEstimate]:
    """A mask for every target, by object id. InputError: a bad id, box or mask."""
    return {check_id(i): _estimate_mask(initializer, image, i, target) for i, target in targets.items()}


def check_id(object_id: int) -> int:
    """As an int; InputError unless it is a whole number that a float32 label map can hold."""
    if isinstance(object_id, bool) or not isinstance(object_id, int | np.integer) or not 1 <= object_id < 2**24:
        raise InputError(f"an object id is a whole number from 1 to {2**24 - 1}, got {object_id!r}")
    return int(object_id)


def check_image(image: np.ndarray, expected: tuple[int, int] | None) -> None:
    """InputError unless it is uint8 [H, W, 3], not empty, and of the expected (height, width), if that is known."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"an image is uint8 [H, W, 3] RGB, got {found}")
    if 0 in image.shape:
        raise InputError(f"the image is empty: {image.shape}")
    if expected is not None and image.shape[:2] != expected:
        raise InputError(f"the image is {image.shape[:2]} (height, width), the video's first one {expected}")


def is_mask(target: Target) -> bool:
    return isinstance(target, np.ndarray) and target.ndim == 2


def _estimate_mask(initializer: Initializer, image: np.ndarray, object_id: int, target: Target) -> MaskEstimate:
    height, width = image.shape[:2]
    if is_mask(target):
        if target.shape != (height, width):
            raise InputError(f"object {object_id}: mask is {target.shape}, the image {(height, width)}")
        estimate = MaskEstimate(target != 0, source="given")
    else:
        estimate = initializer(image, clip_box(target, height, width))
    if not estimate.mask.any():
        raise InputError(f"object {object_id}: the mask is empty")
    return estimate
