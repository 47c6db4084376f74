"""A tracker from names and settings, as command lines and toolkits give them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import torch

from .checkpoints import load_model
from .initializers import DEFAULT_INITIALIZER, BoxFrom, make_initializer
from .initializers.fusion import Fusion
from .tracker import Tracker
from .types import InputError


def load_tracker(
    preset: str | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str | torch.device = "auto",
    overrides: Iterable[str] = (),
    initializer: str = DEFAULT_INITIALIZER,
    initializer_settings: Mapping[str, Any] | None = None,
    box_from: BoxFrom = "mask",
) -> Tracker:
    """A tracker with its model and initializer on one device.

    preset, weights, device, overrides: as for `load_model`.
    initializer, initializer_settings: as for `make_initializer`.
    box_from: where the boxes of tracked frames come from: the masks' rectangles, or Alpha-Refine ("ar"): the
              initializer's, or else one of its own with the settings `initializer_settings["ar"]`.

    >>> tracker = load_tracker("msdeaot-small", device="cpu", initializer="grabcut")
    >>> tracker.initialize(image, box).boxes.keys()
    dict_keys([1])
    """
    if box_from not in get_args(BoxFrom):
        raise InputError(f"box_from={box_from!r}: choose {' or '.join(get_args(BoxFrom))}")
    model = load_model(preset, weights=weights, device=device, overrides=tuple(overrides))
    where = next(model.parameters()).device
    settings = dict(initializer_settings or {})
    names = initializer.split("+")
    own = box_from == "ar" and "ar" not in names
    of_refiner = settings.pop("ar", {}) if own else {}
    first_masks = make_initializer(initializer, device=where, **settings)
    refiner = None
    if own:
        refiner = make_initializer("ar", device=where, **of_refiner)
    elif box_from == "ar":
        parts = [first_masks.first, first_masks.second] if isinstance(first_masks, Fusion) else [first_masks]
        refiner = parts[names.index("ar")]
    return Tracker(model, initializer=first_masks, box_refiner=refiner)
