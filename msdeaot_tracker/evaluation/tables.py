"""Scores of many trackers as rows of tables: measured here, imported and scored here, or published by others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..data.datasets.box_files import read_text
from ..data.datasets.box_types import BoxSequence
from ..types import InputError
from .averages import SequenceRuns
from .layouts import LAYOUTS, TREK150, Layout
from .metrics import trek150_curves
from .published import PUBLISHED
from .results import SETTINGS
from .scoring import find_average, read_runs

MEASURED, IMPORTED, PUBLISHED_SOURCE, MISSING = "measured here", "imported, scored here", "published", "no results"
SUCCESS = "success_score"
COLUMNS = {  # of a table, in this order; those that no row has are left out
    SUCCESS: "success",
    "precision_score": "precision",
    "normalized_precision_score": "norm. precision",
    "generalized_success_robustness_score": "robustness",
    "recall_score": "recall",
    "speed_fps": "fps",
}
# The order of flags in run_tracker_performance_evaluation.m of LaSOT's evaluation toolkit.
LASOT_ATTRIBUTES = ["IV", "POC", "DEF", "MB", "CM", "ROT", "BC", "VC", "SV", "FOC", "FM", "OV", "LR", "ARC"]


@dataclass(frozen=True)
class Row:
    """One tracker under one protocol.

    overall, sequences: as `scoring.score` gives them; of a published row only what was published.
    curves:             over all runs, as the overall scores are; their means are the scores, but for LaSOT's precision.
    coverage:           what the numbers are over, as in `scoring.Coverage`; None where that is not known.
    """

    tracker: str
    protocol: str
    source: str  # MEASURED, IMPORTED, PUBLISHED_SOURCE or MISSING
    reference: str = ""  # the publication, the layout imported from, or the precision of what was measured here
    overall: Mapping[str, Any] = field(default_factory=dict)
    sequences: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    coverage: Mapping[str, Any] | None = None
    root: Path | None = None  # the folder with its folder of results
    layout: Layout = TREK150

    @property
    def key(self) -> tuple[str, str]:
        """What a tracker is told by, under all protocols."""
        return str(self.root), self.tracker

    @property
    def who(self) -> str:
        return f"{self.source} ({self.reference})" if self.reference else self.source

    @property
    def label(self) -> str:
        """The tracker, marked where numbers stand without what they are over."""
        return self.tracker if self.is_complete else f"{self.tracker} *"

    @property
    def is_complete(self) -> bool:
        c = self.coverage
        return c is None or (0 < c["runs"] == c["scored_runs"] and c["scored_sequences"] == c["sequences"])


@dataclass(frozen=True)
class Comparison:
    """rows: by protocol, best first. attributes: {name: sequences}. clips: {sequence: (data URI, rows drawn)}."""

    title: str
    dataset: str
    sequences: Sequence[BoxSequence]
    rows: Mapping[str, Sequence[Row]]
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    clips: Mapping[str, tuple[str, Sequence[Row]]] = field(default_factory=dict)
    problems: Sequence[str] = ()  # besides those of the rows
    made_by: str = ""

    def colours(self) -> dict[tuple[str, str], int]:
        """Every tracker with results has one number in all plots and clips."""
        keys = dict.fromkeys(row.key for rows in self.rows.values() for row in rows if row.root is not None)
        return {key: index for index, key in enumerate(keys)}


def measured_row(
    sequences: Sequence[BoxSequence],
    results: Path,
    tracker: str,
    protocol: str,
    *,
    dataset: str = "trek150",
    layout: Layout = TREK150,
) -> Row:
    """The scores of result files; `measured here` when `msdeaot evaluate` wrote them, and noted with what settings.

    InputError: no such tracker or protocol.
    """
    if not (results / tracker).is_dir():
        raise InputError(f"{results} has no results of {tracker}")
    average = find_average(protocol, dataset)
    runs, coverage = read_runs(sequences, results, tracker, protocol, layout)
    overall, by_sequence = average(runs) if runs else ({}, {})
    settings = results / tracker / protocol / SETTINGS
    ours = layout is TREK150 and settings.is_file()
    name = next(name for name, known in LAYOUTS.items() if known is layout)
    return Row(
        tracker,
        protocol,
        MEASURED if ours else IMPORTED if runs else MISSING,
        _noted_precision(settings) if ours else f"layout {name}" if runs else "",
        overall,
        by_sequence,
        _curves(overall, runs, protocol) if runs else {},
        asdict(coverage),
        results,
        layout,
    )


def _noted_precision(settings: Path) -> str:
    """In which the results beside a file were computed, as `msdeaot evaluate` noted it; "" where it did not."""
    try:
        noted = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    precision = noted.get("precision") if isinstance(noted, dict) else None
    return precision if precision in ("float32", "bfloat16", "float16") else ""


def published_rows(dataset: str, protocol: str) -> list[Row]:
    return [
        Row(entry.tracker, protocol, PUBLISHED_SOURCE, entry.source, {SUCCESS: entry.success})
        for entry in PUBLISHED
        if (entry.dataset, entry.protocol) == (dataset, protocol)
    ]


def best_first(rows: Iterable[Row]) -> list[Row]:
    """By success; rows over fewer runs than there are come after the others, and last those without a score."""
    return sorted(rows, key=lambda row: (SUCCESS not in row.overall, not row.is_complete, -row.overall.get(SUCCESS, 0)))


def worst_sequences_first(rows: Sequence[Row]) -> list[str]:
    """Names of all sequences that any of the rows has, by the mean success of those that have them."""
    success: dict[str, list[float]] = {}
    for row in rows:
        for name, scores in row.sequences.items():
            success.setdefault(name, []).append(scores[SUCCESS])
    return sorted(success, key=lambda name: (np.mean(success[name]), name))


def read_attributes(
    dataset: str, folder: Path, sequences: Iterable[BoxSequence], problems: list[str]
) -> dict[str, list[str]]:
    """{attribute: names of the sequences that have it}, in the order of the names of attributes.

    trek150: folder/<sequence>/attributes.txt, one acronym per line. lasot: folder/<sequence>.txt, 14 flags on a line,
    as in `annos/att` of LaSOT's evaluation toolkit. A file that cannot be read is a problem; a missing one is none.
    """
    found: dict[str, list[str]] = {}
    for sequence in sequences:
        path = folder / f"{sequence.name}.txt" if dataset == "lasot" else folder / sequence.name / "attributes.txt"
        if not path.is_file():
            continue
        try:
            words = read_text(path).replace(",", " ").split()
            if dataset == "lasot":
                words = _flagged(words, path)
        except InputError as error:
            problems.append(str(error))
            continue
        for word in words:
            found.setdefault(word, []).append(sequence.name)
    return {name: found[name] for name in sorted(found)}


def attribute_success(row: Row, names: Sequence[str], sequences: Iterable[BoxSequence]) -> float | None:
    """Success over some of the sequences, averaged as over all of them; None where the row has none of those.

    Each protocol's average is linear in the scores of sequences, so they are enough: by length for mse, else plain.
    """
    lengths = {sequence.name: len(sequence) if row.protocol == "mse" else 1 for sequence in sequences}
    known = [name for name in names if name in row.sequences]
    if not known:
        return None
    values = [row.sequences[name][SUCCESS] for name in known]
    return float(np.average(values, weights=[lengths[name] for name in known]))


def _flagged(words: list[str], path: Path) -> list[str]:
    if len(words) != len(LASOT_ATTRIBUTES) or set(words) - {"0", "1"}:
        raise InputError(f"{path}: {len(LASOT_ATTRIBUTES)} attributes are expected, each 0 or 1")
    return [name for name, flag in zip(LASOT_ATTRIBUTES, words, strict=True) if flag == "1"]


def _curves(overall: Mapping[str, Any], runs: Sequence[SequenceRuns], protocol: str) -> dict[str, np.ndarray]:
    """Of ope and rte the scores have them; of mse and hoi they are averaged here with the weights of the scores."""
    if protocol not in ("mse", "hoi"):
        return {key.removesuffix("_curve"): np.array(overall[key]) for key in overall if key.endswith("_curve")}
    curves, weights = [], []
    for _, length, parts in runs:
        frames = sum(len(run.truth) for run in parts)
        for run in parts:
            curves.append(trek150_curves(run.predicted, run.truth))
            weights.append(len(run.truth) * (length / frames if protocol == "mse" else 1))
    return {name: np.average([curve[name] for curve in curves], axis=0, weights=weights) for name in curves[0]}
