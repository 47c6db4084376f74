"""Video to train and test on."""

from msdeaot_tracker.data.procedural import Clip, ClipConfig, generate_clip

__all__ = ["Clip", "ClipConfig", "generate_clip"]
