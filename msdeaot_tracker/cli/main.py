"""Entry point: finds the command, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import logging
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NoReturn

from .. import __version__
from ..threads import spin_briefly
from ..types import InputErrors, TrackerError
from ..words import did_you_mean, explained

# What each does, in the order of the help text; a module of its own, imported when it is called.
COMMANDS = {
    "track": "follow objects through a video",
    "app": "click on objects, track and correct them on a page in the browser",
    "mask": "turn boxes on a picture into masks",
    "masks": "turn a dataset's boxes into masks to train on",
    "export": "write results in the formats of others: csv, jsonl, coco, mot, yolo, davis",
    "evaluate": "score the tracker on sequences with known truth",
    "score": "score result files of a benchmark",
    "report": "compare trackers: a page with plots, tables and clips; Markdown, LaTeX",
    "export-challenge": "write or check a submission to the TREK-150 challenge",
    "export-onnx": "write a model as ONNX graphs, for use without PyTorch",
    "dataset": "bring a dataset into the layout of TREK-150",
    "data": "look through datasets to train on, make one to validate on",
    "workspace": "make a vot-toolkit workspace of TREK-150, LaSOT, GOT-10k or DAVIS",
    "doctor": "say what is installed, what will be used and why, and how to mend what cannot work",
    "demo": "evaluate the tracker with vot-toolkit on procedural videos",
    "train": "train a model by a recipe, or fine-tune one",
    "registry": "print the path of trackers.ini",
    "install-pytracking": "add the tracker to a clone of pytracking",
    "weights": "list, download, check and convert public weights",
}
EXIT_ERROR = 2  # bad input, a missing package, a file that cannot be read or written; argparse's own code too
EXIT_INTERRUPTED = 130  # as shells report a process that Ctrl-C ended
EXIT_BROKEN_PIPE = 141  # as shells report one whose reader went away


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `argv` as in sys.argv[1:]."""
    spin_briefly()
    args = _parser().parse_args(_join_negative_values(sys.argv[1:] if argv is None else argv))
    logging.basicConfig(format="msdeaot: %(levelname)s: %(message)s", level=logging.DEBUG if args.debug else None)
    if not args.debug:  # the errors below say what matters of what OpenCV has to say
        import cv2  # which takes a while, and help texts do without

        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        with _sigterm_as_interrupt():
            code = args.run(args)
            sys.stdout.flush()
            return code
    except KeyboardInterrupt:
        print("msdeaot: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (TrackerError, ImportError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            return EXIT_BROKEN_PIPE
        if args.debug:
            raise
        for fault in error.faults if isinstance(error, InputErrors) else (explained(error),):
            print(f"msdeaot: error: {' '.join(fault.split())}", file=sys.stderr)
        return EXIT_ERROR


def _reader_is_gone() -> bool:
    """Whether whoever read our output has enough, as `head`; what is left to say then goes nowhere."""
    try:
        sys.stdout.flush()
        gone = _is_cut_off(sys.stdout.fileno())
    except BrokenPipeError:
        gone = True
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def _is_cut_off(output: int) -> bool:
    """Whether nobody reads a pipe any more; a flush of unbuffered output does not tell. Where one can be asked."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(output, select.POLLERR)
    return any(event & select.POLLERR for _, event in poll.poll(0))


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """What ends a process politely is Ctrl-C to every command: files are closed, and the state is written down."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def interrupt(number: int, _: object) -> None:
        if os.getpid() != owner:  # a copy of this process that works for it
            os._exit(128 + number)
        raise KeyboardInterrupt

    usual = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)


class _Parser(argparse.ArgumentParser):
    """Its errors name what may have been meant."""

    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: (--[\w-]+)", message)
        choice = re.search(r"invalid choice: '([^']*)'[^(]*\(choose from (.*)\)", message)
        if unknown:
            message += did_you_mean(unknown[1], self._all_options())
        elif choice and "maybe you meant" not in message:
            message += did_you_mean(choice[1], re.findall(r"[\w:.+-]+", choice[2]))
        super().error(message)

    def _all_options(self) -> list[str]:
        """Of this parser and its commands, of which argparse leaves unknown ones to this one."""
        found = list(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found += [option for command in action.choices.values() for option in command._all_options()]
        return found


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="msdeaot", description="Visual object tracking by mask propagation (MSDeAOT), from a box or a mask."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.set_defaults(debug=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, action=_Commands)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary)
    for each in (parser, *commands.choices.values()):
        help_text = "log more, and show where an error came from"
        each.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=help_text)
    return parser


class _Commands(argparse._SubParsersAction):
    """Lets a command's module add its arguments when the command is the one that is called."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        name = values[0]
        import_module(f".{name.replace('-', '_')}", __package__).add_arguments(self.choices[name])
        super().__call__(parser, namespace, values, option)


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
