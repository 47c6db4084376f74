"""What a caller gives to track: images, ids, boxes and masks checked, boxes turned into masks."""

from __future__ import annotations

import logging
import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from PIL import Image

from .geometry import clip_box, mask_to_box
from .images import ImageLike, as_rgb, describe, mask_objects, to_numpy
from .initializers import Initializer, PointInitializer
from .mask_files import float_mask, interpret_mask
from .types import Box, InputError, MaskEstimate, Points

MaskLike = ImageLike  # as `as_mask` takes them
Target: TypeAlias = "Sequence[float] | MaskLike | Points"  # a box (x, y, w, h), a mask or clicks
Checked: TypeAlias = "Box | np.ndarray | Points"  # the same as `check_targets` leaves it
logger = logging.getLogger(__name__)


def check_targets(targets: Mapping[int, Target], height: int, width: int) -> dict[int, Checked]:
    """By object id: a Box inside the image, a mask, bool [H, W], or Points of tuples, a Box and a bool mask.

    InputError: a bad id; a mask that `as_mask`, a box that `clip_box` or points that `check_points` refuses.
    """
    return {_check_id(i): _check_target(i, target, height, width) for i, target in targets.items()}


def estimate_masks(
    initializer: Initializer, image: np.ndarray, targets: Mapping[int, Checked], labels: np.ndarray
) -> dict[int, MaskEstimate]:
    """A mask for every checked target, by object id.

    labels: int [H, W], what is known of the frame's objects before: clicks correct it.
    InputError: the initializer's mask is empty, or it takes no points.
    """
    estimates = {}
    for object_id, target in targets.items():
        if isinstance(target, np.ndarray):
            estimates[object_id] = MaskEstimate(target, source="given")
        elif isinstance(target, Points):
            estimates[object_id] = from_points(initializer, image, _with_mask(target, labels == object_id))
        else:
            estimates[object_id] = initializer(image, target)
        if not estimates[object_id].mask.any():
            raise InputError(f"object {object_id}: the mask is empty")
    return estimates


def from_points(initializer: Initializer, image: np.ndarray, points: Points) -> MaskEstimate:
    """The mask that an initializer makes of checked points. InputError: it takes boxes alone."""
    return taking_points(initializer).from_points(image, points)


def taking_points(initializer: Initializer) -> PointInitializer:
    """The same. InputError: it takes boxes alone."""
    if not isinstance(initializer, PointInitializer):
        name = type(initializer).__name__
        raise InputError(
            f"initializer {name} makes masks of boxes, not of points; grabcut, lite, sam and sam-hf take points"
        )
    return initializer


def check_points(points: Points, height: int, width: int) -> Points:
    """The same as tuples of floats, a Box and a bool mask [H, W].

    InputError: a point that is not two finite numbers or lies outside the image, one pixel that is clicked as both,
    nothing that shows where the object is, or a box or mask that cannot be used.
    """
    foreground, background = (
        tuple(_check_point(point, kind, height, width) for point in clicks)
        for kind, clicks in (("foreground", points.foreground), ("background", points.background))
    )
    for x, y in foreground:
        if (int(x), int(y)) in {(int(u), int(v)) for u, v in background}:
            raise InputError(f"the pixel at ({x:g}, {y:g}) is both foreground and background")
    box = None if points.box is None else clip_box(points.box, height, width)
    mask = None if points.mask is None else as_mask(points.mask, height, width)
    return Points(foreground, background, box, mask)


def check_image(image: ImageLike, expected: tuple[int, int] | None) -> np.ndarray:
    """uint8 [H, W, 3] RGB of what `as_rgb` takes, of the expected (height, width), if that is known. InputError."""
    pixels = as_rgb(image)
    if expected is not None and pixels.shape[:2] != expected:
        raise InputError(f"the image is {pixels.shape[:2]} (height, width), the video's first one {expected}")
    return pixels


def as_mask(target: MaskLike, height: int, width: int) -> np.ndarray:
    """bool [H, W], not empty, of what a caller has for a mask.

    target: an array or tensor [H, W], [1, H, W] or [H, W, 1] of bool, of integers that are 0 and one other value above
    it, or of floating-point values in [0, 1], of which 0.5 and more is the object; or a PIL image, which is read as a
    file would be and has one object. InputError: anything else; an empty mask; one of another size than the image.
    """
    if isinstance(target, Image.Image):
        return _mask_of_pil(target, height, width)
    values = to_numpy(target)
    if values.shape not in ((height, width), (1, height, width), (height, width, 1)):
        raise InputError(f"mask is {describe(target)}, the image {(height, width)}")
    values = values.reshape(height, width)
    if values.dtype == bool:
        mask = values
    elif values.dtype.kind == "f":
        mask = float_mask(values)
    elif values.dtype.kind in "iu":
        mask = _integer_mask(values)
    else:
        raise InputError(f"a mask is of bool, integers or floating-point values, got {describe(target)}")
    if not mask.any():
        raise InputError("the mask is empty" + ("" if values.dtype == bool or not values.any() else ": all below 0.5"))
    return np.ascontiguousarray(mask)


def warn_of_hidden(labels: np.ndarray, given: Mapping[int, MaskEstimate], tracked: Iterable[int]) -> None:
    """Name the objects that have no pixel left on this frame, since objects that were given lie over them.

    labels: int [H, W], the frame's final ids. tracked: objects that were visible before.
    """
    if not given:
        return
    present = set(np.unique(labels).tolist())
    for object_id in sorted({*given, *tracked} - present):
        over = [i for i in np.unique(labels[given[object_id].mask]) if i] if object_id in given else list(given)
        names = " and ".join(map(str, over))
        logger.warning(
            "object %d has the same pixels as object %s, which lies over it: it is lost on this frame", object_id, names
        )


def _check_id(object_id: int) -> int:
    """Whole numbers up to what a float32 label map can hold."""
    if isinstance(object_id, bool) or not isinstance(object_id, int | np.integer) or not 1 <= object_id < 2**24:
        raise InputError(f"an object id is a whole number from 1 to {2**24 - 1}, got {object_id!r}")
    return int(object_id)


def _check_point(point: Sequence[float], kind: str, height: int, width: int) -> tuple[float, float]:
    try:
        x, y = map(float, [] if isinstance(point, str | bytes) else point)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is torch's
        raise InputError(f"a {kind} point is two numbers (x, y), got {reprlib.repr(point)}") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise InputError(f"{kind} point ({x:g}, {y:g}) is not finite")
    if not (0 <= x < width and 0 <= y < height):
        raise InputError(f"{kind} point ({x:g}, {y:g}) lies outside the image of {width}x{height} pixels")
    return x, y


def _with_mask(points: Points, last: np.ndarray) -> Points:
    """With what they correct, bool [H, W], unless they bring a mask or mean something elsewhere.

    InputError: nothing shows where the object is.
    """
    rectangle = mask_to_box(last)
    if points.mask is None and rectangle is not None:
        x, y, w, h = rectangle
        if not points.foreground or any(x <= u < x + w and y <= v < y + h for u, v in points.foreground):
            points = replace(points, mask=last)
    if not points.foreground and points.box is None and points.mask is None:
        raise InputError("points need one in the foreground, or a box, to show where the object is")
    return points


def _check_target(object_id: int, target: Target, height: int, width: int) -> Checked:
    if isinstance(target, Points):
        try:
            return check_points(target, height, width)
        except InputError as error:
            raise InputError(f"object {object_id}: {error}") from None
    array = to_numpy(target)
    if isinstance(target, Image.Image) or (array is not None and array.ndim > 1):
        try:
            return as_mask(target, height, width)
        except InputError as error:
            raise InputError(f"object {object_id}: {error}") from None
    return clip_box(target, height, width)


def _integer_mask(values: np.ndarray) -> np.ndarray:
    others = [value for value in np.unique(values).tolist() if value != 0]
    if len(others) > 1 or (others and others[0] < 0):
        shown = ", ".join(map(str, others[:4])) + (", ..." if len(others) > 4 else "")
        raise InputError(
            f"a mask of integers holds 0 and one other value above it, got {shown}"
            + ("" if others[0] < 0 else "; of a map of several objects take `labels == id` for each")
        )
    return values != 0


def _mask_of_pil(image: Image.Image, height: int, width: int) -> np.ndarray:
    try:
        labels, notes = interpret_mask(image)
    except InputError as error:
        raise InputError(f"the mask {error}") from None
    if labels.shape != (height, width):
        raise InputError(f"mask is {labels.shape}, the image {(height, width)}")
    for note in notes:
        logger.warning("a mask %s", note)
    objects = mask_objects(labels)
    if len(objects) != 1:
        raise InputError(
            f"the mask shows {len(objects)} objects {list(objects)[:4]}: give each its own"
            if objects
            else "the mask is empty"
        )
    return next(iter(objects.values()))
