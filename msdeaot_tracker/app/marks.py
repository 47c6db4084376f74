"""What was clicked and drawn for an object on a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..types import Box, InputError, Points

Point = tuple[float, float]  # x, y in pixels


@dataclass(frozen=True)
class Click:
    point: Point
    foreground: bool


@dataclass(frozen=True)
class Mark:
    """Of one object on one frame: what was done, in order, and the mask that came of it.

    mask: bool [H, W], packed to an eighth.
    """

    steps: tuple[Click | Box, ...]
    mask: np.ndarray
    source: str
    confidence: float | None

    @property
    def clicks(self) -> tuple[Click, ...]:
        return tuple(step for step in self.steps if isinstance(step, Click))


def target_of(steps: tuple[Click | Box, ...], last: np.ndarray | None) -> Box | Points:
    """What a tracker is given: the box drawn last and the clicks since; or clicks that correct the mask `last` [H, W].

    A box starts anew: what was done or tracked before it does not count.
    """
    drawn = max((number for number, step in enumerate(steps) if isinstance(step, Box)), default=None)
    box, clicks = (None, steps) if drawn is None else (steps[drawn], steps[drawn + 1 :])
    if box is not None and not clicks:
        return box
    on, beside = ([click.point for click in clicks if click.foreground is side] for side in (True, False))
    return Points(on, beside, box, last if box is None else None)


def unpack(mark: Mark, size: tuple[int, int]) -> np.ndarray:
    """bool [H, W]."""
    height, width = size
    return np.unpackbits(mark.mask, count=height * width).astype(bool).reshape(size)


def box_of_corners(first: Point, second: Point) -> Box:
    """InputError: no area between them."""
    (x0, x1), (y0, y1) = (sorted(pair) for pair in zip(first, second, strict=True))
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise InputError("the corners of a box are at least a pixel apart, across and down")
    return Box(x0, y0, x1 - x0, y1 - y0)
