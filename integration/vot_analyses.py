"""The scores of TREK-150 and LaSOT as analyses of vot-toolkit, for the experiments of `vot_experiments`.

    {type: msdeaot_integration.vot_analyses.Scores}

Each is one number per tracker over all runs. Where a run has no results there is an error and no number; where there is
nothing to run, as in hand-object experiments without an interaction, there is no number.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from vot.analysis import Curve, Measure, MissingResultsException, Sorting, TrackerSeparableAnalysis
from vot.dataset import Sequence
from vot.dataset.proxy import FrameMapSequence
from vot.experiment import Experiment
from vot.region import Mask, Polygon, Rectangle, Region
from vot.tracker import Tracker, Trajectory

from msdeaot_tracker.evaluation import (
    ERROR_THRESHOLDS,
    PIXEL_THRESHOLDS,
    ROBUSTNESS_THRESHOLDS,
    THRESHOLDS,
    RunBoxes,
    SequenceRuns,
    average_lasot,
)

from .trax_server import upright_rectangle
from .vot_experiments import HandObject, OnePass, RunsExperiment

_ABSENT = (np.nan,) * 4


class Scores(TrackerSeparableAnalysis):
    """TREK-150's, averaged as its protocol wants."""

    experiments: ClassVar[type[Experiment]] = RunsExperiment
    measures: ClassVar[dict[str, str]] = {  # name in the scores -> as it is shown
        "success_score": "Success",
        "normalized_precision_score": "Normalized precision",
        "generalized_success_robustness_score": "Generalized robustness",
    }

    def compatible(self, experiment: Experiment) -> bool:
        return isinstance(experiment, self.experiments)

    @property
    def _title_default(self) -> str:
        return "TREK-150"

    def describe(self) -> tuple[Any, ...]:
        return tuple(Measure(name, None, 0, 1, Sorting.DESCENDING) for name in self.measures.values())

    def subcompute(
        self, experiment: RunsExperiment, tracker: Tracker, sequences: list[Sequence], dependencies: list
    ) -> tuple[Any, ...]:
        runs = _read_runs(experiment, tracker, sequences)
        if not runs:  # no sequence has an anchor, or an interaction
            return (None,) * len(self.measures)
        overall, _ = self.average(experiment, runs)
        return tuple(self.present(overall, name) for name in self.measures)

    def average(self, experiment: RunsExperiment, runs: list[SequenceRuns]) -> tuple[dict, dict]:
        return experiment.average(runs)

    def present(self, scores: dict[str, Any], name: str) -> Any:
        return scores[name]


class HandObjectScores(Scores):
    experiments = HandObject
    measures: ClassVar = {**Scores.measures, "recall_score": "Recall"}


class Curves(Scores):
    """The curves that TREK-150's scores of one pass are the means of."""

    experiments = OnePass
    measures: ClassVar = {
        "success_curve": "Success",
        "normalized_precision_curve": "Normalized precision",
        "generalized_success_robustness_curve": "Generalized robustness",
    }
    axes_of: ClassVar[dict[str, tuple[str, np.ndarray]]] = {
        "success_curve": ("overlap", THRESHOLDS),
        "normalized_precision_curve": ("normalized centre error", ERROR_THRESHOLDS),
        "generalized_success_robustness_curve": ("overlap", ROBUSTNESS_THRESHOLDS),
    }

    @property
    def _title_default(self) -> str:
        return "TREK-150, curves"

    def describe(self) -> tuple[Any, ...]:
        descriptions = []
        for key, name in self.measures.items():
            label, thresholds = self.axes_of[key]
            limits = {"minimal": (0, 0), "maximal": (float(thresholds[-1]), 1)}
            descriptions.append(Curve(name, 2, None, labels=(f"Threshold of {label}", name), trait=key, **limits))
        return tuple(descriptions)

    def present(self, scores: dict[str, Any], name: str) -> list[tuple[float, float]]:
        _, thresholds = self.axes_of[name]
        return list(zip(thresholds.tolist(), scores[name], strict=True))


class LasotScores(Scores):
    """LaSOT's: precision is that at 20 pixels, normalized precision that at 0.2."""

    experiments = OnePass
    measures: ClassVar = {
        "success_score": "Success",
        "precision_score": "Precision",
        "normalized_precision_score": "Normalized precision",
    }

    @property
    def _title_default(self) -> str:
        return "LaSOT"

    def average(self, experiment: RunsExperiment, runs: list[SequenceRuns]) -> tuple[dict, dict]:
        return average_lasot(runs)


class LasotCurves(Curves):
    """The curves that LaSOT's scores are taken from."""

    measures: ClassVar = {
        "success_curve": "Success",
        "precision_curve": "Precision",
        "normalized_precision_curve": "Normalized precision",
    }
    axes_of: ClassVar = {
        "success_curve": ("overlap", THRESHOLDS),
        "precision_curve": ("centre error in pixels", PIXEL_THRESHOLDS),
        "normalized_precision_curve": ("normalized centre error", PIXEL_THRESHOLDS / 100),
    }
    average = LasotScores.average

    @property
    def _title_default(self) -> str:
        return "LaSOT, curves"


def _read_runs(experiment: RunsExperiment, tracker: Tracker, sequences: list[Sequence]) -> list[SequenceRuns]:
    """Those of the sequences that the experiment has runs of. MissingResultsException: a run without results."""
    found = []
    for sequence in sequences:
        results = experiment.results(tracker, sequence)
        runs = []
        for name, frames in experiment.runs(sequence):
            if not Trajectory.exists(results, name):
                raise MissingResultsException(f"no results of {tracker.identifier} for {name}")
            predicted = _boxes(Trajectory.read(results, name))
            if len(predicted) != len(frames):
                raise MissingResultsException(f"{len(predicted)} results for the {len(frames)} frames of {name}")
            runs.append(RunBoxes(predicted, _boxes(FrameMapSequence(sequence, list(frames)).groundtruth())))
        if runs:
            found.append(SequenceRuns(sequence.name, len(sequence), runs))
    return found


def _boxes(regions: Any) -> np.ndarray:
    """float64 [N, 4] x,y,w,h of regions; a row of NaN for one that is empty or no shape."""
    return np.array([_box(region) for region in regions], float)


def _box(region: Region) -> tuple[float, ...]:
    """The toolkit's own conversions differ between its releases, and take a pixel off a mask's box (0.7.4)."""
    if isinstance(region, Rectangle):
        return region.x, region.y, region.width, region.height
    if isinstance(region, Polygon):
        return upright_rectangle(region.points())
    if isinstance(region, Mask) and region.mask.any():
        rows, columns = np.flatnonzero(region.mask.any(axis=1)), np.flatnonzero(region.mask.any(axis=0))
        left, top = region.offset
        return left + columns[0], top + rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]
    return _ABSENT
