"""`msdeaot track`: follow objects through a video, a folder of frames or a camera."""

from __future__ import annotations

import argparse
import logging
import platform
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from tqdm import tqdm

from .. import __version__
from ..checkpoints import file_sha256
from ..config import config_as_dict
from ..exports import EXPORT, EXPORTERS, check_formats, check_place, export
from ..geometry import mask_to_box
from ..images import mask_objects, read_mask
from ..overlay import draw_overlay
from ..pipeline import WriteBehind, read_ahead
from ..types import Box, InputError, TrackerError
from ..video import Frame, FrameSource, open_source
from ..words import counted
from .display import require_display, select_box, show
from .export import parse_formats
from .options import add_object_option, add_objects, add_tracker_options, parse_box, tracker_from
from .results import ResultWriter, StopOnInterrupt, check_folder

if TYPE_CHECKING:
    from ..tracker import Tracker

Target = Box | np.ndarray

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Follows objects through a video file, a folder of frames or a camera, and writes boxes.txt (one "
        "x,y,w,h per frame, nan where the object is absent; boxes_<id>.txt for several objects), frames.jsonl (boxes, "
        "scores, areas), masks/<frame>.png, overlay.mp4 and result.json. Several sources, each with the same first "
        "objects, get a folder each in DIR."
    )
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="video file, folder of images, or number of a camera; repeatable"
    )
    first = parser.add_mutually_exclusive_group()
    first.add_argument("--box", type=parse_box, metavar="X,Y,W,H", help="object 1, in pixels of the first frame")
    first.add_argument("--mask", type=Path, metavar="FILE.png", help="objects by id: an indexed or grey PNG")
    first.add_argument("--select", action="store_true", help="draw the box of object 1 with the mouse")
    add_object_option(parser)
    parser.add_argument("--frame", type=int, default=0, metavar="N", help="frame to start at, from 0 (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--draw-views", action="store_true", help="draw in white where the network looks (tracker.view)"
    )
    parser.add_argument("--show", action="store_true", help="show the frames as they are tracked; q stops")
    parser.add_argument("--no-overlay", action="store_true", help="write no overlay.mp4")
    parser.add_argument("--no-masks", action="store_true", help="write no masks")
    parser.add_argument(
        "--export",
        dest="formats",
        type=parse_formats,
        default=[],
        metavar="NAME,…",
        help=f"at the end, write the results also as {', '.join(EXPORTERS)}; as `msdeaot export` does later",
    )
    add_tracker_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    for option in ("select", "show"):
        if getattr(args, option):
            require_display(f"--{option}")
    check_formats(args.formats, masks=not args.no_masks)
    load = cache(partial(tracker_from, args))  # after the input of the first source is known to be good
    jobs = _jobs(args)
    for job in jobs if len(jobs) > 1 else ():  # before work on any
        with _open(job) as opened:
            _check(job, next(opened))
    failed = []
    for job in jobs:
        try:
            _run(job, load)
        except TrackerError as error:
            if len(jobs) == 1:
                raise
            logger.error("%s: %s", job.source, error)
            failed.append(job.source)
    if failed:
        raise TrackerError(f"{len(failed)} of {counted(len(jobs), 'source')} could not be tracked: {', '.join(failed)}")
    return 0


def _jobs(args: argparse.Namespace) -> list[argparse.Namespace]:
    """The arguments by source, of several each with a folder of its own below `out`. InputError: two of one name."""
    if len(args.sources) == 1:
        return [argparse.Namespace(**vars(args), source=args.sources[0])]
    jobs: dict[str, argparse.Namespace] = {}
    for source in args.sources:
        name = Path(source).stem if Path(source).is_file() else Path(source).resolve().name
        if name.casefold() in jobs:
            first = jobs[name.casefold()].source
            raise InputError(f"the results of {first} and {source} would both be {args.out / name}: track them apart")
        jobs[name.casefold()] = argparse.Namespace(**{**vars(args), "source": source, "out": args.out / name})
    return list(jobs.values())


def _open(args: argparse.Namespace) -> FrameSource:
    return open_source(args.source, args.frame)


def _check(args: argparse.Namespace, first: Frame) -> dict[int, Target]:
    """The first frame's targets. InputError: none, or results that have no place."""
    targets = _targets(args, first.image)
    check_folder(args.out, targets, _inputs(args))
    check_place(args.out / EXPORT, args.formats)
    return targets


def _run(args: argparse.Namespace, load: Callable[[], Tracker]) -> None:
    with _open(args) as source:
        first = next(source)
        targets = _check(args, first)  # before the model is loaded
        tracker = load()
        writer = _follow(args, source, first, targets, tracker, _describe(args, tracker, targets, source))
    print(f"{counted(writer.frames_written, 'frame')}, {writer.seconds_per_frame:.3f} s each; results in {args.out}")
    if args.formats:
        for name, path in zip(args.formats, export(args.out, args.formats), strict=True):
            print(f"{name}: {path}")


def _follow(
    args: argparse.Namespace,
    source: FrameSource,
    first: Frame,
    targets: Mapping[int, Target],
    tracker: Tracker,
    about: Mapping[str, Any],
) -> ResultWriter:
    """Initialize on the first frame, track the others of the source, each read and written while others are tracked."""
    start = time.perf_counter()
    result = tracker.initialize(first.image, targets)
    seconds = time.perf_counter() - start
    given = {i: mask_to_box(target) if isinstance(target, np.ndarray) else target for i, target in targets.items()}
    what = {"views": args.draw_views, "overlay": not args.no_overlay, "masks": not args.no_masks}
    with (
        StopOnInterrupt() as interrupt,
        ResultWriter(args.out, about, given, source.fps, _inputs(args), **what) as writer,
    ):
        writer.write(first, result, seconds)  # what cannot be written is said before another frame is tracked
        with read_ahead(source) as frames, WriteBehind() as behind:
            for frame in tqdm(frames, initial=1, total=source.length, unit="frame", disable=None):
                start = time.perf_counter()
                result = tracker.track(frame.image)
                behind.call(writer.write, frame, result, time.perf_counter() - start)
                if interrupt.requested:
                    raise KeyboardInterrupt
                if args.show and not show(draw_overlay(frame.image, result, views=args.draw_views)):
                    writer.status = "stopped"
                    break
    return writer


def _inputs(args: argparse.Namespace) -> list[Path]:
    """What the run reads: the results must not take its place."""
    return [Path(path) for path in (args.source, args.mask) if path]


def _targets(args: argparse.Namespace, image: np.ndarray) -> dict[int, Target]:
    """What the options say, by object id."""
    targets: dict[int, Target] = {}
    if args.mask:
        targets.update(_read_targets(args.mask, image.shape[:2]))
    elif args.select:
        targets[1] = select_box(image)
    elif args.box:
        targets[1] = args.box
    add_objects(targets, args.objects)
    if not targets:
        raise InputError("nothing to track: give --box, --mask, --select or --object")
    return targets


def _read_targets(path: Path, size: tuple[int, int]) -> dict[int, np.ndarray]:
    labels = read_mask(path)
    if labels.shape != size:
        (rows, columns), (height, width) = labels.shape, size
        raise InputError(f"mask {path} is {columns}x{rows} pixels, the first frame is {width}x{height}")
    masks = mask_objects(labels)
    if not masks:
        raise InputError(f"mask {path} is empty: it shows no object")
    return masks


def _describe(
    args: argparse.Namespace, tracker: Tracker, targets: Mapping[int, Target], source: FrameSource
) -> dict[str, Any]:
    """What result.json says of a run besides its frames."""
    import torch

    from ..checkpoints import locate_weights, shipped_weights

    model = tracker.model
    weights = locate_weights(args.weights)[0] if args.weights else shipped_weights(model.preset)
    return {
        "versions": {
            "msdeaot-tracker": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": version("timm"),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
        "source": source.name,
        "fps": source.fps,
        "device": str(next(model.parameters()).device),
        "precision": tracker.precision,
        "preset": model.preset.name,
        "weights": {"file": str(weights), "sha256": file_sha256(weights)},
        "settings": config_as_dict(model.preset),
        "initializer": args.initializer,
        "objects": {i: "mask" if isinstance(t, np.ndarray) else list(t) for i, t in targets.items()},
    }
