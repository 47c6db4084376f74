"""`msdeaot registry`: where the trackers.ini for vot-toolkit is installed."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        'Print the path of the installed trackers.ini: vot --registry "$(msdeaot registry)" test MSDeAOT'
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from msdeaot_integration import registry_path

    print(registry_path())
    return 0
