"""`msdeaot track`: follow objects through a video, a folder of frames or a camera."""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from tqdm import tqdm

from .. import __version__
from ..checkpoints import file_sha256
from ..config import config_as_dict
from ..geometry import mask_to_box
from ..images import mask_objects, read_mask
from ..overlay import draw_overlay
from ..pipeline import WriteBehind, read_ahead
from ..types import Box, InputError
from ..video import Frame, FrameSource, open_source
from ..words import counted
from .display import require_display, select_box, show
from .options import add_object_option, add_objects, add_tracker_options, parse_box, tracker_from
from .results import ResultWriter, StopOnInterrupt, check_folder

if TYPE_CHECKING:
    from ..tracker import Tracker

Target = Box | np.ndarray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Follows objects through a video file, a folder of frames or a camera, and writes boxes.txt (one "
        "x,y,w,h per frame, nan where the object is absent; boxes_<id>.txt for several objects), masks/<frame>.png, "
        "overlay.mp4 and result.json."
    )
    parser.add_argument("source", metavar="SOURCE", help="video file, folder of images, or number of a camera")
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
    add_tracker_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    for option in ("select", "show"):
        if getattr(args, option):
            require_display(f"--{option}")
    with open_source(args.source, args.frame) as source:
        first = next(source)
        targets = _targets(args, first.image)
        check_folder(args.out, targets, _inputs(args))  # before the model is loaded
        tracker = tracker_from(args)
        writer = _follow(args, source, first, targets, tracker, _describe(args, tracker, targets, source))
    print(f"{counted(writer.frames_written, 'frame')}, {writer.seconds_per_frame:.3f} s each; results in {args.out}")
    return 0


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
    with (
        StopOnInterrupt() as interrupt,
        ResultWriter(args.out, about, given, source.fps, _inputs(args), views=args.draw_views) as writer,
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
