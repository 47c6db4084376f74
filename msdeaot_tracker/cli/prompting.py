"""What to track: the options that say it of the first frame, and the prompts file that says it of any."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..images import mask_objects, read_mask
from ..prompts import Prompts, PromptsFile, read_prompts
from ..targets import Target
from ..types import InputError, Points
from ..video import Frame
from .display import select_box
from .options import add_object_option, add_objects, parse_box


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    first = parser.add_mutually_exclusive_group()
    first.add_argument("--box", type=parse_box, metavar="X,Y,W,H", help="object 1, in pixels of the first frame")
    first.add_argument("--mask", type=Path, metavar="FILE.png", help="objects by id: an indexed or grey PNG")
    first.add_argument("--select", action="store_true", help="draw the box of object 1 with the mouse")
    add_object_option(parser)
    parser.add_argument(
        "--point",
        dest="points",
        type=_point,
        action="append",
        default=[],
        metavar="ID=X,Y[,-]",
        help="a click on an object, or with - on what is not that object; beside its box or mask they correct it; "
        "repeatable",
    )
    parser.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE.json",
        help="boxes, masks, points and removals on any frame; docs/prompts.md says how they are written",
    )


def read_file(args: argparse.Namespace) -> PromptsFile | None:
    """What `--prompts` names. InputErrors: all that is wrong with it."""
    return None if args.prompts is None else read_prompts(args.prompts)


def first_frame(args: argparse.Namespace, file: PromptsFile | None) -> int:
    """What to start at: `--frame`, or the first frame of the file, of `--backward` the last."""
    if args.frame is not None or file is None or any((args.box, args.mask, args.select, args.objects, args.points)):
        return args.frame or 0
    return (max if args.backward else min)(file.frames)


def all_prompts(args: argparse.Namespace, file: PromptsFile | None, first: Frame) -> Prompts:
    """Of the options and of the file, by frame. InputError: none, or an object that both give on one frame."""
    prompts: dict[int, dict[int, Target | None]] = {}
    if file is not None:
        prompts |= {frame: dict(targets) for frame, targets in file.frames.items()}
    options = _first_targets(args, first.image)
    own = prompts.setdefault(first.index, {}) if options else {}
    for object_id, target in options.items():
        if object_id in own:
            raise InputError(f"object {object_id} is given on frame {first.index} by an option and by {args.prompts}")
        own[object_id] = target
    if not prompts:
        raise InputError("nothing to track: give --box, --mask, --select, --object, --point or --prompts")
    return prompts


def describe_target(target: Target | None) -> Any:
    """For result.json."""
    if target is None:
        return "remove"
    if isinstance(target, np.ndarray):
        return "mask"
    if not isinstance(target, Points):
        return list(target)
    clicks = {"foreground": [list(p) for p in target.foreground], "background": [list(p) for p in target.background]}
    beside = {} if target.box is None else {"box": list(target.box)}
    return {"points": clicks, **beside, **({} if target.mask is None else {"mask": "mask"})}


def _first_targets(args: argparse.Namespace, image: np.ndarray) -> dict[int, Target]:
    """What the options say, by object id."""
    targets: dict[int, Target] = {}
    if args.mask:
        targets.update(_read_targets(args.mask, image.shape[:2]))
    elif args.select:
        targets[1] = select_box(image)
    elif args.box:
        targets[1] = args.box
    add_objects(targets, args.objects)
    clicks: dict[int, Points] = {}
    for object_id, point, is_object in args.points:
        before = clicks.get(object_id, Points())
        if is_object:
            clicks[object_id] = replace(before, foreground=(*before.foreground, point))
        else:
            clicks[object_id] = replace(before, background=(*before.background, point))
    for object_id, points in clicks.items():
        beside = targets.pop(object_id, None)
        mask, box = (beside, None) if isinstance(beside, np.ndarray) else (None, beside)
        add_objects(targets, [(object_id, replace(points, box=box, mask=mask))])
    return targets


def _read_targets(path: Path, size: tuple[int, int]) -> Mapping[int, np.ndarray]:
    labels = read_mask(path)
    if labels.shape != size:
        (rows, columns), (height, width) = labels.shape, size
        raise InputError(f"mask {path} is {columns}x{rows} pixels, the first frame is {width}x{height}")
    masks = mask_objects(labels)
    if not masks:
        raise InputError(f"mask {path} is empty: it shows no object")
    return masks


def _point(text: str) -> tuple[int, tuple[float, float], bool]:
    object_id, separator, click = text.partition("=")
    x, y, *sign = click.split(",")[:3] if click.count(",") in (1, 2) else ("", "")
    try:
        if not separator or sign not in ([], ["-"], ["+"]):
            raise ValueError
        return int(object_id), (float(x), float(y)), sign != ["-"]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not ID=X,Y, or ID=X,Y,- for the background") from None
