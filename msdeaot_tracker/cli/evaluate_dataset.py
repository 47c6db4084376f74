"""`msdeaot evaluate --dataset`: result files of the protocols of a box-tracking benchmark, to be scored later."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..checkpoints import file_sha256, shipped_weights
from ..config import config_as_dict
from ..data.box_sequences import DATASETS, read_dataset
from ..evaluation import (
    DATASET_FOLDERS,
    PROTOCOLS,
    Job,
    StaticTracker,
    VideoTracker,
    claim_results,
    list_jobs,
    pending_jobs,
    remove_results,
    run_job,
    save_result,
    shard_jobs,
)
from ..types import InputError, TrackerError
from .options import tracker_from

logger = logging.getLogger(__name__)

EXIT_INCOMPLETE = 1  # done, but not all of it as it is in the files; what not has been named


def add_dataset_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("with --dataset")
    group.add_argument(
        "--dataset", choices=list(DATASETS), help="DIR is a folder of this dataset: write result files, to be scored"
    )
    group.add_argument(
        "--protocol",
        type=parse_protocols,
        metavar="P[,P...]",
        help="ope (one pass), mse (multi-start), hoi (hand-object interactions), rte (real time)",
    )
    group.add_argument("--out", type=Path, metavar="RESULTS", help="folder for the results, in TREK-150's layout")
    group.add_argument("--name", help="name of the tracker's folder there (default: that of --tracker)")
    group.add_argument(
        "--shard",
        type=parse_shard,
        default=(0, 1),
        metavar="I/N",
        help="do one of N parts of the runs; any N numbers I in a row (0 to N-1, 1 to N) make up the whole",
    )
    group.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the runs that are finished; --no-resume: remove them first (default: --resume)",
    )


def parse_protocols(text: str) -> list[str]:
    names = text.split(",")
    wrong = [name for name in names if name not in PROTOCOLS]
    if wrong:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(PROTOCOLS)}")
    return list(dict.fromkeys(names))


def parse_shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(count) > 0 and int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N, part I of N, with I from 0 or from 1")
    return int(index), int(count)


def run(args: argparse.Namespace) -> int:
    if not args.protocol or not args.out:
        raise InputError("--dataset needs --protocol and --out")
    if args.init or args.json:
        raise InputError("--init and --json are not for --dataset: runs start from boxes, and `msdeaot score` scores")
    sequences = read_dataset(args.dataset, args.folder)
    jobs, left_out = list_jobs(sequences, args.protocol)
    problems = [problem for sequence in sequences for problem in sequence.problems] + left_out
    for problem in problems:
        logger.warning("%s", problem)
    folder, name = args.out / DATASET_FOLDERS[args.dataset], args.name or args.tracker
    tracker: VideoTracker = StaticTracker() if args.tracker == "static" else tracker_from(args)
    for protocol in args.protocol:
        claim_results(folder, name, protocol, _settings(args, tracker), replace=not args.resume)
    mine = shard_jobs(jobs, *args.shard)
    if not args.resume:
        for job in mine:
            remove_results(folder, name, job.protocol, job.run)
    pending, broken = pending_jobs(mine, folder, name)
    for problem in broken:
        logger.warning("%s; run again", problem)
    failed = _run_all(tracker, pending, lambda job, result: save_result(folder, name, job, result))
    done = len(pending) - len(failed)
    print(
        f"{done} runs done, {len(mine) - len(pending)} were finished before, {len(failed)} failed, "
        f"{len(left_out)} left out; results in {folder / name}"
    )
    return EXIT_INCOMPLETE if failed or problems else 0


def _run_all(tracker: VideoTracker, jobs: Sequence[Job], save: Callable[[Job, Any], None]) -> list[Job]:
    """The jobs that failed; the others go on."""
    failed = []
    with tqdm(total=sum(len(job.frames) for job in jobs), unit="frame", disable=None, leave=False) as bar:
        for job in jobs:
            bar.set_description(f"{job.protocol} {job.run}")
            try:
                save(job, run_job(tracker, job, progress=bar.update))
            except (TrackerError, OSError) as error:
                failed.append(job)
                tqdm.write(f"msdeaot: {job.run} ({job.protocol}) failed: {error}", file=sys.stderr)
    return failed


def _settings(args: argparse.Namespace, tracker: Any) -> dict[str, Any]:
    """All that changes a result, in plain values."""
    if args.tracker == "static":
        return {"tracker": args.tracker}
    preset = tracker.model.preset
    return {
        "tracker": args.tracker,
        "preset": preset.name,
        "weights": file_sha256(args.weights or shipped_weights(preset)),
        "settings": config_as_dict(preset),
        "initializer": args.initializer,
        "initializer settings": args.initializer_settings,
        "boxes": args.box_from,
    }
