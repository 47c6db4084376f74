"""How well a tracker does on sequences whose truth is known."""

from ..data.mask_sequences import Sequence, find_sequences
from .metrics import box_iou, one_pass_ious, success_curve, success_score
from .runner import ObjectScore, SequenceScore, StaticTracker, VideoTracker, run_sequence

__all__ = [
    "ObjectScore",
    "Sequence",
    "SequenceScore",
    "StaticTracker",
    "VideoTracker",
    "box_iou",
    "find_sequences",
    "one_pass_ious",
    "run_sequence",
    "success_curve",
    "success_score",
]
