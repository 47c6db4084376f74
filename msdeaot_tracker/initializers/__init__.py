"""From a box on an image to the mask of the object in it.

A new initializer is a module of its own and one entry in INITIALIZERS; modules are imported when first asked for, so
that one which needs an optional package costs nothing to those who do not use it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..types import Box, InputError


class Initializer(Protocol):
    def __call__(self, image: np.ndarray, box: Box) -> np.ndarray:
        """The object's mask, bool [H, W], never empty.

        image: uint8 [H, W, 3] RGB.
        box:   in pixels, inside the image and with an area (`geometry.clip_box` sees to both).
        """
        ...


def _box(**options: Any) -> Initializer:
    from .box import FilledBox

    return FilledBox(**options)


def _grabcut(**options: Any) -> Initializer:
    from .grabcut import GrabCut

    return GrabCut(**options)


INITIALIZERS: dict[str, Callable[..., Initializer]] = {
    "box": _box,
    "grabcut": _grabcut,
}


def make_initializer(name: str, **options: Any) -> Initializer:
    """The initializer of that name; options are the fields of its class. InputError for an unknown name."""
    if name not in INITIALIZERS:
        raise InputError(f"unknown initializer {name!r}; there are: {', '.join(sorted(INITIALIZERS))}")
    return INITIALIZERS[name](**options)
