"""Many pictures on one: objects close up, with mask, box and a caption each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..geometry import mask_to_box
from ..images import write_image
from ..types import Box, InputError

Colour = tuple[int, int, int]  # RGB
GREEN: Colour = (24, 120, 60)
RED: Colour = (170, 40, 40)
_MASK_COLOUR: Colour = (255, 210, 0)
_BOX_COLOUR: Colour = (255, 255, 255)
_BACKGROUND: Colour = (30, 30, 30)

_PICTURE = (320, 240)  # width, height in pixels
_LINE = 22  # pixels of height per line of a caption
_GAP = 6  # pixels between tiles
_TEXT_SIZE = 15  # pixels
_CONTEXT, _LEAST_CONTEXT = 2.0, 1.1  # sides of what is shown, relative to the object's
_MIN_SIDE = 48  # pixels of the image; smaller objects are shown with more around them


@dataclass(frozen=True)
class Sample:
    """image: uint8 [H, W, 3] RGB. mask: bool [H, W]. box: in pixels. caption: two lines, the first on `colour`."""

    image: np.ndarray
    mask: np.ndarray | None
    box: Box | None
    caption: tuple[str, str]
    colour: Colour


def write_contact_sheet(path: Path, samples: Iterable[Sample], *, columns: int = 4) -> None:
    """Tile the samples in rows, each cut out around its object. Only the tiles are kept in memory.

    InputError: no samples.
    """
    tiles = [_tile(sample) for sample in samples]
    if not tiles:
        raise InputError(f"there is nothing to show on {path}")
    columns = min(columns, len(tiles))
    tiles += [np.full_like(tiles[0], _BACKGROUND)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    write_image(path, np.vstack(rows))


def draw_mask(image: np.ndarray, mask: np.ndarray, colour: Colour = _MASK_COLOUR) -> None:
    """Tint and outline a mask [H, W] on an image [H, W, 3], in place."""
    image[mask] = (0.65 * image[mask] + 0.35 * np.array(colour)).astype(np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for shade, thickness in zip(((0, 0, 0), colour), _line_widths(image), strict=True):
        cv2.drawContours(image, outlines, -1, shade, thickness, cv2.LINE_AA)


def draw_box(image: np.ndarray, box: Box, colour: Colour = _BOX_COLOUR) -> None:
    """Outline a box on an image [H, W, 3], in place."""
    x0, y0, x1, y1 = (round(side) for side in (box.x, box.y, box.x + box.w - 1, box.y + box.h - 1))
    for shade, thickness in zip(((0, 0, 0), colour), _line_widths(image), strict=True):
        cv2.rectangle(image, (x0, y0), (x1, y1), shade, thickness)


def _line_widths(image: np.ndarray) -> tuple[int, int]:
    """Of the dark line below and the bright one above it, which together show on any background."""
    width = max(1, round(min(image.shape[:2]) / 300))
    return 3 * width, width


def _tile(sample: Sample) -> np.ndarray:
    """uint8 [h, w, 3], of the same size for every sample."""
    width, height = _PICTURE
    left, top, right, bottom = _view(sample)
    scale = min(width / (right - left), height / (bottom - top))
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    crop = np.s_[top:bottom, left:right]
    picture = cv2.resize(sample.image[crop], size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    if sample.mask is not None:
        soft = cv2.resize(sample.mask[crop].astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        draw_mask(picture, soft > 0.5)
    if sample.box is not None:
        x, y, w, h = sample.box
        draw_box(picture, Box((x - left) * scale, (y - top) * scale, w * scale, h * scale))
    tile = Image.new("RGB", (width + _GAP, height + 2 * _LINE + _GAP), _BACKGROUND)
    tile.paste(Image.fromarray(picture), ((width - size[0]) // 2, (height - size[1]) // 2))
    draw = ImageDraw.Draw(tile)
    draw.rectangle((0, height, width - 1, height + _LINE - 1), sample.colour)
    font = ImageFont.load_default(_TEXT_SIZE)
    for line, text in enumerate(sample.caption):
        draw.text((5, height + line * _LINE + 2), _shortened(text, font, width - 10), (255, 255, 255), font)
    return np.asarray(tile)


def _view(sample: Sample) -> tuple[int, int, int, int]:
    """Left, top, right, bottom: what is shown: around box and mask, in the picture's shape where there is room."""
    height, width = sample.image.shape[:2]
    shown = [box for box in (sample.box, mask_to_box(sample.mask) if sample.mask is not None else None) if box]
    if not shown:
        return 0, 0, width, height
    x0, y0 = min(box.x for box in shown), min(box.y for box in shown)
    x1, y1 = max(box.x + box.w for box in shown), max(box.y + box.h for box in shown)
    aspect = _PICTURE[0] / _PICTURE[1]
    object_rows = max(y1 - y0, (x1 - x0) / aspect)
    whole = min(height, width / aspect)  # what fills the picture
    rows = max(min(max(_CONTEXT * object_rows, _MIN_SIDE), whole), _LEAST_CONTEXT * object_rows)
    left, right = _span((x0 + x1) / 2, rows * aspect, width)
    top, bottom = _span((y0 + y1) / 2, rows, height)
    return left, top, right, bottom


def _span(centre: float, length: float, limit: int) -> tuple[int, int]:
    """An interval of that length around the centre, moved and shortened until it lies in [0, limit]."""
    length = min(round(length), limit)
    start = min(max(round(centre - length / 2), 0), limit - length)
    return start, start + length


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text with its middle left out, as far as it takes to fit in that many pixels."""
    keep = len(text)
    shown = text
    while keep > 2 and font.getbbox(shown)[2] > width:
        keep -= 1
        shown = f"{text[: (keep + 1) // 2]}...{text[len(text) - keep // 2 :]}"
    return shown
