"""From a box on an image to the mask of the object in it.

A new initializer is a module of its own and one entry in INITIALIZERS; modules are imported when first asked for, so
that one which needs an optional package costs nothing to those who do not use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

from ..types import Box, InputError, MaskEstimate, Points
from ..words import did_you_mean

if TYPE_CHECKING:
    import torch

DEFAULT_INITIALIZER = "lite"
BoxFrom = Literal["mask", "ar"]  # where the boxes of tracked frames come from


class Initializer(Protocol):
    """Anything that makes a mask of a box: what `Tracker(initializer=...)` takes, beside the name of one.

    >>> def left_half(image, box):
    ...     mask = np.zeros(image.shape[:2], bool)
    ...     mask[int(box.y) : int(box.y + box.h), int(box.x) : int(box.x + box.w / 2)] = True
    ...     return MaskEstimate(mask, source="left half")
    >>> Tracker(load_model("msdeaot-small"), initializer=left_half).initialize(image, box).estimates[1].source
    'left half'
    """

    def __call__(self, image: np.ndarray, box: Box) -> MaskEstimate:
        """The object in the box.

        image: uint8 [H, W, 3] RGB.
        box:   in pixels, inside the image and with an area (`geometry.clip_box` sees to both).
        """
        ...


@runtime_checkable
class PointInitializer(Protocol):
    """An initializer that takes clicks as well."""

    def from_points(self, image: np.ndarray, points: Points) -> MaskEstimate:
        """The object that the clicks mean, or the mask that comes with them corrected.

        image:  uint8 [H, W, 3] RGB.
        points: as `targets.check_points` leaves them; at least one foreground point, a box or a mask.
        """
        ...


@runtime_checkable
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


def _sam() -> type[Initializer]:
    from .sam import SegmentAnything

    return SegmentAnything


def _sam_hf() -> type[Initializer]:
    from .sam_hf import SegmentAnythingHF

    return SegmentAnythingHF


def _alpha_refine() -> type[Initializer]:
    from .alpha_refine import AlphaRefine

    return AlphaRefine


def _lite() -> type[Initializer]:
    from .lite import Lite

    return Lite


INITIALIZERS: dict[str, Callable[[], type[Initializer]]] = {
    "ar": _alpha_refine,
    "box": _box,
    "grabcut": _grabcut,
    "lite": _lite,
    "sam": _sam,
    "sam-hf": _sam_hf,
}


def make_initializer(name: str, *, device: str | torch.device = "auto", **options: Any) -> Initializer:
    """The initializer of that name, or two of them as one: "ar+sam" (`fusion.Fusion`).

    device:  where its network runs, if it has one; as for `load_model`.
    options: its own settings, the arguments of its class. Of two: the settings of `Fusion`, and those of each part as a
             dictionary under its name: `make_initializer("ar+sam", combine="both", sam={"variant": "vit_h"})`.

    InputError: unknown name or setting. ImportError: it needs an optional package. CheckpointError: its weights.

    >>> make_initializer("grabcut", iterations=3)(image, Box(*box)).source
    'grabcut'
    """
    names = name.split("+")
    if len(names) == 1:
        return _construct(name, _find(name), device, options)
    if len(names) > 2 or names[0] == names[1]:
        raise InputError(f"initializer {name!r}: two different ones can be joined, as in ar+sam")
    from .fusion import Fusion

    settings = {key: value for key, value in options.items() if key not in names}
    _check_settings(name, Fusion, settings, hidden=("first", "second"))
    parts = [_construct(part, _find(part), device, options.get(part, {})) for part in names]
    return Fusion(*parts, **settings)


def _find(name: str) -> type[Initializer]:
    if name not in INITIALIZERS:
        hint = did_you_mean(name, INITIALIZERS)
        raise InputError(f"unknown initializer {name!r}{hint}; there are: {', '.join(sorted(INITIALIZERS))}")
    return INITIALIZERS[name]()


def _construct(name: str, kind: type[Initializer], device: str | torch.device, options: Any) -> Initializer:
    if not isinstance(options, Mapping):
        raise InputError(f"settings of initializer {name!r} are given as {name}.KEY=VALUE, got {options!r}")
    _check_settings(name, kind, options, hidden=("device",))
    on_device = {"device": device} if "device" in signature(kind).parameters else {}
    return kind(**options, **on_device)


def _check_settings(name: str, kind: type, options: Mapping[str, Any], hidden: Sequence[str]) -> None:
    known = [setting for setting in signature(kind).parameters if setting not in hidden]
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known)
            raise InputError(
                f"initializer {name!r} has no setting {option!r}{hint}; it has: {', '.join(known) or 'none'}"
            )
