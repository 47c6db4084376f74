"""A frame as the page shows it."""

from __future__ import annotations

import re
from dataclasses import replace

import cv2
import numpy as np

from ..overlay import draw_overlay
from ..types import Box, InputError
from .marks import Point
from .session import Session

LONG_EDGE = (960, 1280)  # pixels, at least and at most, of what is sent: the browser shows it no larger than it is
_GREEN, _RED, _WHITE, _BLACK = (0, 200, 0), (230, 0, 0), (255, 255, 255), (0, 0, 0)


def picture(session: Session, index: int, *, marks: bool = True) -> np.ndarray:
    """uint8 [h, w, 3], `scale_of` the frame, with masks, boxes and, in green and red, what was clicked."""
    scale, result = scale_of(session), session.result(index)
    image = cv2.resize(session.frames.image(index), None, fx=scale, fy=scale, interpolation=_smooth(scale))
    labels = cv2.resize(result.labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    boxes = {i: box and Box(*(scale * side for side in box)) for i, box in result.boxes.items()}
    drawn = draw_overlay(image, replace(result, labels=labels, boxes=boxes), paints=session.paints)
    if marks:
        for mark in session.marks(index).values():
            for click in mark.clicks:
                _dot(drawn, click.point, scale, _GREEN if click.foreground else _RED)
        corner = session.pending_corner(index)
        if corner is not None:
            _dot(drawn, corner, scale, _WHITE)
    return drawn


def scale_of(session: Session) -> float:
    """Pixels of the picture for one of the frame."""
    edge, (least, most) = max(session.frames.size), LONG_EDGE
    return min(max(edge, least), most) / edge


def _smooth(scale: float) -> int:
    return cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR


def parse_colour(text: str) -> tuple[int, int, int]:
    """RGB of what a colour picker sends: #rrggbb, rgb(...) or rgba(...). InputError: anything else."""
    if match := re.fullmatch("#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text):
        return tuple(int(part, 16) for part in match.groups())
    numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]
    if text.startswith("rgb") and len(numbers) >= 3 and max(numbers[:3]) <= 255:
        return tuple(round(number) for number in numbers[:3])
    raise InputError(f"{text!r} is no colour")


def _dot(image: np.ndarray, point: Point, scale: float, colour: tuple[int, int, int]) -> None:
    radius = max(3, round(max(image.shape[:2]) / 120))
    place = tuple(round(side * scale) for side in point)
    cv2.circle(
        image, place, radius + max(1, radius // 3), _WHITE if colour != _WHITE else _BLACK, cv2.FILLED, cv2.LINE_AA
    )
    cv2.circle(image, place, radius, colour, cv2.FILLED, cv2.LINE_AA)
