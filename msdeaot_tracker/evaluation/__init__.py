"""How well a tracker does on sequences whose truth is known."""

from ..data.mask_sequences import Sequence, find_sequences
from .averages import (
    RunBoxes,
    SequenceRuns,
    average_hand_object,
    average_lasot,
    average_multi_start,
    average_one_pass,
)
from .jobs import Job, RunResult, is_finished, list_jobs, run_job, save_result, shard_jobs
from .metrics import (
    ERROR_THRESHOLDS,
    PIXEL_THRESHOLDS,
    ROBUSTNESS_THRESHOLDS,
    THRESHOLDS,
    box_iou,
    center_error,
    lasot_curves,
    normalized_center_error,
    normalized_precision_curve,
    one_pass_ious,
    recall,
    robustness_curve,
    success_curve,
    success_score,
    trek150_curves,
)
from .protocols import PROTOCOLS, Run, plan_runs
from .results import list_trackers, read_results, results_folder, write_results
from .runner import ObjectScore, SequenceScore, StaticTracker, VideoTracker, run_sequence
from .scoring import score

__all__ = [
    "ERROR_THRESHOLDS",
    "PIXEL_THRESHOLDS",
    "PROTOCOLS",
    "ROBUSTNESS_THRESHOLDS",
    "THRESHOLDS",
    "Job",
    "ObjectScore",
    "Run",
    "RunBoxes",
    "RunResult",
    "Sequence",
    "SequenceRuns",
    "SequenceScore",
    "StaticTracker",
    "VideoTracker",
    "average_hand_object",
    "average_lasot",
    "average_multi_start",
    "average_one_pass",
    "box_iou",
    "center_error",
    "find_sequences",
    "is_finished",
    "lasot_curves",
    "list_jobs",
    "list_trackers",
    "normalized_center_error",
    "normalized_precision_curve",
    "one_pass_ious",
    "plan_runs",
    "read_results",
    "recall",
    "results_folder",
    "robustness_curve",
    "run_job",
    "run_sequence",
    "save_result",
    "score",
    "shard_jobs",
    "success_curve",
    "success_score",
    "trek150_curves",
    "write_results",
]
