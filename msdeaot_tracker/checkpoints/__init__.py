"""Weights on disk: our format, the official releases of DeAOT and VMOS, and the models built from them."""

from .cache import file_sha256, find_weights
from .io import load_model, load_state, save_checkpoint, shipped_weights

__all__ = ["file_sha256", "find_weights", "load_model", "load_state", "save_checkpoint", "shipped_weights"]
