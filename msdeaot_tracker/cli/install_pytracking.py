"""`msdeaot install-pytracking`: make the tracker known to a clone of pytracking."""

from __future__ import annotations

import argparse
from pathlib import Path

_NEXT = """
in {clone}, with the paths of the datasets in pytracking/evaluation/local.py:
  python pytracking/run_tracker.py msdeaot default --dataset_name lasot
  python pytracking/run_msdeaot.py msdeaot default --dataset_name trek150"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Add new files to a clone of github.com/visionml/pytracking, so that its scripts know the tracker "
        "`msdeaot` and the dataset `trek150`. No file that is there is changed. (`pip install pytracking` brings "
        "another project of that name.)"
    )
    parser.add_argument("clone", metavar="PATH", type=Path, help="folder that holds `pytracking` and `ltr`")
    parser.add_argument("--uninstall", action="store_true", help="remove these files again, unless they were changed")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from msdeaot_integration import pytracking_install

    report = (pytracking_install.uninstall if args.uninstall else pytracking_install.install)(args.clone)
    for done, name in report:
        print(f"{done:<9} {name}")
    if not report:
        print(f"nothing of ours is in {args.clone}")
    elif not args.uninstall:
        print(_NEXT.format(clone=args.clone))
    return 0
