"""Short pictures in motion of what trackers answered, beside the truth: animated WebP, which every browser shows.

Of videos that browsers play, OpenCV's wheels write VP8 and VP9: nine and more times slower, and larger.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..data.datasets.box_types import BoxSequence
from ..images import read_image
from ..types import InputError

TRUTH_COLOUR = (255, 255, 255)
# The page's line colours c0 to c7, as seen on video.
LINE_COLOURS = (
    (57, 135, 229),
    (237, 161, 0),
    (27, 175, 122),
    (227, 73, 72),
    (144, 133, 233),
    (232, 123, 164),
    (235, 104, 52),
    (0, 163, 0),
)
_LONG_EDGE = 480  # pixels
_USUAL_FPS = 30.0  # where they are not known
_MAX_FRAMES = 150  # evenly chosen of a longer sequence: a clip stays below some 4 MB
_QUALITY = 50


def clip_uri(sequence: BoxSequence, answers: Mapping[int, np.ndarray]) -> str:
    """data:image/webp of the frames with the true box in white and answers [N, 4] in the colours of their indices.

    InputError: the sequence has no frames, or one is missing or damaged.
    """
    if not sequence.frames:
        raise InputError(f"{sequence.name}: there are no frames to show")
    chosen = np.unique(np.linspace(0, len(sequence) - 1, _MAX_FRAMES).round().astype(int))
    pictures = [Image.fromarray(_draw(sequence, int(index), answers)) for index in chosen]
    milliseconds = round(1000 / (sequence.fps or _USUAL_FPS) * len(sequence) / len(chosen))
    file = io.BytesIO()
    pictures[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=milliseconds,
        loop=0,
        quality=_QUALITY,
        method=0,
    )
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _draw(sequence: BoxSequence, index: int, answers: Mapping[int, np.ndarray]) -> np.ndarray:
    image = read_image(Path(sequence.frames[index]))
    scale = min(1.0, _LONG_EDGE / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    image = np.ascontiguousarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    for colour, boxes in answers.items():
        _rectangle(image, boxes[index] * scale, LINE_COLOURS[colour % len(LINE_COLOURS)], 2)
    _rectangle(image, sequence.boxes[index] * scale, TRUTH_COLOUR, 1)
    cv2.putText(image, str(index), (6, size[1] - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(image, str(index), (6, size[1] - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, TRUTH_COLOUR, 1, cv2.LINE_AA)
    return image


def _rectangle(image: np.ndarray, box: np.ndarray, colour: tuple[int, int, int], thickness: int) -> None:
    """With a dark rim, to be seen on any picture; nothing for an absent object."""
    if np.isnan(box).any():
        return
    x, y, w, h = box.clip(-1e4, 1e4).round().astype(int).tolist()
    for line, width in (((0, 0, 0), thickness + 2), (colour, thickness)):
        cv2.rectangle(image, (x, y), (x + w - 1, y + h - 1), line, width)
