"""`msdeaot export-challenge`: the submission of the TREK-150 challenge, written or checked."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..data.datasets.box_sequences import read_dataset
from ..evaluation import check_submission, results_folder, write_submission
from ..types import InputError

_EXIT_FAULTY = 1
_MOST_LINES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Packs the result files of ope, mse and hoi of one tracker as the TREK-150 challenge takes them, a "
        "zip with one JSON file, or checks such a file, from whatever program. It is written only if every run is "
        "there and whole. Faults of a file that is checked are named one by one, and make exit status 1."
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the dataset")
    parser.add_argument("--dataset", choices=["trek150"], default="trek150", help="default: %(default)s")
    parser.add_argument("--results", type=Path, metavar="RESULTS", help="folder with the results")
    parser.add_argument("--tracker", metavar="NAME", help="its folder there")
    parser.add_argument("--out", type=Path, metavar="FILE.zip")
    parser.add_argument(
        "--check", type=Path, metavar="FILE.zip", help="write nothing; say what is wrong with this file"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    to_write = (args.results, args.tracker, args.out)
    if any(to_write) if args.check else not all(to_write):
        raise InputError("--results, --tracker and --out are needed, or --check alone")
    sequences = read_dataset(args.dataset, args.folder)
    path = args.check or args.out
    if not args.check:
        folder = results_folder(args.results, args.dataset)
        if problems := write_submission(path, sequences, folder, args.tracker):
            return _tell(f"{path} is not written, as not all that the challenge asks for is there", problems)
    if problems := check_submission(path, sequences):
        return _tell(f"{path} has faults", problems)
    print(f"{path}: every run of {len(sequences)} sequences is there")
    return 0


def _tell(what: str, problems: list[str]) -> int:
    rest = [f"and {len(problems) - _MOST_LINES} more"] if len(problems) > _MOST_LINES else []
    print(f"{what}:", *problems[:_MOST_LINES], *rest, sep="\n  ")
    return _EXIT_FAULTY
