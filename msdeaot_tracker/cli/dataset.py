"""`msdeaot dataset`: box sequences of any dataset in the layout of another."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from ..data.datasets.box_sequences import DATASETS, Interaction, read_dataset
from ..data.datasets.trek150_writer import write_trek150

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes the sequences of DIR to OUT in the layout of TREK-150, frames as links, with anchors for "
        "multi-start evaluation where DIR has none: every N frames and on the last, forward in the first half of the "
        "sequence and backward in the second."
    )
    parser.add_argument("layout", choices=["trek150"])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--dataset", choices=list(DATASETS), required=True, help="what DIR is")
    parser.add_argument("--every", type=int, default=50, metavar="N", help="frames between anchors (%(default)s)")
    parser.add_argument(
        "--interaction",
        dest="interactions",
        type=_interaction,
        action="append",
        default=[],
        metavar="SEQUENCE=START,END,HAND",
        help="a hand (0 left, 1 right, 2 both) touches the object from frame START to END; repeatable",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    sequences = read_dataset(args.dataset, args.folder)
    spans: dict[str, list[Interaction]] = {}
    for name, span in args.interactions:
        spans.setdefault(name, []).append(span)
    left_out = write_trek150(sequences, args.out, every=args.every, interactions=spans)
    for problem in [problem for sequence in sequences for problem in sequence.problems] + left_out:
        logger.warning("%s", problem)
    print(f"{len(sequences) - len(left_out)} sequences in {args.out}, {len(left_out)} left out")
    return 1 if left_out else 0


def _interaction(text: str) -> tuple[str, Interaction]:
    name, _, span = text.rpartition("=")
    values = span.split(",")
    if not name or len(values) != 3 or not all(value.isdecimal() for value in values):
        raise argparse.ArgumentTypeError(f"{text!r} is not SEQUENCE=START,END,HAND")
    return name, Interaction(*map(int, values))
