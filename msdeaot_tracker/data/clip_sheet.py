"""Clips on one picture, a row each, with their objects outlined."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..images import VOID, palette, write_image
from ..types import InputError
from .augmentation import MaskedClip
from .contact_sheet import draw_mask

_TILE = 232  # pixels
_GAP = 4
_LINE = 20  # pixels of height of a caption
_VOID_COLOUR = (200, 200, 200)
_BACKGROUND = (30, 30, 30)


def write_clip_sheet(path: Path, clips: Iterable[tuple[MaskedClip, str]]) -> None:
    """`clip_sheet` as a file. InputError: no clips."""
    rows = list(clips)
    if not rows:
        raise InputError(f"there is nothing to show on {path}")
    write_image(path, clip_sheet(rows))


def clip_sheet(clips: Iterable[tuple[MaskedClip, str]]) -> np.ndarray:
    """A row for every clip, of all its frames, below a caption -> uint8 [H, W, 3]. Void is grey. At least one clip."""
    rows = [_row(clip, caption) for clip, caption in clips]
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])


def _row(clip: MaskedClip, caption: str) -> np.ndarray:
    length = len(clip.frames)
    row = Image.new("RGB", (length * (_TILE + _GAP), _LINE + _TILE + _GAP), _BACKGROUND)
    ImageDraw.Draw(row).text((4, 2), caption, (255, 255, 255), ImageFont.load_default(14))
    for t, (frame, labels) in enumerate(zip(clip.frames, clip.labels, strict=True)):
        picture = frame.copy()
        for number in np.unique(labels[labels > 0]):
            colour = _VOID_COLOUR if number == VOID else tuple(palette()[number].tolist())
            draw_mask(picture, labels == number, colour)
        row.paste(Image.fromarray(picture).resize((_TILE, _TILE), Image.Resampling.BOX), (t * (_TILE + _GAP), _LINE))
    return np.asarray(row)
