"""Boxes to masks, measured: `python benchmarks/initializers.py [FOLDER] [--held-out NAME=DIR …] [--procedural N] …`.

The boxes are the rectangles of the true masks on first frames: of FOLDER/JPEGImages/<sequence> with its
FOLDER/Annotations/<sequence>; of what training leaves out of a dataset of the catalogue (a tenth of its stills, or of
each video one of its last frames); or of the procedural clips with seeds --seed to --seed + N - 1 (854x480, default
configuration, objects of at least 0.5 % of the image). `--jitter` moves every side at random by 5 to 10 % of the box's
side, in or out; `--loose` makes the boxes 20 % too big; both as people draw them.

box IoU: of the mask's rectangle with the box that was given. Said: the mean overlap that the initializer expects of
its masks, and the mean distance of what it expects from what it is. Milliseconds: median per box, one CPU thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from msdeaot_tracker.cli.options import add_device_option, parse_settings
from msdeaot_tracker.data.datasets.catalogue import open_dataset
from msdeaot_tracker.data.datasets.masked_videos import VideoSet, held_out, object_ids, read_frame
from msdeaot_tracker.data.procedural import ClipConfig, generate_clip
from msdeaot_tracker.evaluation import find_sequences
from msdeaot_tracker.geometry import clip_box, mask_iou, mask_to_box, rectangle_iou
from msdeaot_tracker.initializers import Initializer, make_initializer
from msdeaot_tracker.types import Box, TrackerError

PROCEDURAL = ClipConfig(height=480, width=854, frames=1)
MIN_AREA = 0.005  # of the image; of procedural objects
MIN_PIXELS = 60  # of the objects of a dataset


class Sample(NamedTuple):
    name: str
    image: np.ndarray  # uint8 [H, W, 3] RGB
    truth: np.ndarray  # bool [H, W]


class Score(NamedTuple):
    iou: float
    box_iou: float
    confidence: float | None
    milliseconds: float


def real_samples(root: Path) -> Iterator[Sample]:
    for sequence in find_sequences(root):
        image = sequence.image(0)
        for object_id, truth in sequence.masks(0).items():
            yield Sample(f"{sequence.name}:{object_id}", image, truth)


def held_out_samples(videos: VideoSet) -> Iterator[Sample]:
    for name in videos.names:
        image, labels = read_frame(videos.frames(name)[0])
        for object_id in object_ids([labels]):
            truth = labels == object_id
            if truth.sum() >= MIN_PIXELS:
                yield Sample(f"{name}:{object_id}", image, truth)


def procedural_samples(clips: int, first_seed: int) -> Iterator[Sample]:
    for seed in range(first_seed, first_seed + clips):
        clip = generate_clip(seed, PROCEDURAL)
        image, labels = clip.frames[0], clip.labels[0]
        for object_id in range(1, labels.max() + 1):
            if (labels == object_id).mean() >= MIN_AREA:
                yield Sample(f"seed {seed}:{object_id}", image, labels == object_id)


def drawn_box(tight: Box, drawing: str, rng: np.random.Generator) -> Box:
    """The box as someone draws it: left, top, right and bottom each moved by a share of the box's side."""
    if drawing == "jitter":
        moves = rng.uniform(0.05, 0.10, 4) * rng.choice([-1, 1], 4)
    else:
        moves = 0.1 * np.array([-1, -1, 1, 1]) * (drawing == "loose")
    x, y, w, h = tight
    left, top, right, bottom = np.array([x, y, x + w, y + h]) + moves * [w, h, w, h]
    return Box(left, top, right - left, bottom - top)


def score(initializer: Initializer, sample: Sample, box: Box) -> Score:
    began = time.perf_counter()
    estimate = initializer(sample.image, box)
    milliseconds = 1000 * (time.perf_counter() - began)
    mask = estimate.mask
    return Score(mask_iou(mask, sample.truth), rectangle_iou(mask_to_box(mask), box), estimate.confidence, milliseconds)


def print_table(samples: list[Sample], initializers: dict[str, Initializer], drawing: str, seed: int) -> None:
    """A line per sample with the IoU of each initializer, then a line per initializer with its means."""
    rng = np.random.default_rng(seed)
    scores: dict[str, list[Score]] = {name: [] for name in initializers}
    print(f"{'object':<24}" + "".join(f"{name:>10}" for name in initializers))
    for sample in samples:
        box = clip_box(drawn_box(mask_to_box(sample.truth), drawing, rng), *sample.truth.shape)
        for name, initializer in initializers.items():
            scores[name].append(score(initializer, sample, box))
        print(f"{sample.name:<24}" + "".join(f"{scores[name][-1].iou:>10.3f}" for name in initializers), flush=True)
    print(f"\n{'initializer':<16}{'IoU':>8}{'median':>8}{'box IoU':>9}{'ms':>8}{'said':>8}{'off by':>8}")
    for name, rows in scores.items():
        ious, box_ious, said, milliseconds = zip(*rows, strict=True)
        means = f"{statistics.mean(ious):>8.3f}{statistics.median(ious):>8.3f}{statistics.mean(box_ious):>9.3f}"
        told = f"{'-':>8}{'-':>8}"
        if None not in said:
            error = statistics.mean(abs(a - b) for a, b in zip(said, ious, strict=True))
            told = f"{statistics.mean(said):>8.3f}{error:>8.3f}"
        print(f"{name:<16}{means}{statistics.median(milliseconds):>8.0f}{told}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="JPEGImages and Annotations of sequences")
    parser.add_argument("--procedural", type=int, metavar="N", default=0, help="number of clips drawn")
    parser.add_argument(
        "--held-out", metavar="NAME=DIR", help="what training leaves out of this dataset of `msdeaot data list`"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first clip, and of the jitter")
    parser.add_argument("--initializers", nargs="+", default=["lite", "grabcut", "box"], metavar="NAME")
    parser.add_argument(
        "--initializer-set",
        dest="settings",
        metavar="NAME.KEY=VALUE",
        action="append",
        default=[],
        help="change a setting of one, as in grabcut.iterations=1; repeatable",
    )
    drawing = parser.add_mutually_exclusive_group()
    drawing.add_argument("--jitter", dest="drawing", action="store_const", const="jitter", default="tight")
    drawing.add_argument("--loose", dest="drawing", action="store_const", const="loose")
    add_device_option(parser.add_argument_group("device"))
    arguments = parser.parse_args()
    if sum((arguments.folder is not None, arguments.held_out is not None, arguments.procedural > 0)) != 1:
        parser.error("name one of these: a folder, --held-out NAME=DIR, or --procedural with a number of clips from 1")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        settings = parse_settings(arguments.settings)
        for name, values in settings.items():
            if name not in arguments.initializers or not isinstance(values, dict):
                parser.error(f"--initializer-set {name}: expected NAME.KEY=VALUE with a name of --initializers")
        initializers = {
            name: make_initializer(name, device=arguments.device, **settings.get(name, {}))
            for name in arguments.initializers
        }
        if arguments.folder:
            samples = list(real_samples(arguments.folder))
        elif arguments.held_out:
            name, _, folder = arguments.held_out.partition("=")
            samples = list(held_out_samples(held_out(open_dataset(name, Path(folder)))))
        else:
            samples = list(procedural_samples(arguments.procedural, arguments.seed))
    except TrackerError as error:
        parser.error(str(error))
    drawn = f"{arguments.procedural} procedural clips from seed {arguments.seed}"
    source = arguments.folder or (f"held-out {arguments.held_out}" if arguments.held_out else drawn)
    print(f"frames of {source}: {len(samples)} objects, boxes {arguments.drawing} (seed {arguments.seed})\n")
    print_table(samples, initializers, arguments.drawing, arguments.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
