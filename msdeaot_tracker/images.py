"""Still images and label masks on disk."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .types import InputError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
VOID = 255  # DAVIS and VOC: no label; as the only value of a mask it means the object
MAX_MASK_ID = 255  # what an indexed PNG can hold
_JPEG_QUALITY = 95
_MAX_GREY_LEVELS = 64  # more distinct values in a mask without a palette: a picture, or soft edges

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
PathLike = str | os.PathLike[str]


def read_image(path: PathLike) -> np.ndarray:
    """uint8 [H, W, 3] RGB, turned upright as the file's EXIF orientation says.

    Grey is repeated in the three channels, palettes become colours, transparency is ignored (not blended), and the
    upper eight bits of 16-bit values are kept. InputError, naming the file: missing, damaged, not an image, or of
    floating-point values.
    """
    image = ImageOps.exif_transpose(_open(path))
    if image.mode == "F":
        raise InputError(f"{path} is a floating-point image, whose range is unknown; save it with 8 bits per channel")
    if image.mode == "I" or image.mode in _SIXTEEN_BIT:
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise InputError(f"{path} has values from {grey.min()} to {grey.max()}; grey images have 8 or 16 bits here")
        return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))


def write_image(path: PathLike, image: np.ndarray) -> None:
    """uint8 [H, W, 3] RGB; the suffix of the path chooses the format."""
    options = {"quality": _JPEG_QUALITY} if Path(path).suffix.lower() in (".jpg", ".jpeg") else {}
    Image.fromarray(image).save(path, **options)


def read_mask(path: PathLike) -> np.ndarray:
    """int32 [H, W]: the palette indices or grey levels of a label image, as they are in the file.

    InputError, naming the file: missing, damaged, or a picture in colours.
    """
    image = _open(path)
    if image.mode == "1":
        return np.asarray(image).astype(np.int32)
    if image.mode in ("P", "L", "I", *_SIXTEEN_BIT):
        labels = np.asarray(image).astype(np.int32)
    else:
        channels = np.asarray(image.convert("RGB"))
        if (channels != channels[..., :1]).any():
            raise InputError(f"{path} is a picture in colours, not a mask: save an indexed or a grey-level PNG")
        labels = channels[..., 0].astype(np.int32)
    if image.mode != "P" and (levels := len(np.unique(labels))) > _MAX_GREY_LEVELS:
        raise InputError(f"{path} has {levels} grey levels: a picture or a soft mask, not a map of object ids")
    return labels


def mask_objects(labels: np.ndarray) -> dict[int, np.ndarray]:
    """bool [H, W] by object id. 255 alone makes a binary mask, object 1; beside other ids it is DAVIS' void."""
    ids = [int(i) for i in np.unique(labels) if i != 0]
    if ids == [VOID]:
        return {1: labels == VOID}
    return {i: labels == i for i in ids if i != VOID}


def write_mask(path: PathLike, labels: np.ndarray) -> None:
    """Object ids [H, W] as an indexed PNG in DAVIS' colours. InputError for an id above 255."""
    if labels.size and not 0 <= labels.min() <= labels.max() <= MAX_MASK_ID:
        raise InputError(f"an indexed PNG holds ids up to {MAX_MASK_ID}, got {labels.min()} to {labels.max()}")
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(palette().tobytes())
    image.save(path, format="PNG")


@cache
def palette() -> np.ndarray:
    """uint8 [256, 3] RGB by object id: Pascal VOC's colour map, which DAVIS uses.

    The bits of an id are dealt in turn to red, green and blue, each filled from its highest bit down.
    """
    bits = (np.arange(256)[:, None] >> np.arange(24)) & 1  # [256, 24], lowest first
    channels = bits.reshape(256, 8, 3)
    return (channels << np.arange(7, -1, -1)[:, None]).sum(axis=1).astype(np.uint8)


def _open(path: PathLike) -> Image.Image:
    """A loaded PIL image, or an InputError that names the file."""
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise InputError(f"image {path} does not exist") from None
    except UnidentifiedImageError:
        raise InputError(f"{path} is not an image, or its beginning is damaged") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:  # as PIL's decoders do
        raise InputError(f"image {path} cannot be read: {error}") from error
    return image
