"""Entry point: finds the command, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence

from .. import __version__
from ..types import TrackerError
from . import (
    data,
    dataset,
    demo,
    evaluate,
    export_challenge,
    install_pytracking,
    mask,
    masks,
    registry,
    report,
    score,
    track,
    train,
    weights,
    workspace,
)

COMMANDS = (
    track,
    mask,
    masks,
    evaluate,
    score,
    report,
    export_challenge,
    dataset,
    data,
    workspace,
    demo,
    train,
    registry,
    install_pytracking,
    weights,
)
EXIT_ERROR = 2  # bad input, a missing package, a file that cannot be read or written; argparse's own code too
EXIT_INTERRUPTED = 130  # as shells report a process that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` as in sys.argv[1:]."""
    args = _parser().parse_args(_join_negative_values(sys.argv[1:] if argv is None else argv))
    logging.basicConfig(format="msdeaot: %(levelname)s: %(message)s", level=logging.DEBUG if args.debug else None)
    if not args.debug:  # the errors below say what matters of what OpenCV and FFmpeg have to say
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("msdeaot: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (TrackerError, ImportError, OSError) as error:
        if args.debug:
            raise
        print(f"msdeaot: error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="msdeaot", description="Visual object tracking by mask propagation (MSDeAOT), from a box or a mask."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.set_defaults(debug=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    for each in (parser, *commands.choices.values()):
        help_text = "log more, and show where an error came from"
        each.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=help_text)
    return parser


def _join_negative_values(argv: Sequence[str]) -> list[str]:
    """["--box", "-3,4,5,6"] -> ["--box=-3,4,5,6"]: argparse would take the value for an option."""
    joined: list[str] = []
    for argument in argv:
        if re.match(r"-[\d.]", argument) and joined and re.fullmatch("--[a-z]+", joined[-1]):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


if __name__ == "__main__":
    sys.exit(main())
