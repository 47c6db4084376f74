"""Weights on disk: our format, releases of AOT, DeAOT and VMOS, ImageNet encoders; and models built from them."""

from .cache import file_sha256, find_weights
from .imagenet import load_imagenet
from .io import load_model, load_state, locate_weights, save_checkpoint, shipped_weights

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
