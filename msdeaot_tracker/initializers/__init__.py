"""From a box on an image to the mask of the object in it.

A new initializer is a module of its own and one entry in INITIALIZERS; modules are imported when first asked for, so
that one which needs an optional package costs nothing to those who do not use it.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, Protocol

import numpy as np
import torch

from ..types import Box, InputError, MaskEstimate


class Initializer(Protocol):
    def __call__(self, image: np.ndarray, box: Box) -> MaskEstimate:
        """The object in the box.

        image: uint8 [H, W, 3] RGB.
        box:   in pixels, inside the image and with an area (`geometry.clip_box` sees to both).
        """
        ...


class BoxRefiner(Protocol):
    """An initializer that remembers how an object looked, and finds its exact box on later frames."""

    def reference(self, image: np.ndarray, box: Box) -> Any:
        """What is remembered of the object in `box`, for `refine`."""
        ...

    def refine(self, image: np.ndarray, box: Box, reference: Any) -> MaskEstimate:
        """The object near `box`; `box` of the estimate is None when there is nothing to be found."""
        ...


def _box() -> type[Initializer]:
    from .box import FilledBox

    return FilledBox


def _grabcut() -> type[Initializer]:
    from .grabcut import GrabCut

    return GrabCut


INITIALIZERS: dict[str, Callable[[], type[Initializer]]] = {
    "box": _box,
    "grabcut": _grabcut,
}


def make_initializer(name: str, *, device: str | torch.device = "auto", **options: Any) -> Initializer:
    """The initializer of that name.

    device:  where its network runs, if it has one; as for `load_model`.
    options: its own settings, the arguments of its class.

    InputError: unknown name or setting. ImportError: it needs an optional package. CheckpointError: its weights.
    """
    if name not in INITIALIZERS:
        raise InputError(f"unknown initializer {name!r}; there are: {', '.join(sorted(INITIALIZERS))}")
    kind = INITIALIZERS[name]()
    settings = set(signature(kind).parameters)
    for option in options:
        if option not in settings - {"device"}:
            known = ", ".join(sorted(settings - {"device"})) or "none"
            raise InputError(f"initializer {name!r} has no setting {option!r}; it has: {known}")
    if "device" in settings:
        options["device"] = device
    return kind(**options)
