"""Scores as tables of text, for the commands that print them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COLUMNS = {
    "success_score": "success",
    "precision_score": "precision",
    "normalized_precision_score": "norm. prec.",
    "generalized_success_robustness_score": "robustness",
    "recall_score": "recall",
    "speed_fps": "fps",
}


def overall_table(scores: Mapping[str, Any]) -> list[str]:
    """Lines of one tracker each, of what `evaluation.score` gives; the best success first."""
    shown = [key for key in _COLUMNS if any(key in entry["overall"] for entry in scores.values())]
    width = max(len("tracker"), *map(len, scores))
    head = [f"{_COLUMNS[key]:>11}" for key in shown]
    lines = ["  ".join([f"{'tracker':{width}}", *head, f"{'runs':>11}", f"{'sequences':>11}", "problems"])]
    for name, entry in sorted(scores.items(), key=lambda item: -item[1]["overall"].get("success_score", -1)):
        coverage = entry["coverage"]
        values = [_number(key, entry["overall"].get(key)) for key in shown]
        runs = f"{coverage['scored_runs']}/{coverage['runs']}"
        sequences = f"{coverage['scored_sequences']}/{coverage['sequences']}"
        problems = len(coverage["problems"])
        lines.append("  ".join([f"{name:{width}}", *values, f"{runs:>11}", f"{sequences:>11}", f"{problems:>8}"]))
    return lines


def _number(key: str, value: float | None) -> str:
    if value is None or (key == "speed_fps" and value < 0):
        return f"{'-':>11}"
    return f"{value:11.1f}" if key == "speed_fps" else f"{value:11.4f}"


def sequence_table(scores: Mapping[str, Any]) -> list[str]:
    """Lines of one sequence each, with every measure of every tracker; the mean is the last."""
    if not any(entry["seq_wise"] for entry in scores.values()):
        return ["nothing was scored"]
    columns = [
        (name, key)
        for name, entry in scores.items()
        for key in _COLUMNS
        if key != "speed_fps" and key in entry["overall"]
    ]
    names = list(dict.fromkeys(name for entry in scores.values() for name in entry["seq_wise"]))
    heads = [f"{name} {_COLUMNS[key]}" for name, key in columns]
    first = max(map(len, ["sequence", "mean", *names]))
    lines = ["  ".join([f"{'sequence':{first}}", *heads])]
    for name in names:
        found = [scores[tracker]["seq_wise"].get(name, {}).get(key) for tracker, key in columns]
        lines.append(_row(f"{name:{first}}", heads, found))
    lines.append(_row(f"{'mean':{first}}", heads, [scores[tracker]["overall"][key] for tracker, key in columns]))
    return lines


def problems_of(scores: Mapping[str, Any]) -> list[str]:
    """What was left out, or not taken as it is in the files, of any tracker."""
    return list(dict.fromkeys(p for entry in scores.values() for p in entry["coverage"]["problems"]))


def _row(name: str, heads: list[str], values: list[float | None]) -> str:
    cells = ("-" if value is None else f"{value:.3f}" for value in values)
    return "  ".join([name, *(f"{cell:>{len(head)}}" for cell, head in zip(cells, heads, strict=True))])
