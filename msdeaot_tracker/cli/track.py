"""`msdeaot track`: follow objects through a video, images, a stream or a camera."""

from __future__ import annotations

import argparse
import logging
import platform
from collections.abc import Callable, Mapping
from contextlib import closing
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
from ..exports.folder import video_name
from ..geometry import mask_to_box
from ..overlay import draw_overlay
from ..pipeline import WriteBehind
from ..types import Box, InputError, Points, TrackerError
from ..words import counted
from .display import require_display, show
from .export import parse_formats
from .options import add_tracker_options, tracker_from
from .prompting import add_prompt_options, all_prompts, describe_target, first_frame, read_file
from .results import ResultWriter, StopOnInterrupt, check_folder

if TYPE_CHECKING:
    from ..passes import Run
    from ..tracker import Tracker

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Follows objects through a video file, a folder of frames or a camera, and writes boxes.txt (one "
        "x,y,w,h per frame, nan where the object is absent; boxes_<id>.txt for several objects), frames.jsonl (boxes, "
        "scores, areas), masks/<frame>.png, overlay.mp4 and result.json. Several sources, each with the same first "
        "objects, get a folder each in DIR."
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="video file, folder or pattern of images, address of a stream, or number of a camera; repeatable",
    )
    add_prompt_options(parser)
    parser.add_argument(
        "--frame", type=int, metavar="N", help="frame to start at, from 0 (default: that of the first prompt)"
    )
    parser.add_argument("--end", type=int, metavar="N", help="frame before which to stop (of --backward: after which)")
    parser.add_argument("--stride", type=int, default=1, metavar="N", help="track every N-th frame (%(default)s)")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--backward", action="store_true", help="track from the frame backward")
    way.add_argument("--both", action="store_true", help="track from the frame backward and forward")
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
    args.file = read_file(args)
    load = cache(partial(tracker_from, args))  # after the input of the first source is known to be good
    jobs = _jobs(args)
    for job in jobs if len(jobs) > 1 else ():  # before work on any
        with _open(job) as opened:
            _check(job, opened)
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
        name = video_name(source, is_folder=Path(source).is_dir())
        if name.casefold() in jobs:
            first = jobs[name.casefold()].source
            raise InputError(f"the results of {first} and {source} would both be {args.out / name}: track them apart")
        jobs[name.casefold()] = argparse.Namespace(**{**vars(args), "source": source, "out": args.out / name})
    return list(jobs.values())


def _open(args: argparse.Namespace) -> Run:
    from ..passes import Run

    direction = "backward" if args.backward else "both" if args.both else "forward"
    start = first_frame(args, args.file)
    return Run.open(args.source, start, end=args.end, stride=args.stride, direction=direction)


def _check(args: argparse.Namespace, opened: Run) -> None:
    """Give the run its prompts. InputError: none, or such as cannot be; or results that have no place."""
    if args.file is not None:
        args.file.check_video(args.source, opened.size, opened.length)
    opened.prompt(all_prompts(args, args.file, opened.first))
    check_folder(args.out, opened.object_ids, _inputs(args))
    check_place(args.out / EXPORT, args.formats)


def _run(args: argparse.Namespace, load: Callable[[], Tracker]) -> None:
    with _open(args) as opened:
        _check(args, opened)  # before the model is loaded
        tracker = load()
        writer = _follow(args, opened, tracker, _describe(args, tracker, opened))
    print(f"{counted(writer.frames_written, 'frame')}, {writer.seconds_per_frame:.3f} s each; results in {args.out}")
    if args.formats:
        for name, path in zip(args.formats, export(args.out, args.formats), strict=True):
            print(f"{name}: {path}")


def _follow(args: argparse.Namespace, opened: Run, tracker: Tracker, about: Mapping[str, Any]) -> ResultWriter:
    """Track the frames, write each as it comes: in the video's order, those before the start when all are known."""
    what = {"views": args.draw_views, "overlay": not args.no_overlay, "masks": not args.no_masks}
    of_run = {"object_ids": opened.object_ids, "start": opened.start, "stride": opened.stride}
    with (
        StopOnInterrupt() as interrupt,
        tqdm(total=opened.total, unit="frame", disable=None) as bar,
        closing(
            opened.steps(tracker, progress=lambda *_: bar.update(), stop=lambda: interrupt.requested)
        ) as steps,  # whatever ends the run, no frame is read any more when the source is closed
        ResultWriter(args.out, about, _boxes(opened), opened.fps, _inputs(args), **what, **of_run) as writer,
    ):
        with WriteBehind() as behind:
            for frame, result, seconds in steps:
                if writer.frames_written:
                    behind.call(writer.write, frame, result, seconds)
                else:
                    writer.write(frame, result, seconds)  # what cannot be written is said before another is tracked
                if args.show and not show(draw_overlay(frame.image, result, views=args.draw_views)):
                    writer.status = "stopped"
                    break
        if interrupt.requested:
            raise KeyboardInterrupt
    return writer


def _boxes(opened: Run) -> dict[int, Box]:
    """Of the objects that are given by boxes or masks on the frame that the run starts at."""
    boxes: dict[int, Box] = {}
    for object_id, target in opened.prompts[opened.start].items():
        box = mask_to_box(target) if isinstance(target, np.ndarray) else target
        if box is not None and not isinstance(box, Points):
            boxes[object_id] = Box(*box)
    return boxes


def _inputs(args: argparse.Namespace) -> list[Path]:
    """What the run reads: the results must not take its place."""
    return [Path(path) for path in (args.source, args.mask, args.prompts) if path]


def _describe(args: argparse.Namespace, tracker: Tracker, opened: Run) -> dict[str, Any]:
    """What result.json says of a run besides its frames."""
    import torch

    from ..checkpoints import locate_weights, shipped_weights

    model = tracker.model
    by_frame = {f: {i: describe_target(t) for i, t in ids.items()} for f, ids in opened.prompts.items()}
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
        "source": opened.name,
        "fps": opened.fps,
        "device": str(next(model.parameters()).device),
        "precision": tracker.precision,
        "preset": model.preset.name,
        "weights": {"file": str(weights), "sha256": file_sha256(weights)},
        "settings": config_as_dict(model.preset),
        "initializer": args.initializer,
        "objects": by_frame[opened.start],
        "prompts": {frame: objects for frame, objects in by_frame.items() if frame != opened.start},
    }
