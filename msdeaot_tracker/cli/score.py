"""`msdeaot score`: the numbers of a protocol from result files, of one tracker or of many."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.box_sequences import DATASETS, read_dataset
from ..evaluation import PROTOCOLS, results_folder, score
from ..evaluation.layouts import LAYOUTS, TREK150
from .evaluate_dataset import EXIT_INCOMPLETE

_COLUMNS = {
    "success_score": "success",
    "precision_score": "precision",
    "normalized_precision_score": "norm. prec.",
    "generalized_success_robustness_score": "robustness",
    "recall_score": "recall",
    "speed_fps": "fps",
}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "score",
        help="score result files of a benchmark",
        description="Scores result files in the layout of the TREK-150 toolkit, RESULTS/TREK-150/<tracker>/<protocol>, "
        "written by `msdeaot evaluate --dataset` or by that toolkit, with its measures and averages; ope on LaSOT with "
        "LaSOT's. Needs neither frames nor a GPU. What is left out is named and counted, and makes exit status 1.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the dataset")
    parser.add_argument("--dataset", choices=list(DATASETS), required=True)
    parser.add_argument("--results", type=Path, required=True, metavar="RESULTS")
    parser.add_argument("--protocol", choices=list(PROTOCOLS), required=True)
    parser.add_argument(
        "--layout",
        choices=list(LAYOUTS),
        default="trek150",
        help="of the result files, those of another tool among them: RESULTS is then its folder of results "
        "(default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write scores and curves to a file as well")
    parser.add_argument(
        "--trackers", type=lambda text: text.split(","), metavar="A,B,...", help="default: every folder in RESULTS"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    layout = LAYOUTS[args.layout]
    scores = score(
        read_dataset(args.dataset, args.folder),
        results_folder(args.results, args.dataset) if layout is TREK150 else args.results,
        args.protocol,
        trackers=args.trackers,
        lasot=args.dataset == "lasot" and args.protocol == "ope",
        layout=layout,
    )
    if args.json:
        args.json.write_text(json.dumps(scores, indent=2, allow_nan=False), encoding="utf-8")
    print("\n".join(_table(scores)))
    problems = list(dict.fromkeys(p for entry in scores.values() for p in entry["coverage"]["problems"]))
    if problems:
        print(f"\nleft out, or not taken as it is in the files ({len(problems)}):", *problems, sep="\n  ")
    return EXIT_INCOMPLETE if problems else 0


def _table(scores: Mapping[str, Any]) -> list[str]:
    """The best success first."""
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
