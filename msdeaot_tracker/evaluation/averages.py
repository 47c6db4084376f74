"""From the boxes of runs to the numbers of a table: the averages of the TREK-150 toolkit, and LaSOT's.

Each function takes the runs there are, sequence by sequence, at least one of each, and returns (overall, by sequence)
in the names and nesting of the toolkit's `performance-<protocol>.json` (toolkit/experiments/trek150.py, report_*).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .metrics import lasot_curves, one_pass_ious, otb_curves, recall, trek150_curves

Scores = dict[str, Any]
Curves = dict[str, np.ndarray]
# Of LaSOT's curves, what a table shows: precision at 20 pixels, and normalized at 0.2 (rank_idx of its toolkit).
_LASOT_RANKS = {"precision": 20, "normalized_precision": 20}
_OTB_RANKS = {"precision": 20}  # pixels (Wu et al., CVPR 2013, 4)


class RunBoxes(NamedTuple):
    """What a tracker said on the frames of a run, and what is true there: float64 [N, 4] each."""

    predicted: np.ndarray
    truth: np.ndarray
    seconds: np.ndarray = np.empty(0)  # float64 [N], where they are known


class SequenceRuns(NamedTuple):
    name: str
    length: int  # of the whole sequence, in frames
    runs: Sequence[RunBoxes]


Average = Callable[[Sequence[SequenceRuns]], tuple[Scores, dict[str, Scores]]]


def average_one_pass(sequences: Sequence[SequenceRuns]) -> tuple[Scores, dict[str, Scores]]:
    """OPE and RTE: the mean over sequences."""
    return _average_curves(sequences, trek150_curves, {})


def average_lasot(sequences: Sequence[SequenceRuns]) -> tuple[Scores, dict[str, Scores]]:
    """OPE with LaSOT's measures: the mean over sequences."""
    return _average_curves(sequences, lasot_curves, _LASOT_RANKS)


def average_otb(sequences: Sequence[SequenceRuns]) -> tuple[Scores, dict[str, Scores]]:
    """OPE with OTB's measures: the mean over sequences."""
    return _average_curves(sequences, otb_curves, _OTB_RANKS)


def average_multi_start(sequences: Sequence[SequenceRuns]) -> tuple[Scores, dict[str, Scores]]:
    """MSE: runs weigh by their frames within a sequence, sequences by theirs, the object to be seen or not."""
    seq_wise = {name: _average_runs(runs) for name, _, runs in sequences}
    lengths = [length for _, length, _ in sequences]
    overall = {key: _weighted([scores[key] for scores in seq_wise.values()], lengths) for key in _first(seq_wise)}
    return overall, seq_wise


def average_hand_object(sequences: Sequence[SequenceRuns]) -> tuple[Scores, dict[str, Scores]]:
    """HOI: all runs weigh by their frames. By sequence there is nothing, as in the toolkit."""
    runs = [run for sequence in sequences for run in sequence.runs]
    hits = np.float32(0)  # as the toolkit under NumPy 2, where a float32 stays one
    for run in runs:
        hits += recall(one_pass_ious(run.predicted, run.truth)) * len(run.truth)
    return {**_average_runs(runs), "recall_score": float(hits / sum(len(run.truth) for run in runs))}, {}


def _average_runs(runs: Sequence[RunBoxes]) -> Scores:
    curves = [trek150_curves(run.predicted, run.truth) for run in runs]
    frames = [len(run.truth) for run in runs]
    return {f"{name}_score": _weighted([c[name].mean() for c in curves], frames) for name in curves[0]}


def _average_curves(
    sequences: Sequence[SequenceRuns], measure: Callable[[np.ndarray, np.ndarray], Curves], ranks: Mapping[str, int]
) -> tuple[Scores, dict[str, Scores]]:
    curves = {name: measure(runs[0].predicted, runs[0].truth) for name, _, runs in sequences}
    speeds = {name: _speed(runs[0].seconds) for name, _, runs in sequences}
    seq_wise = {name: {**_curve_scores(curves[name], ranks), "speed_fps": speeds[name]} for name in curves}
    mean = {key: np.mean([c[key] for c in curves.values()], axis=0) for key in _first(curves)}
    known = [speed for speed in speeds.values() if speed > 0]
    return {**_curve_scores(mean, ranks), "speed_fps": float(np.mean(known)) if known else -1}, seq_wise


def _curve_scores(curves: Curves, ranks: Mapping[str, int]) -> Scores:
    """A curve's score is its value at the rank, if it has one, else its mean."""
    values = {name: curve[ranks[name]] if name in ranks else curve.mean() for name, curve in curves.items()}
    return {
        **{f"{name}_curve": curve.tolist() for name, curve in curves.items()},
        **{f"{name}_score": float(value) for name, value in values.items()},
    }


def _speed(seconds: np.ndarray) -> float:
    """Mean of the frames' rates, in frames per second; -1: not known."""
    seconds = seconds[seconds > 0]
    return float(np.mean(1 / seconds)) if len(seconds) else -1


def _weighted(values: Sequence[float], weights: Sequence[int]) -> float:
    return float(np.average(values, weights=weights))


def _first(mapping: Mapping[str, Any]) -> Any:
    return next(iter(mapping.values()))
