"""`msdeaot evaluate`: scores on sequences whose truth is known."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..evaluation import (
    FOUND_WITHIN,
    GOOD,
    STAYED,
    Sequence,
    SequenceScore,
    StaticTracker,
    VideoTracker,
    find_sequences,
    roc_area,
    run_sequence,
)
from ..types import InputError, TrackerError
from ..words import counted
from . import evaluate_dataset
from .options import add_tracker_options, tracker_from

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "One pass over each sequence of DIR/JPEGImages/<sequence> with DIR/Annotations/<sequence> (indexed "
        "or grey PNGs, of every frame or of some), or of DAVIS as it is published, started from the first frame's "
        "masks or boxes. success: area under the success curve of the boxes (21 overlap thresholds from 0 to 1, the "
        "first frame counted as 1, as the TREK-150 toolkit does); J: mean overlap of the masks without the first and "
        "the last frame, as DAVIS does. With --dataset: DIR is a benchmark of boxes, and results are written in the "
        "TREK-150 toolkit's layout, for `msdeaot score` or that toolkit. What is left out, or not taken as it is in "
        "the files, is named and counted, and makes exit status 1."
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument(
        "--init", choices=["mask", "box"], help="what the tracker starts from; required without --dataset"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores to a file as well")
    parser.add_argument(
        "--tracker",
        type=evaluate_dataset.parse_tracker,
        default=evaluate_dataset.OURS,
        metavar="NAME",
        help="msdeaot, or a baseline: static repeats the first frame's answer; with --dataset also opencv:mil, "
        "opencv:csrt, opencv:kcf, pytracking:NAME/PARAMETERS (default: %(default)s)",
    )
    evaluate_dataset.add_dataset_options(parser)
    add_tracker_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.dataset:
        return evaluate_dataset.run(args)
    evaluate_dataset.check_unused(args)
    if not args.init:
        raise InputError("--init mask or --init box is needed: what the tracker starts from (or --dataset)")
    if args.tracker not in (evaluate_dataset.OURS, "static"):
        raise InputError(f"--tracker {args.tracker} follows boxes: it needs --dataset")
    left_out: list[str] = []
    sequences = _find(args.folder, left_out)
    if args.json:
        args.json.touch()  # now, not after hours, is the time to hear that it cannot be written
    tracker: VideoTracker = StaticTracker() if args.tracker == "static" else tracker_from(args)
    width = max(len("sequence"), *(len(f"{s.name}/{max(s.object_ids)}") for s in sequences))
    print(f"{'sequence':{width}} {'success':>8} {'J':>8} {'frames':>8} {'s/frame':>8}")
    scores = _score(tracker, sequences, args, width, left_out)
    if scores:
        mean = mean_scores(scores)
        print(f"{'mean':{width}} {mean['success']:8.3f} {mean['jaccard']:8.3f}")
    objects = [o for score in scores for o in score.objects.values()]
    if back := sum(o.returns.back for o in objects):
        found, stayed, both = (sum(getattr(o.returns, f) for o in objects) for f in ("found", "stayed", "stayed_found"))
        print(
            f"found again within {FOUND_WITHIN} frames of coming back: {found} of {back}; "
            f"of those that stayed for {STAYED} or more: {both} of {stayed}"
        )
    good, poor = (np.concatenate([getattr(o, kind) for o in objects] or [[]]) for kind in ("good", "poor"))
    if len(good) and len(poor):
        print(
            f"scores tell overlaps above {GOOD:g} from others: ROC area {roc_area(good, poor):.3f} "
            f"({len(good)} and {len(poor)} frames)"
        )
    if left_out:
        print(f"{len(left_out)} of {len(scores) + len(left_out)} sequences left out")
    faults = [fault for sequence in sequences for fault in sequence.problems]
    if faults:
        print(f"{counted(len(faults), 'fault')} of files named above")
    return evaluate_dataset.EXIT_INCOMPLETE if left_out or faults else 0


def _find(folder: Path, left_out: list[str]) -> list[Sequence]:
    """Those that can be scored; the others, and what is wrong with files, are logged. InputError: there are none."""
    found = find_sequences(folder, left_out)
    sequences = [sequence for sequence in found if sequence.can_be_scored]
    left_out += [f"{s.name}: there is truth of its first frame alone" for s in found if not s.can_be_scored]
    if not sequences:
        raise InputError(f"{folder} has no sequence that can be scored: {'; '.join(left_out)}")
    for problem in [problem for sequence in sequences for problem in sequence.problems] + left_out:
        logger.warning("%s", problem)
    return sequences


def _score(
    tracker: VideoTracker, sequences: list[Sequence], args: argparse.Namespace, width: int, left_out: list[str]
) -> list[SequenceScore]:
    """Shows and writes them one by one; a sequence that fails is named, and the others go on."""
    scores: list[SequenceScore] = []
    with tqdm(total=sum(map(len, sequences)), unit="frame", disable=None, leave=False) as bar:
        for sequence in sequences:
            bar.set_description(sequence.name)
            try:
                scores.append(run_sequence(tracker, sequence, args.init, progress=bar.update))
            except (TrackerError, OSError) as error:
                left_out.append(f"{sequence.name}: {error}")
                tqdm.write(f"msdeaot: {sequence.name} failed: {error}", file=sys.stderr)
            else:
                tqdm.write("\n".join(_rows(scores[-1], width)))
            if args.json and scores:
                report = {"tracker": args.tracker, "init": args.init, "mean": mean_scores(scores)}
                report["precision"] = getattr(tracker, "precision", None)  # a baseline has none
                report |= {"sequences": [asdict(score) for score in scores], "left_out": left_out}
                args.json.write_text(json.dumps(report, indent=2), encoding="utf-8")
    return scores


def _rows(score: SequenceScore, width: int) -> list[str]:
    """One line per object."""
    names = [score.name] if len(score.objects) == 1 else [f"{score.name}/{i}" for i in score.objects]
    return [
        f"{name:{width}} {s.success:8.3f} {s.jaccard:8.3f} {score.frames:8d} {score.seconds_per_frame:8.3f}"
        for name, s in zip(names, score.objects.values(), strict=True)
    ]


def mean_scores(scores: list[SequenceScore]) -> dict[str, float]:
    """Over all objects, as DAVIS-2017 does; over the sequences where each has one."""
    objects = [score for sequence in scores for score in sequence.objects.values()]
    return {
        "success": float(np.mean([s.success for s in objects])),
        "jaccard": float(np.mean([s.jaccard for s in objects])),
    }
