"""Video to train and test on."""

from msdeaot_tracker.data.clip_config import ClipConfig
from msdeaot_tracker.data.procedural import Clip, generate_clip

__all__ = ["Clip", "ClipConfig", "generate_clip"]
