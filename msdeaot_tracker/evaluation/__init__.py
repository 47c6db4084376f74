"""How well a tracker does on sequences whose truth is known."""

from ..data.mask_sequences import Sequence, find_sequences
from .averages import (
    RunBoxes,
    SequenceRuns,
    average_hand_object,
    average_lasot,
    average_multi_start,
    average_one_pass,
    average_otb,
)
from .baselines import check_baseline, make_baseline
from .challenge import check_submission, write_submission
from .jobs import Job, RunResult, list_jobs, pending_jobs, run_job, save_result, shard_jobs
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
    otb_curves,
    recall,
    robustness_curve,
    success_curve,
    success_score,
    trek150_curves,
)
from .pipe import PipeTracker
from .protocols import PROTOCOLS, Run, find_protocol
from .ray_workers import do_jobs_with_ray
from .results import (
    DATASET_FOLDERS,
    claim_results,
    list_trackers,
    read_results,
    remove_results,
    results_folder,
    write_results,
)
from .runner import ObjectScore, SequenceScore, StaticTracker, VideoTracker, run_sequence
from .scoring import score
from .workers import Outcome, do_jobs, do_jobs_in_processes

__all__ = [
    "DATASET_FOLDERS",
    "ERROR_THRESHOLDS",
    "PIXEL_THRESHOLDS",
    "PROTOCOLS",
    "ROBUSTNESS_THRESHOLDS",
    "THRESHOLDS",
    "Job",
    "ObjectScore",
    "Outcome",
    "PipeTracker",
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
    "average_otb",
    "box_iou",
    "center_error",
    "check_baseline",
    "check_submission",
    "claim_results",
    "do_jobs",
    "do_jobs_in_processes",
    "do_jobs_with_ray",
    "find_protocol",
    "find_sequences",
    "lasot_curves",
    "list_jobs",
    "list_trackers",
    "make_baseline",
    "normalized_center_error",
    "normalized_precision_curve",
    "one_pass_ious",
    "otb_curves",
    "pending_jobs",
    "read_results",
    "recall",
    "remove_results",
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
    "write_submission",
]
