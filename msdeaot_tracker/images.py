"""Still images and label masks: every entrance reads them here, from a file or as given by a caller."""

from __future__ import annotations

import logging
import os
import struct
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .mask_files import SIXTEEN_BIT, VOID, MaskReading, interpret_foreground, interpret_mask, palette
from .types import InputError

if TYPE_CHECKING:
    import torch

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
MAX_MASK_ID = 255  # what an indexed PNG can hold
_JPEG_QUALITY = 95

# what PIL's decoders raise for files that are damaged
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    struct.error,
    Image.DecompressionBombError,
)

PathLike = str | os.PathLike[str]
ImageLike: TypeAlias = "np.ndarray | torch.Tensor | Image.Image"
logger = logging.getLogger(__name__)


def read_image(path: PathLike) -> np.ndarray:
    """uint8 [H, W, 3] RGB, turned upright as the file's EXIF orientation says.

    Grey is repeated in the three channels, palettes become colours, transparency is ignored (not blended), and the
    upper eight bits of 16-bit values are kept. InputError, naming the file: missing, damaged, not an image, or of
    floating-point values.

    >>> pixels = read_image("clip/00000.png")
    >>> pixels.shape, pixels.dtype
    ((64, 96, 3), dtype('uint8'))
    """
    picture = _open(path)
    try:
        return as_rgb(picture)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def as_rgb(image: ImageLike) -> np.ndarray:
    """uint8 [H, W, 3] RGB, contiguous, of what a caller has for an image; read as a file of the same kind would be.

    image: PIL's; or an array or tensor of 8 or 16 bits (uint8, uint16) that is [H, W, 3], [H, W, 4] with alpha,
    [H, W] or [H, W, 1] grey, or these with the channels first. Channels are taken to be last where both would do.
    InputError: anything else, by its type, dtype and shape.
    """
    if isinstance(image, Image.Image):
        return _rgb_of_pil(image)
    pixels = to_numpy(image)
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"an image is uint8 [H, W, 3] RGB, got {describe(image)}")
    if 0 in pixels.shape:
        raise InputError(f"the image is empty: {pixels.shape}")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4) and pixels.shape[0] in (1, 3, 4):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise InputError(f"an image is uint8 [H, W, 3] RGB, got {describe(image)}")
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    pixels = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    return np.ascontiguousarray(pixels)


def write_image(path: PathLike, image: np.ndarray) -> None:
    """uint8 [H, W, 3] RGB; the suffix of the path chooses the format."""
    options = {"quality": _JPEG_QUALITY} if Path(path).suffix.lower() in (".jpg", ".jpeg") else {}
    Image.fromarray(image).save(path, **options)


def read_mask(path: PathLike) -> np.ndarray:
    """int32 [H, W]: the object ids of a mask file, upright; of one in black and white 0 and 255.

    `interpret_mask` has the rules; what it notes is a warning, once for each folder. InputError, naming the file:
    missing, damaged, a picture, or not to be told.
    """
    labels, notes = read_mask_and_notes(path)
    for note in notes:
        named = _named(os.fspath(Path(path).parent), note)
        if not named:
            logger.warning("mask %s %s", path, note)
            named.append(os.fspath(path))
    return labels


def read_mask_and_notes(path: PathLike) -> MaskReading:
    """`read_mask` for those who tell the notes themselves."""
    image = _open(path)
    try:
        return interpret_mask(image)
    except InputError as error:
        raise InputError(f"{path} {error}") from None


def read_foreground(path: PathLike) -> np.ndarray:
    """int32 [H, W], 1 where a mask file that is known to show one shape is at least half white, or opaque."""
    return interpret_foreground(_open(path)).astype(np.int32)


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


def to_numpy(value: object) -> np.ndarray | None:
    """An array or a tensor as an array; None of anything else."""
    torch = sys.modules.get("torch")  # where there is a tensor it is loaded
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.is_floating_point() else value).numpy()
    return value if isinstance(value, np.ndarray) else None


def describe(value: object) -> str:
    """Type, dtype and shape, for messages."""
    array = to_numpy(value)
    return type(value).__name__ if array is None else f"{array.dtype} {tuple(array.shape)}"


def _rgb_of_pil(image: Image.Image) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise InputError("a floating-point image, whose range is unknown; save it with 8 bits per channel")
    if image.mode == "I" or image.mode in SIXTEEN_BIT:
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise InputError(f"has values from {grey.min()} to {grey.max()}; grey images have 8 or 16 bits here")
        return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))


@lru_cache(maxsize=1024)
def _named(folder: str, note: str) -> list[str]:
    """The mask whose warning speaks for the others of its folder."""
    return []


def _open(path: PathLike) -> Image.Image:
    """A loaded PIL image as it lies in the file, or an InputError that names the file."""
    try:
        image = Image.open(path)
        image.load()
        image.getexif()  # damage in it is damage
    except FileNotFoundError:
        raise InputError(f"image {path} does not exist") from None
    except UnidentifiedImageError:
        raise InputError(f"{path} is not an image, or its beginning is damaged") from None
    except _DECODER_ERRORS as error:
        raise InputError(f"image {path} cannot be read: {error}") from error
    return image
