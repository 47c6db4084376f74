"""`msdeaot masks`: a tracking dataset's boxes as masks to train on."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..data.contact_sheet import write_contact_sheet
from ..data.mask_records import KEPT, REJECTED, UNREADABLE, VideoReport, claim_folder
from ..data.masks.making import MaskRules, Segmenter, contact_samples
from ..data.masks.training_boxes import LAYOUTS, choose_videos, list_videos
from ..initializers import make_initializer
from ..types import InputError
from ..words import counted
from .options import add_device_option, add_initializer_options, parse_settings

SHEET = "contact.jpg"
_FAULTS_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Turns the boxes of a tracking dataset into a dataset of masks: Annotations/<video>/<frame>.png "
        "(indexed) and JPEGImages/<video> (links) for the frames whose mask passes, masks/<video>.csv with what became "
        "of every frame, contact.jpg with samples of both. The same command again goes on where it stopped."
    )
    parser.add_argument(
        "--boxes",
        type=_dataset,
        required=True,
        metavar="LAYOUT:DIR",
        help=f"the boxes, as in lasot:DIR; layouts: {', '.join(LAYOUTS)} (of which DIR may be an annotation file)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the masks")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th frame with a box (%(default)s)")
    parser.add_argument(
        "--min-iou",
        type=float,
        default=0.7,
        metavar="IOU",
        help="a mask is kept when its rectangle overlaps the box at least so much (default: %(default)s)",
    )
    parser.add_argument("--videos", type=int, metavar="N", help="only a random sample of N videos")
    parser.add_argument("--seed", type=int, default=0, help="of that sample (default: %(default)s)")
    parser.add_argument(
        "--shard",
        type=_shard,
        default=(1, 1),
        metavar="I/N",
        help="the I-th of N equal parts of the videos, for several machines",
    )
    parser.add_argument("--workers", type=int, default=1, help="processes, each with a network (default: %(default)s)")
    parser.add_argument(
        "--sheet", type=int, default=24, metavar="N", help="samples on contact.jpg, 0 for none (default: %(default)s)"
    )
    group = parser.add_argument_group("initializer")
    add_initializer_options(group)
    add_device_option(group)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ..data.masks.workers import make_dataset, make_in_parallel
    from ..device import pick_device

    layout, folder = args.boxes
    if args.workers < 1:
        raise InputError(f"--workers {args.workers}: at least one")
    rules = MaskRules(args.every, args.min_iou)
    videos = choose_videos(list_videos(layout, folder), sample=args.videos, seed=args.seed, shard=args.shard)
    options = parse_settings(args.initializer_settings)
    make_segmenter = partial(_make_segmenter, args.initializer, str(pick_device(args.device)), options, args.debug)
    segment = make_segmenter()  # what is wrong with it is to be said before the folder is begun
    settings = {
        "boxes": f"{layout}:{folder.resolve()}",
        "initializer": args.initializer,
        "initializer_settings": options,
        "every": rules.every,
        "min_iou": rules.min_iou,
        "videos": args.videos,
        "seed": args.seed,
    }
    claim_folder(args.out, settings)
    reports: list[VideoReport] = []
    with tqdm(unit="frame", disable=None) as bar:
        if args.workers == 1:
            work = make_dataset(videos, segment, args.out, rules, on_frames=bar.update)
        else:
            work = make_in_parallel(videos, make_segmenter, args.out, rules, args.workers, on_frames=bar.update)
        for report in work:
            reports.append(report)
            bar.set_postfix_str(f"{len(reports)} of {len(videos)} videos")
    _print_summary(reports)
    print(f"masks: {args.out}")
    if args.sheet > 0 and any(report.kept + report.rejected for report in reports):
        write_contact_sheet(args.out / SHEET, contact_samples(args.out, args.sheet, segment))
        print(f"samples: {args.out / SHEET}")
    return 0


def _make_segmenter(name: str, device: str, options: Mapping[str, Any], debug: bool) -> Segmenter:
    """In this process or in a worker."""
    if not debug:  # what it warns of is in the csv, frame by frame
        for module in ("initializers", "geometry"):
            logging.getLogger(f"msdeaot_tracker.{module}").setLevel(logging.ERROR)
    return make_initializer(name, device=device, **options)


def _print_summary(reports: Sequence[VideoReport]) -> None:
    kept, rejected, unreadable = (sum(getattr(r, status) for r in reports) for status in (KEPT, REJECTED, UNREADABLE))
    left_out = [report for report in reports if report.problem]
    iou = sum(report.iou_sum for report in reports) / kept if kept else float("nan")
    frames = counted(kept + rejected + unreadable, "frame")
    print(f"{counted(len(reports) - len(left_out), 'video')}, {frames} with a box")
    print(f"{counted(kept, 'mask')} kept, whose rectangles overlap the boxes by {iou:.3f} (mean IoU)")
    print(
        f"{counted(rejected, 'mask')} rejected, {counted(unreadable, 'frame')} unreadable, "
        f"{counted(len(left_out), 'video')} left out"
    )
    faults = [f"{r.name}: {r.problem}" for r in left_out] + [fault for r in reports for fault in r.faults]
    total = len(left_out) + unreadable
    for fault in faults[:_FAULTS_SHOWN]:
        print(f"  {fault}")
    if total > _FAULTS_SHOWN:
        print(f"  and {total - _FAULTS_SHOWN} more; frames are listed in masks/*.csv")


def _dataset(text: str) -> tuple[str, Path]:
    layout, separator, folder = text.partition(":")
    if layout not in LAYOUTS or not separator or not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not LAYOUT:DIR with one of {', '.join(LAYOUTS)}")
    return layout, Path(folder)


def _shard(text: str) -> tuple[int, int]:
    index, separator, count = text.partition("/")
    if not separator or not index.isdecimal() or not count.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N, as in 1/4")
    return int(index), int(count)
