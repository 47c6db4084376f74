"""Options that several commands share, and the tracker they describe."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from ..initializers import DEFAULT_INITIALIZER, INITIALIZERS, BoxFrom, Initializer, make_initializer
from ..prompts import MAX_OBJECT_ID
from ..types import Box, InputError

if TYPE_CHECKING:
    from ..tracker import Tracker

Group = argparse._ArgumentGroup


def add_tracker_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tracker")
    group.add_argument("--preset", metavar="NAME", help="model to use (default: the one that comes with its weights)")
    group.add_argument(
        "--weights",
        metavar="FILE|NAME",
        help="weights to use, a file or a name of `msdeaot weights list` (default: those that come with the preset)",
    )
    add_initializer_options(group)
    group.add_argument(
        "--refine-every",
        type=int,
        metavar="N",
        help="ask the initializer again about the current box on every N-th frame (default: never)",
    )
    group.add_argument(
        "--box-from",
        choices=get_args(BoxFrom),
        default="mask",
        help="boxes are the masks' rectangles, or Alpha-Refine's (default: %(default)s)",
    )
    add_device_option(group)
    add_settings_option(group, "change a setting of the preset, as in memory.long_term_max=4")


def add_settings_option(group: Group, summary: str) -> None:
    group.add_argument(
        "--set", dest="settings", metavar="KEY=VALUE", action="append", default=[], help=f"{summary}; repeatable"
    )


def add_initializer_options(group: Group) -> None:
    group.add_argument(
        "--initializer",
        metavar="NAME",
        default=DEFAULT_INITIALIZER,
        help=f"from a box to a mask: {', '.join(sorted(INITIALIZERS))}, or two of them, as in ar+sam "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--initializer-set",
        dest="initializer_settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting of the initializer, as in weights=FILE; of ar+sam, as in sam.weights=FILE; repeatable",
    )


def add_device_option(group: Group) -> None:
    group.add_argument("--device", default="auto", help="auto, cpu, cuda[:i] or mps (default: %(default)s)")


def add_object_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--object",
        dest="objects",
        type=_object,
        action="append",
        default=[],
        metavar="ID=X,Y,W,H",
        help="another object; repeatable",
    )


def add_objects(targets: dict[int, Any], objects: Sequence[tuple[int, Any]]) -> None:
    """Put the targets of `--object` or `--point` to what other options gave.

    InputError: an id that is taken, or that no PNG holds.
    """
    for object_id, box in objects:
        if object_id in targets:
            raise InputError(f"--object {object_id}: there is an object of this id already")
        targets[object_id] = box
    for object_id in targets:
        if not 1 <= object_id <= MAX_OBJECT_ID:
            raise InputError(f"object id {object_id}: ids go from 1 to {MAX_OBJECT_ID}, as masks are written as PNGs")


def tracker_from(args: argparse.Namespace) -> Tracker:
    from ..loading import load_tracker

    every = [] if args.refine_every is None else [f"tracker.refine_every={args.refine_every}"]
    return load_tracker(
        args.preset,
        weights=args.weights,
        device=args.device,
        overrides=[*args.settings, *every],
        initializer=args.initializer,
        initializer_settings=parse_settings(args.initializer_settings),
        box_from=args.box_from,
    )


def load_initializer(args: argparse.Namespace, device: Any) -> Initializer:
    return make_initializer(args.initializer, device=device, **parse_settings(args.initializer_settings))


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """["iterations=3", "sam.weights=a.pth"] -> {"iterations": 3, "sam": {"weights": "a.pth"}}.

    A value is a Python literal or, if it is none, the text itself.
    """
    parsed: dict[str, Any] = {}
    for setting in settings:
        path, separator, text = setting.partition("=")
        *parents, name = path.strip().split(".")
        if not separator or not all([*parents, name]):
            raise InputError(f"--initializer-set {setting!r} is not of the form KEY=VALUE")
        node = parsed
        for parent in parents:
            node = node.setdefault(parent, {})
        try:
            node[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            node[name] = text
    return parsed


def parse_box(text: str) -> Box:
    """The text 1,2,30,40 as Box(1, 2, 30, 40); the type of an argument."""
    sides = text.split(",")
    try:
        if len(sides) != 4:
            raise ValueError
        return Box(*map(float, sides))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not X,Y,W,H: four numbers with commas between") from None


def _object(text: str) -> tuple[int, Box]:
    object_id, separator, box = text.partition("=")
    if not separator or not object_id.strip().isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not ID=X,Y,W,H")
    return int(object_id), parse_box(box)
