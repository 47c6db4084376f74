"""Weights on disk: our format, releases of AOT, DeAOT and VMOS, ImageNet encoders; and models built from them."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .cache import file_sha256, find_weights

if TYPE_CHECKING:
    from .imagenet import load_imagenet
    from .io import load_model, load_state, locate_weights, save_checkpoint, shipped_weights

_OF_IO = ("load_model", "load_state", "locate_weights", "save_checkpoint", "shipped_weights")
__getattr__ = lazy_names(__name__, {"load_imagenet": "imagenet", **dict.fromkeys(_OF_IO, "io")})

__all__ = [
    "file_sha256",
    "find_weights",
    "load_imagenet",
    "load_model",
    "load_state",
    "locate_weights",
    "save_checkpoint",
    "shipped_weights",
]
