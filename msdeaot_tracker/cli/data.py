"""`msdeaot data`: datasets to train on: which there are, whether one is whole; and procedural ones to validate on."""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ..data.clip_sheet import write_clip_sheet
from ..data.datasets.catalogue import DATASETS, find_dataset, open_dataset
from ..data.datasets.masked_videos import VideoSet, read_frame
from ..data.procedural.held_out import KINDS, HeldOut, write_frames, write_sequence
from ..images import IMAGE_SUFFIXES
from ..types import InputError
from ..words import counted

if TYPE_CHECKING:
    from ..data.dataset_check import DatasetReport

_SHOWN = 10  # faults of a kind
_SHEET_SIZE = 320  # pixels, both sides of a clip on the sheet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    listing = commands.add_parser("list", help="the datasets that can be trained on")
    listing.set_defaults(run=run_list)

    check = commands.add_parser(
        "check",
        help="look a dataset through",
        description="Reads every frame and mask of a dataset, names what is missing, damaged or empty, and draws some "
        "clips as training would see them. Exit status 1 when there are faults, 2 when it is not that dataset at all.",
    )
    check.add_argument("dataset", choices=DATASETS, metavar="DATASET", help="one of `msdeaot data list`")
    check.add_argument("folder", type=Path, metavar="DIR", help="where it was unpacked")
    check.add_argument("--videos", type=int, metavar="N", help="only N videos or stills, drawn by chance")
    check.add_argument("--seed", type=int, default=0, help="of what is drawn by chance (default: %(default)s)")
    check.add_argument("--threads", type=int, default=1, metavar="N", help="videos at a time (default: %(default)s)")
    check.add_argument(
        "--sheet", type=Path, default=Path("clips.jpg"), metavar="FILE", help="picture of clips (default: %(default)s)"
    )
    check.add_argument(
        "--rows", type=int, default=8, metavar="N", help="clips on it, 0 for none (default: %(default)s)"
    )
    check.set_defaults(run=run_check)

    procedural = commands.add_parser(
        "procedural",
        help="write the procedural sequences that training never sees",
        description="Draws sequences with known truth, the same for everyone: one object, two, one among distractors, "
        "and objects that go and come back, in turn; or small ones, tiny, fast and leaving. DIR/JPEGImages and "
        "DIR/Annotations, for `msdeaot evaluate DIR`; "
        "the frames are PNGs, so that scores are those of the validation during training (0.2 MB each at 480x270).",
    )
    usual = HeldOut()
    procedural.add_argument("folder", type=Path, metavar="DIR")
    procedural.add_argument("--kind", choices=list(KINDS), default=usual.kind, help="default: %(default)s")
    procedural.add_argument("--count", type=int, default=usual.count, metavar="N", help="default: %(default)s")
    procedural.add_argument(
        "--frames", type=int, default=usual.frames, metavar="N", help="of each (default: %(default)s)"
    )
    procedural.add_argument("--size", type=parse_size, default=usual.size, metavar="WxH", help="default: 480x270")
    procedural.add_argument(
        "--seed", type=int, default=usual.seed, help="of the first; the others follow (default: %(default)s)"
    )
    procedural.set_defaults(run=run_procedural)

    validation = commands.add_parser(
        "held-out",
        help="write sequences of what a recipe holds out of real data",
        description="Writes sequences of what training by a recipe never sees of its datasets: objects of the held-out "
        "stills in motion over held-out pictures, and the end of each video. DIR/JPEGImages and DIR/Annotations, for "
        "`msdeaot evaluate DIR` and `msdeaot train --validate DIR`.",
    )
    validation.add_argument("folder", type=Path, metavar="DIR")
    validation.add_argument("--recipe", default="msdeaot-lite", help="default: %(default)s")
    validation.add_argument("--data-root", type=Path, required=True, metavar="DATASETS", help="each is DATASETS/NAME")
    validation.add_argument("--count", type=int, default=usual.count, metavar="N", help="of stills (default: 16)")
    validation.set_defaults(run=run_held_out)


def run_list(args: argparse.Namespace) -> int:
    for name, info in DATASETS.items():
        print(f"{name:12} {info.summary}\n{'':12} from {info.source}; terms: {info.terms}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    from ..data.dataset_check import check_videos

    if args.sheet.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"--sheet {args.sheet}: a picture's name ends in {', '.join(sorted(IMAGE_SUFFIXES))}")
    videos = open_dataset(args.dataset, args.folder)
    names = list(videos.names)
    if args.videos is not None:
        if not 1 <= args.videos <= len(names):
            raise InputError(f"--videos {args.videos}: there are {len(names)}")
        names = sorted(random.Random(args.seed).sample(names, args.videos))
    with tqdm(total=len(names), unit="still" if videos.stills else "video", disable=None) as bar:
        report = check_videos(videos, names, threads=args.threads, on_video=bar.update)
    _print_report(report, videos)
    if args.rows > 0 and videos.masked:
        _draw_clips(args, videos)
    return 0 if report.is_sound else 1


def run_procedural(args: argparse.Namespace) -> int:
    sequences = HeldOut(args.count, args.frames, args.size, args.seed, args.kind)
    _check_new(args.folder)
    for sequence in tqdm(sequences, unit="sequence", disable=None):
        write_sequence(args.folder, sequence)
    print(f"{counted(len(sequences), 'sequence')}: {args.folder}")
    return 0


def run_held_out(args: argparse.Namespace) -> int:
    from ..training.mixes import Mix  # training needs packages that other commands do without
    from ..training.recipes import find_recipe

    mix = find_recipe(args.recipe).data
    if not (isinstance(mix, Mix) and mix.hold_out):
        raise InputError(f"--recipe {args.recipe} holds nothing out")
    _check_new(args.folder)
    videos, props = mix.open_held_out({name: args.data_root / name for name in mix.datasets})
    sequences = HeldOut(count=args.count, props=props) if props is not None else []
    for sequence in tqdm(sequences, unit="sequence", disable=None):
        write_sequence(args.folder, sequence)
    for part in videos:
        for name in part.names:
            write_frames(args.folder, name, [read_frame(frame) for frame in part.frames(name)])
    print(f"{len(sequences) + sum(len(part.names) for part in videos)} sequences: {args.folder}")
    return 0


def _check_new(folder: Path) -> None:
    for name in ("JPEGImages", "Annotations"):
        if (folder / name).exists():
            raise InputError(f"{folder} has {name} already; choose another folder")


def parse_size(text: str) -> tuple[int, int]:
    """The text 480x270 as (480, 270), width and height in pixels; the type of an argument."""
    width, separator, height = text.partition("x")
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in pixels")
    return int(width), int(height)


def _print_report(report: DatasetReport, videos: VideoSet) -> None:
    from ..data.dataset_check import NOTES

    kind = "still" if videos.stills else "video"
    print(f"{counted(report.videos, kind)}, {counted(report.frames, 'frame')} with a mask file")
    none = f"{counted(report.empty_frames, 'frame')} show{'s' if report.empty_frames == 1 else ''} none"
    print(f"{counted(report.objects, 'object')}; {none}")
    for kind, faults in report.faults.items():
        print(f"{len(faults)} {kind}{f' (no fault: {NOTES[kind]})' if kind in NOTES else ''}")
        for fault in faults[:_SHOWN]:
            print(f"  {fault}")
        if len(faults) > _SHOWN:
            print(f"  and {len(faults) - _SHOWN} more")
    if report.is_sound:
        print("no faults")


def _draw_clips(args: argparse.Namespace, videos: VideoSet) -> None:
    from ..data.mixing import MixConfig, MixedBatches, Part

    part = Part(videos, max_gap=find_dataset(args.dataset).max_gap, merge=0.0)
    data = MixedBatches([part], MixConfig(size=_SHEET_SIZE), args.rows, args.seed)
    try:
        samples = [data.sample(number) for number in range(args.rows)]
    except InputError as error:  # the report has said why
        print(f"no clips can be drawn: {error}")
        return
    write_clip_sheet(args.sheet, ((sample.clip, sample.origin) for sample in samples))
    print(f"clips: {args.sheet}")
