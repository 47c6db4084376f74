"""`msdeaot doctor`: what is installed, what will be used and why, and whether what a user wants to do can work."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..types import InputError
from ..words import counted, did_you_mean
from .options import add_device_option

if TYPE_CHECKING:
    from .doctor_checks import Finding

_EXIT_CANNOT_WORK = 1
_SECONDS = 1.0  # of the speed test
_VITAL = ("packages", "device", "speed")  # without these nothing works, whatever was asked about
_MARKS = {True: "ok", False: "NO", None: "--"}
Check = Callable[[], Iterable["Finding"]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Says what is installed, which device, precision and threads will be used and why, which weights are there, "
        "and how fast the tracker is on a drawn video. Each NAME, an extra of the package, `pytracking` or `opencv`, "
        "is looked at closely: exit status 1, with the line that mends it, when one cannot work."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="as in `msdeaot doctor vot pytracking`")
    parser.add_argument("--pytracking", type=Path, metavar="CLONE", help="its clone (default: the current folder)")
    add_device_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from . import doctor_checks as checks

    asked = _asked(args, checks.extras())
    print(f"{checks.NAME} {__version__}, Python {platform.python_version()}, {platform.platform()}")
    general: dict[str, Check] = {
        "packages": checks.core_packages,
        "opencv": checks.opencv,
        "device": partial(checks.device, args.device),
        "weights": checks.weights,
        "speed": partial(checks.speed, args.device, _SECONDS),
    }
    bad = [name for name, check in (general | asked).items() if not _tell(name, check())]
    needed = [name for name in bad if name in asked or name in _VITAL]
    if needed:
        print(f"{counted(len(needed), 'thing')} cannot work: {', '.join(needed)}")
    return _EXIT_CANNOT_WORK if needed else 0


def _asked(args: argparse.Namespace, extras: list[str]) -> dict[str, Check]:
    """By name. InputError: a name that is none."""
    from . import doctor_checks as checks

    found: dict[str, Check] = {name: partial(checks.extra_packages, name) for name in extras}
    joined = {"vot": checks.toolkit, "vots": checks.toolkit, "weights": checks.weights}
    found |= {name: partial(_both, found[name], second) for name, second in joined.items() if name in found}
    found |= {"opencv": checks.opencv, "pytracking": partial(checks.pytracking, args.pytracking)}
    for name in args.names:
        if name not in found:
            raise InputError(f"{name!r} is none of {', '.join(sorted(found))}{did_you_mean(name, found)}")
    names = [*args.names, *(["pytracking"] if args.pytracking and "pytracking" not in args.names else [])]
    return {name: found[name] for name in names}


def _both(first: Check, second: Check) -> Iterable[Finding]:
    return chain(first(), second())


def _tell(name: str, findings: Iterable[Finding]) -> bool:
    """Print what was found, each with the line that mends it; whether all is good."""
    good = True
    for finding in findings:
        print(f"{name:<12}{_MARKS[finding.good]}  {finding.text}", flush=True)
        if finding.good is False:
            good = False
            print(f"{'':<16}{finding.mend}" if finding.mend else "", end="\n" if finding.mend else "")
    return good
