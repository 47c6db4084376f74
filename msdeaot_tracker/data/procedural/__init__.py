"""Procedural video, drawn with the truth known to the pixel."""

from .clip import Clip, generate_clip
from .config import ClipConfig

__all__ = ["Clip", "ClipConfig", "generate_clip"]
