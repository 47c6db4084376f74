"""Scores of result files. Nothing here needs a frame or a tracker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data.datasets.box_types import BoxSequence
from ..types import InputError
from .averages import (
    Average,
    RunBoxes,
    SequenceRuns,
    average_hand_object,
    average_lasot,
    average_multi_start,
    average_one_pass,
    average_otb,
)
from .layouts import TREK150, Layout, read_seconds
from .protocols import Run, find_protocol, why_no_runs, why_nothing
from .results import read_result_file

_AVERAGES: dict[str, Average] = {
    "ope": average_one_pass,
    "mse": average_multi_start,
    "hoi": average_hand_object,
    "rte": average_one_pass,
}
# Of ope, in place of TREK-150's, by dataset.
_MEASURES: dict[str, Average] = {"lasot": average_lasot, "boxes": average_otb}


@dataclass
class Coverage:
    """What a score is over. Every problem is something left out, or not taken as it is in the files."""

    sequences: int = 0
    scored_sequences: int = 0
    runs: int = 0
    scored_runs: int = 0
    problems: list[str] = field(default_factory=list)


def score(
    sequences: Sequence[BoxSequence],
    results: Path,
    protocol: str,
    *,
    trackers: Iterable[str] | None = None,
    dataset: str = "trek150",
    layout: Layout = TREK150,
) -> dict[str, dict[str, Any]]:
    """{tracker: {"overall": scores, "seq_wise": {sequence: scores}, "coverage": {...}}}, as JSON takes it.

    results:  the folder with one folder per tracker (`results.results_folder`).
    trackers: some of them; None: all.
    dataset:  for ope, whose measures: LaSOT has its own ("lasot"), "boxes" has OTB's, all others have TREK-150's.
    layout:   of the result files, those of another tool among them (`layouts.LAYOUTS`).
    Runs without usable results are left out of both averages, counted in `coverage`, and named in its problems with
    file and line. Where there is none at all, "overall" is empty.
    InputError: no such protocol, no results of any tracker.
    """
    average = find_average(protocol, dataset)
    names = layout.trackers(results) if trackers is None else list(trackers)
    if not names:
        raise InputError(f"{results} has no {layout.pattern} with results")
    strangers = [name for name in names if not (results / name).is_dir()]
    if strangers:
        raise InputError(f"{results} has no results of {strangers[0]}")
    scores = {}
    for name in names:
        runs, coverage = read_runs(sequences, results, name, protocol, layout)
        overall, seq_wise = average(runs) if runs else ({}, {})
        scores[name] = {"overall": overall, "seq_wise": seq_wise, "coverage": asdict(coverage)}
    return scores


def find_average(protocol: str, dataset: str = "trek150") -> Average:
    """InputError: no such protocol."""
    find_protocol(protocol)
    own = _MEASURES if protocol == "ope" else {}
    return own.get(dataset, _AVERAGES[protocol])


def read_runs(
    sequences: Sequence[BoxSequence], results: Path, tracker: str, protocol: str, layout: Layout = TREK150
) -> tuple[list[SequenceRuns], Coverage]:
    """The runs with usable results, sequence by sequence, and what they are of all there should be."""
    found: list[SequenceRuns] = []
    coverage = Coverage()
    folder = layout.folder(results, tracker, protocol)
    if not folder.is_dir():
        coverage.problems.append(f"{folder} does not exist: no results of {protocol}")
    for sequence in sequences:
        coverage.problems += sequence.problems
        try:
            planned = find_protocol(protocol)(sequence)
            reason = why_no_runs(protocol, sequence)
        except InputError as error:
            planned, reason = [], str(error)
        if not planned and reason is None:
            continue
        coverage.sequences += 1
        coverage.runs += len(planned)
        if not planned:
            coverage.problems.append(reason)
        if not folder.is_dir():
            continue
        read = [_read_run(sequence, run, folder, protocol, layout, coverage.problems) for run in planned]
        runs = [run for run in read if run is not None]
        if runs:
            coverage.scored_sequences += 1
            coverage.scored_runs += len(runs)
            found.append(SequenceRuns(sequence.name, len(sequence), runs))
    if not coverage.sequences:
        coverage.problems.append(why_nothing(protocol, len(sequences)))
    return found, coverage


def _read_run(
    sequence: BoxSequence, run: Run, folder: Path, protocol: str, layout: Layout, problems: list[str]
) -> RunBoxes | None:
    """None, and a problem: the results cannot be used, or there is no truth to compare them with."""
    path = layout.boxes(folder, run.name)
    truth = sequence.boxes[run.frames]
    if not sequence.visible[list(run.frames)].any() or (len(sequence) > 1 and not sequence.visible[1:].any()):
        problems.append(f"{path}: the truth of these frames is not known; not scored")
        return None
    try:
        predicted = read_result_file(path, len(run.frames), complete=layout.complete, notes=problems)
    except InputError as error:
        problems.append(f"{error}; not scored")
        return None
    absent = np.flatnonzero(np.isnan(predicted).any(axis=1))
    if len(absent):
        problems.append(f"{path}, line {absent[0] + 1}: NaN, no box on this frame ({len(absent)} such lines)")
    seconds = np.empty(0)
    if protocol == "ope":
        try:
            seconds = read_seconds(layout.times(folder, run.name))
        except InputError as error:
            problems.append(f"{error}; no speed")
    return RunBoxes(predicted, truth, seconds)
