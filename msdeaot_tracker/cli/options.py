"""Options that several commands share, and the tracker they describe."""

from __future__ import annotations

import argparse

from ..checkpoints import load_model
from ..initializers import INITIALIZERS
from ..models import MSDeAOT
from ..tracker import Tracker


def add_tracker_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tracker")
    group.add_argument("--preset", metavar="NAME", help="model to use (default: the one that comes with its weights)")
    group.add_argument("--weights", metavar="FILE", help="weights to use (default: those that come with the preset)")
    group.add_argument(
        "--initializer",
        metavar="NAME",
        default="grabcut",
        help=f"from a box to a mask: {', '.join(sorted(INITIALIZERS))} (default: %(default)s)",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda[:i] or mps (default: %(default)s)")
    group.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting of the preset, as in memory.long_term_max=4; repeatable",
    )


def load_tracker(args: argparse.Namespace) -> tuple[MSDeAOT, Tracker]:
    """The model on its device, and a tracker over it."""
    model = load_model(args.preset, weights=args.weights, device=args.device, overrides=args.settings)
    return model, Tracker(model, initializer=args.initializer)
