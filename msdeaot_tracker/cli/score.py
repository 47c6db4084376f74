"""`msdeaot score`: the numbers of a protocol from result files, of one tracker or of many."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..data.datasets.box_sequences import DATASETS, read_dataset
from ..evaluation import PROTOCOLS, results_folder, score
from ..evaluation.layouts import LAYOUTS, TREK150
from .evaluate_dataset import EXIT_INCOMPLETE
from .score_tables import overall_table, problems_of, sequence_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Scores result files in the layout of the TREK-150 toolkit, RESULTS/TREK-150/<tracker>/<protocol>, "
        "written by `msdeaot evaluate --dataset` or by that toolkit, with its measures and averages; ope on LaSOT with "
        "LaSOT's, on boxes (a manifest.tsv) with OTB's. Needs neither frames nor a GPU. What is left out is named and "
        "counted, and makes exit status 1."
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
    parser.add_argument("--sequences", action="store_true", help="a table with a line for each sequence as well")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    layout = LAYOUTS[args.layout]
    scores = score(
        read_dataset(args.dataset, args.folder),
        results_folder(args.results, args.dataset) if layout is TREK150 else args.results,
        args.protocol,
        trackers=args.trackers,
        dataset=args.dataset,
        layout=layout,
    )
    if args.json:
        args.json.write_text(json.dumps(scores, indent=2, allow_nan=False), encoding="utf-8")
    print("\n".join(overall_table(scores)))
    if args.sequences:
        print("", *sequence_table(scores), sep="\n")
    problems = problems_of(scores)
    if problems:
        print(f"\nleft out, or not taken as it is in the files ({len(problems)}):", *problems, sep="\n  ")
    return EXIT_INCOMPLETE if problems else 0
