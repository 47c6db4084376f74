"""TREK-150's protocols as experiments of vot-toolkit, named in a stack by dotted path.

    ope:      {type: msdeaot_integration.vot_experiments.OnePass}
    realtime: {type: msdeaot_integration.vot_experiments.OnePass, realtime: {grace: 3}}
    mse:      {type: msdeaot_integration.vot_experiments.MultiStart}
    hoi:      {type: msdeaot_integration.vot_experiments.HandObject}

They run alike in vot-toolkit 0.7.4 and 0.9.0, whose own multi-start and real-time experiments end in an error. Results
of the first three have the toolkit's names, so that its own analyses can be asked for as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from attributee import Integer
from vot.dataset import Sequence
from vot.dataset.proxy import FrameMapSequence
from vot.experiment import Experiment
from vot.experiment.multirun import MultiRunExperiment
from vot.experiment.multistart import MultiStartExperiment, find_anchors
from vot.region import Special
from vot.tracker import ObjectStatus, Tracker, TrackerRuntime, Trajectory

from msdeaot_tracker.evaluation import average_hand_object, average_multi_start, average_one_pass

from .workspace import parse_interactions


class Run(NamedTuple):
    name: str  # of its results
    frames: range  # indices in the sequence, in the order in which the tracker sees them


class RunsExperiment(Experiment):
    """Follows one object through runs that depend on the sequence alone; each begins with the truth."""

    average: ClassVar[Callable]  # of `msdeaot_tracker.evaluation`: from all runs to the scores

    def runs(self, sequence: Sequence) -> list[Run]:
        raise NotImplementedError

    def scan(self, tracker: Tracker, sequence: Sequence) -> tuple[bool, list[str], Any]:
        """Whether all results are there, the files that are, and where they lie."""
        results = self.results(tracker, sequence)
        names = [run.name for run in self.runs(sequence)]
        files = [file for name in names for file in Trajectory.gather(results, name)]
        return all(Trajectory.exists(results, name) for name in names), files, results

    def execute(
        self, tracker: Tracker, sequence: Sequence, force: bool = False, callback: Callable[[float], Any] | None = None
    ) -> None:
        results = self.results(tracker, sequence)
        runs = self.runs(sequence)
        with self._get_runtime(tracker, sequence) as runtime:
            for finished, run in enumerate(runs, start=1):
                if force or not Trajectory.exists(results, run.name):
                    _follow(runtime, FrameMapSequence(sequence, list(run.frames))).write(results, run.name)
                if callback:
                    callback(finished / len(runs))

    def _get_runtime(self, tracker: Tracker, sequence: Sequence, multiobject: bool = False) -> TrackerRuntime:
        runtime = super()._get_runtime(tracker, sequence, multiobject)
        if self.realtime is not None:
            # The real-time runtime asks the tracker's own with None for no new objects. In 0.9.0 that one wants a list.
            inner = runtime._runtime
            update = inner.update
            inner.update = lambda frame, new=None, *more: update(frame, new or [], *more)
        return runtime


class OnePass(RunsExperiment, MultiRunExperiment):
    """From the first frame to the last."""

    average = staticmethod(average_one_pass)
    repetitions = Integer(val_min=1, val_max=1, default=1)

    def runs(self, sequence: Sequence) -> list[Run]:
        return [Run(f"{sequence.name}_001", range(len(sequence)))]


class MultiStart(RunsExperiment, MultiStartExperiment):
    """From every anchor, forward or backward. A sequence without anchors has no runs."""

    average = staticmethod(average_multi_start)

    def runs(self, sequence: Sequence) -> list[Run]:
        forward, backward = find_anchors(sequence, self.anchor)
        frames = [(anchor, range(anchor, len(sequence))) for anchor in forward]
        frames += [(anchor, range(anchor, -1, -1)) for anchor in backward]
        return [Run(f"{sequence.name}_{anchor:08d}", indices) for anchor, indices in frames]


class HandObject(RunsExperiment):
    """From the first to the last frame of every interaction of a hand with the object; they may overlap."""

    average = staticmethod(average_hand_object)

    def runs(self, sequence: Sequence) -> list[Run]:
        return [
            Run(f"{sequence.name}_{start:08d}_{end:08d}_{hand}", range(start, end + 1))
            for start, end, hand in parse_interactions(sequence.metadata("interactions", ""))
        ]


def _follow(runtime: TrackerRuntime, frames: Sequence) -> Trajectory:
    trajectory = Trajectory(len(frames))
    _, elapsed = runtime.initialize(frames.frame(0), [ObjectStatus(frames.groundtruth(0), {})])
    trajectory.set(0, Special(Trajectory.INITIALIZATION), {"time": elapsed})
    for index in range(1, len(frames)):
        status, elapsed = runtime.update(frames.frame(index), [])
        region, properties = status[0] if isinstance(status, list) else status
        trajectory.set(index, region, {**properties, "time": elapsed})
    return trajectory
