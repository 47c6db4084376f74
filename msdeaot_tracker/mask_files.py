"""What a decoded mask file says, in whichever way its shapes were saved: ids, black and white, alpha or palette."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps

from .types import InputError

VOID = 255  # DAVIS and VOC: no label; as the only value of a mask it means the object

SOFT = "has soft edges: what is at least half white is the object"
INVERTED = "shows an object on the whole border and most of the frame: is it inverted?"
ALPHA = "is read by its alpha channel: what is transparent is background"
PALETTE = "has an adaptive palette: it is read by colour, black is background"

SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_LOSSY = ("JPEG", "MPO", "WEBP")
_NEAR = 16  # levels: this close to black or white is an end
_PILED = 0.5  # of the pixels are at the ends, where a mask is black and white with soft edges
_FEW_LEVELS, _MANY_LEVELS = 8, 64
_LOSSY_SPREAD = 40  # levels by which compression parts the channels of a grey picture
_PICTURE = "a picture in colours, not a mask: save an indexed or a grey-level PNG"


class MaskReading(NamedTuple):
    labels: np.ndarray  # int32 [H, W]: object ids; 0 and 255 of a mask in black and white
    notes: tuple[str, ...] = ()  # of the kinds above: what was done to read it, or looks wrong


def interpret_mask(image: Image.Image) -> MaskReading:
    """The labels of a loaded image, upright as its EXIF orientation says.

    InputError, without the name of the file: it is a picture, or what it shows cannot be told.

    Indices and grey levels are ids, if they lie in areas. Levels that pile up at black and white, with blended ones
    between, are one shape with soft edges. The alpha channel counts where the colours of what is opaque are all one;
    colours count where the palette's index 0 is not black.
    """
    lossy = image.format in _LOSSY
    image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA"):
        reading = _read_alpha(np.asarray(image.convert("RGBA")), lossy)
    elif image.mode == "P":
        reading = _read_palette(image)
    elif image.mode == "1":
        reading = MaskReading(np.asarray(image).astype(np.int32))
    elif image.mode == "F":
        reading = MaskReading(float_mask(np.asarray(image)) * np.int32(VOID))
    elif image.mode in ("L", "I", *SIXTEEN_BIT):
        reading = _read_levels(np.asarray(image).astype(np.int32), lossy)
    else:
        reading = _read_colours(np.asarray(image.convert("RGB")), lossy)
    return _note_inverted(reading)


def interpret_foreground(image: Image.Image) -> np.ndarray:
    """bool [H, W] of a loaded image that is known to show one shape in white, or opaque: the half that is more so."""
    image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA"):
        pixels = np.asarray(image.convert("RGBA"))
        if _is_alpha_shape(pixels):
            return pixels[..., 3] >= 128
    if image.mode == "I" or image.mode in SIXTEEN_BIT:
        return np.asarray(image) >= 1 << 15
    return np.asarray(image.convert("RGB"))[..., 0] >= 128


def float_mask(values: np.ndarray) -> np.ndarray:
    """bool [H, W]: probabilities of at least 0.5. InputError: NaN, or values outside [0, 1]."""
    if np.isnan(values).any():
        raise InputError("a mask of floating-point values must not hold NaN")
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise InputError(
            f"a mask of floating-point values lies in [0, 1], got {values.min():g} to {values.max():g} "
            "(of logits take the sigmoid; of 0 to 255, uint8)"
        )
    return values >= 0.5


def _read_levels(levels: np.ndarray, lossy: bool) -> MaskReading:
    """int32 [H, W] grey levels of 8 or 16 bits."""
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high > 0xFFFF:
        raise InputError(f"holds values from {low} to {high}; a mask has ids or grey levels from 0 to {0xFFFF}")
    white = 0xFF if high <= 0xFF else 0xFFFF
    present = np.unique(levels)
    if set(present.tolist()) <= {0, white}:
        return MaskReading(np.where(levels == white, VOID, 0).astype(np.int32))
    kind = _kind((levels >> 8 if white > 0xFF else levels).astype(np.uint8), lossy)
    if kind == "soft":
        return MaskReading(np.where(levels > white // 2, VOID, 0).astype(np.int32), (SOFT,))
    if kind == "picture":
        raise InputError(
            f"has {len(present)} grey levels from {low} to {high} that blend into each other: a picture, "
            "or soft edges between several objects; masks are resized without interpolation, and saved as PNG"
        )
    return MaskReading(levels)


def _kind(levels: np.ndarray, lossy: bool) -> str:
    """Of uint8 [H, W] levels that are not black and white alone: "ids", "soft" (one shape) or "picture".

    Told by the pixels between the ends: those of ids lie in areas of one level, those of soft edges and pictures lie
    between a darker and a brighter neighbour. lossy: from a compressed file, which has no ids.
    """
    flat = _in_areas(levels)
    kernel = np.ones((3, 3), np.uint8)
    blended = ~flat & (levels > cv2.erode(levels, kernel)) & (levels < cv2.dilate(levels, kernel))
    dark, bright = levels < _NEAR, levels >= 256 - _NEAR
    middle = ~dark & ~bright
    noise_at_both_ends = np.unique(levels[dark]).size > 2 and np.unique(levels[bright]).size > 1
    only_ends = np.count_nonzero(middle) < 4
    looked_at = (levels > 0) & (levels < 255) if only_ends else middle
    if not looked_at.any():
        return "ids"
    piled = not middle.mean() > 1 - _PILED and (flat & bright).any()
    if piled and (lossy or blended[looked_at].mean() > 0.5 or (only_ends and noise_at_both_ends)):
        return "soft"
    return "picture" if lossy or _is_picture(levels, flat, looked_at) else "ids"


def _is_picture(levels: np.ndarray, flat: np.ndarray, looked_at: np.ndarray) -> bool:
    """Many levels and few areas of one; or narrow areas with small steps between, as in what was blurred widely."""
    count = np.unique(levels).size
    in_areas = flat[looked_at].mean()
    if (count > _FEW_LEVELS and in_areas < 0.3) or (count > _MANY_LEVELS and in_areas < 0.6):
        return True
    kernel, below_top = np.ones((5, 5), np.uint8), looked_at & (levels < levels.max())
    wide = cv2.erode(levels, kernel) == cv2.dilate(levels, kernel)
    if count <= _FEW_LEVELS or not below_top.any() or wide[below_top].mean() > 0.1:
        return False
    steps = np.concatenate([np.abs(np.diff(levels.astype(np.int16), axis=axis)).ravel() for axis in (0, 1)])
    steps = steps[steps > 0]
    return bool((steps <= max(1, int(levels.max()) // 8)).mean() > 0.85)


def _in_areas(levels: np.ndarray) -> np.ndarray:
    """bool [H, W]: in a square of 2x2 pixels of one level."""
    rows = levels[:-1] == levels[1:]
    columns = levels[:, :-1] == levels[:, 1:]
    corner = rows[:, :-1] & rows[:, 1:] & columns[:-1]
    padded = np.pad(corner, 1)
    return padded[1:, 1:] | padded[:-1, 1:] | padded[1:, :-1] | padded[:-1, :-1]


def _read_palette(image: Image.Image) -> MaskReading:
    indices = np.asarray(image).astype(np.int32)
    colours = np.zeros((256, 3), np.uint8)
    given = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    colours[: len(given)] = given
    used = np.unique(indices)
    nothing_said = used[-1] >= len(given) or not colours[used].any()
    if nothing_said or (colours[used] == palette()[used]).all():
        return MaskReading(indices)
    pixels = colours[indices]
    is_grey = (pixels == pixels[..., :1]).all()
    if is_grey and _kind(pixels[..., 0], False) != "ids":
        return _read_levels(pixels[..., 0].astype(np.int32), False)
    if used.size > _FEW_LEVELS and _in_areas(indices)[indices > 0].mean() < (0.3 if used.size <= _MANY_LEVELS else 0.6):
        raise InputError(f"uses {used.size} colours of a palette, scattered over the frame: a picture, not a mask")
    if not colours[0].any() or used.tolist() == [0]:
        return MaskReading(indices)
    if colours[used].any(axis=1).all():
        border = np.concatenate([indices[0], indices[-1], indices[:, 0], indices[:, -1]])
        if (border == 0).mean() > 0.5:  # the usual order, in unusual colours
            return MaskReading(indices)
        raise InputError(
            f"has a palette whose index 0 is {tuple(colours[0].tolist())}, and no pixel is black: "
            "which of its colours is background cannot be told; save it with a black background"
        )
    reading = _read_colours(pixels, False)
    return reading._replace(notes=(PALETTE, *reading.notes))


def _read_alpha(pixels: np.ndarray, lossy: bool) -> MaskReading:
    """uint8 [H, W, 4]."""
    alpha = pixels[..., 3]
    if alpha.min() == alpha.max():
        return _read_colours(pixels[..., :3], lossy)
    opaque = alpha >= 128
    if _is_alpha_shape(pixels):
        soft = (SOFT,) if ((alpha >= _NEAR) & (alpha < 256 - _NEAR)).any() else ()
        return MaskReading(np.where(opaque, VOID, 0).astype(np.int32), (ALPHA, *soft))
    reading = _read_colours(pixels[..., :3] * opaque[..., None], lossy)
    return reading._replace(notes=(ALPHA, *reading.notes))


def _is_alpha_shape(pixels: np.ndarray) -> bool:
    """Whether uint8 [H, W, 4] RGBA has transparent pixels, and what is opaque has one colour."""
    alpha = pixels[..., 3]
    solid = pixels[alpha >= max(alpha.max() - _NEAR, 1)][:, :3]
    return bool(alpha.min() < alpha.max() and (solid == solid[0]).all())


def _read_colours(pixels: np.ndarray, lossy: bool) -> MaskReading:
    """uint8 [H, W, 3]: grey, or black and one other colour, or the colours of the DAVIS palette."""
    spread = int((pixels.max(axis=-1) - pixels.min(axis=-1)).max())
    if spread <= (_LOSSY_SPREAD if lossy else 0):
        return _read_levels(pixels[..., 1].astype(np.int32), lossy)
    codes = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    present, labels = np.unique(codes, return_inverse=True)
    if lossy or present.size > 256 or present[0] != 0:
        raise InputError(f"is {_PICTURE}")
    if present.size == 2 and not np.isin(present, _davis_codes()).all():
        return MaskReading(labels.reshape(codes.shape).astype(np.int32))
    order = np.argsort(_davis_codes())
    found = order[np.searchsorted(_davis_codes(), present, sorter=order).clip(max=255)]
    if (_davis_codes()[found] != present).any():
        raise InputError(f"is {_PICTURE}")
    return MaskReading(found[labels].reshape(codes.shape).astype(np.int32))


def _note_inverted(reading: MaskReading) -> MaskReading:
    inside = reading.labels > 0
    border = all(edge.all() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
    if border and 0.5 < inside.mean() < 1 and np.unique(reading.labels).size == 2:
        return reading._replace(notes=(*reading.notes, INVERTED))
    return reading


def palette() -> np.ndarray:
    """uint8 [256, 3] RGB by object id: Pascal VOC's colour map, which DAVIS uses.

    The bits of an id are dealt in turn to red, green and blue, each filled from its highest bit down.
    """
    bits = (np.arange(256)[:, None] >> np.arange(24)) & 1  # [256, 24], lowest first
    channels = bits.reshape(256, 8, 3)
    return (channels << np.arange(7, -1, -1)[:, None]).sum(axis=1).astype(np.uint8)


def _davis_codes() -> np.ndarray:
    """int32 [256]: the palette's colours as 0xRRGGBB, by id."""
    return palette().astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
