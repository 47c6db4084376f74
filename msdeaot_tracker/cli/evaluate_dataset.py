"""`msdeaot evaluate --dataset`: result files of the protocols of a box-tracking benchmark, to be scored later."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..checkpoints import file_sha256
from ..config import config_as_dict
from ..data.datasets.box_sequences import DATASETS, read_dataset
from ..evaluation import (
    DATASET_FOLDERS,
    PROTOCOLS,
    Job,
    Outcome,
    VideoTracker,
    check_baseline,
    claim_results,
    do_jobs,
    do_jobs_in_processes,
    do_jobs_with_ray,
    list_jobs,
    make_baseline,
    pending_jobs,
    remove_results,
    score,
    shard_jobs,
)
from ..types import InputError
from ..words import counted
from .options import tracker_from
from .score_tables import problems_of, sequence_table

logger = logging.getLogger(__name__)

OURS = "msdeaot"  # the tracker that is not a baseline
EXIT_INCOMPLETE = 1  # done, but not all of it as it is in the files; what not has been named


def add_dataset_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("with --dataset")
    group.add_argument(
        "--dataset",
        choices=list(DATASETS),
        help="DIR is a folder of this dataset: write result files, to be scored. boxes: any videos that a table "
        "DIR/manifest.tsv names",
    )
    group.add_argument(
        "--protocol",
        type=parse_protocols,
        metavar="P[,P...]",
        help="ope (one pass), mse (multi-start), hoi (hand-object interactions), rte (real time)",
    )
    group.add_argument("--out", type=Path, metavar="RESULTS", help="folder for the results, in TREK-150's layout")
    group.add_argument("--name", help="name of the tracker's folder there (default: that of --tracker)")
    group.add_argument("--table", action="store_true", help="print the scores of ope, sequence by sequence, at the end")
    group.add_argument(
        "--shard",
        type=parse_shard,
        default=(0, 1),
        metavar="I/N",
        help="do one of N parts of the runs; any N numbers I in a row (0 to N-1, 1 to N) make up the whole. On SLURM: "
        "sbatch --array=0-7 --gres=gpu:1 --wrap='msdeaot evaluate ... --shard $SLURM_ARRAY_TASK_ID/8'",
    )
    group.add_argument(
        "--workers",
        type=parse_count,
        metavar="N",
        help="processes that share the runs, one per GPU; with --ray the actors (default: 1; with --ray one per GPU)",
    )
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="share the runs in a Ray cluster: its address, auto for the one this machine is in, local for a new one "
        "of this machine; all machines see DIR, RESULTS and other files under the same paths, which are absolute",
    )
    group.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the runs that are finished; --no-resume: remove them first (default: --resume)",
    )
    group.add_argument(
        "--python", metavar="FILE", help="interpreter for an opencv: or pytracking: baseline (default: this one)"
    )
    group.add_argument("--pytracking", type=Path, metavar="CLONE", help="clone that pytracking: baselines come from")
    group.add_argument(
        "--timeout",
        type=float,
        default=120,
        metavar="SECONDS",
        help="how long such a baseline may take for one answer, loading included (default: %(default)g)",
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


def parse_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def parse_tracker(text: str) -> str:
    try:
        return text if text == OURS else check_baseline(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(f"{error}, {OURS}") from None


def check_unused(args: argparse.Namespace) -> None:
    """InputError: one of these options is given without --dataset, where it would do nothing."""
    names = ("protocol", "out", "name", "table", "workers", "ray", "python", "pytracking")
    given = [name for name in names if getattr(args, name)]
    given += ["shard"] * (args.shard != (0, 1)) + ["no-resume"] * (not args.resume)
    if given:
        raise InputError(f"--{given[0]} is of --dataset, and does nothing without it (docs/evaluate.md)")


def run(args: argparse.Namespace) -> int:
    if not args.protocol or not args.out:
        raise InputError("--dataset needs --protocol and --out")
    if args.table and "ope" not in args.protocol:
        raise InputError("--table is of ope: add it to --protocol")
    if args.init or args.json:
        raise InputError("--init and --json are not for --dataset: runs start from boxes, and `msdeaot score` scores")
    sequences = read_dataset(args.dataset, args.folder.absolute())
    jobs, left_out = list_jobs(sequences, args.protocol)
    faults = [fault for sequence in sequences for fault in sequence.problems]
    for problem in faults + left_out:
        logger.warning("%s", problem)
    folder = args.out.absolute() / DATASET_FOLDERS[args.dataset]
    name = args.name or re.sub("[:/]", "-", args.tracker)
    alone = not args.ray and args.workers in (None, 1)  # else each worker has a tracker; this one only tells what it is
    tracker = _make_tracker(args if alone else _with(args, device="cpu"), 1, 0)
    settings = _settings(args, tracker)
    for protocol in args.protocol:
        claim_results(folder, name, protocol, settings, replace=not args.resume)
    mine = shard_jobs(jobs, *args.shard)
    if not args.resume:
        for job in mine:
            remove_results(folder, name, job.protocol, job.run)
    pending, broken = pending_jobs(mine, folder, name)
    for problem in broken:
        logger.warning("%s; run again", problem)
    failed = _report(pending, partial(_work, args, tracker, pending, folder, name))
    done = len(pending) - len(failed)
    of_files = f", {counted(len(faults), 'fault')} of files named above" if faults else ""
    print(
        f"{done} runs done, {len(mine) - len(pending)} were finished before, {len(failed)} failed, "
        f"{len(left_out)} left out{of_files}; results in {folder / name}"
    )
    if args.table:
        scores = score(sequences, folder, "ope", trackers=[name], dataset=args.dataset)
        unscored = [problem for problem in problems_of(scores) if problem not in faults]
        print("", *sequence_table(scores), *unscored, sep="\n")
    return EXIT_INCOMPLETE if failed or faults or left_out else 0


def _work(
    args: argparse.Namespace,
    tracker: VideoTracker,
    jobs: Sequence[Job],
    folder: Path,
    name: str,
    on_frame: Callable[[], object],
) -> Iterator[Outcome]:
    workers = args.workers or 1
    if args.ray:
        make_tracker = partial(_make_tracker, args, 1)
        return do_jobs_with_ray(
            jobs, make_tracker, folder, name, address=args.ray, actors=args.workers, on_frame=on_frame
        )
    if workers == 1:
        return do_jobs(jobs, tracker, folder, name, on_frame=on_frame)
    import torch

    if "rte" in args.protocol and workers > max(torch.cuda.device_count(), 1):
        logger.warning("rte measures time, and %d processes here slow each other down", workers)
    make_tracker = partial(_make_tracker, args, workers)
    return do_jobs_in_processes(jobs, make_tracker, folder, name, workers=workers, on_frame=on_frame)


def _report(jobs: Sequence[Job], work: Callable[[Callable[[], object]], Iterator[Outcome]]) -> list[Job]:
    """The jobs that failed; the others go on."""
    failed = []
    with tqdm(total=sum(len(job.frames) for job in jobs), unit="frame", disable=None, leave=False) as bar:
        for job, reason in work(bar.update):
            bar.set_description(f"{job.protocol} {job.run}")
            if reason is not None:
                failed.append(job)
                tqdm.write(f"msdeaot: {job.run} ({job.protocol}) failed: {reason}", file=sys.stderr)
    return failed


def _make_tracker(args: argparse.Namespace, workers: int, place: int) -> VideoTracker:
    """The tracker of one of several processes, on a GPU of its own, or with its share of the CPU."""
    if args.tracker != OURS:
        return make_baseline(args.tracker, python=args.python, pytracking=args.pytracking, timeout=args.timeout)
    import torch

    from ..device import pick_device

    device = pick_device(args.device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", place % torch.cuda.device_count())
    elif device.type == "cpu" and workers > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    return tracker_from(_with(args, device=device))


def _with(args: argparse.Namespace, **changes: Any) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(args), **changes})


def _settings(args: argparse.Namespace, tracker: Any) -> dict[str, Any]:
    """All that changes a result, in plain values."""
    if args.tracker == "static":
        return {"tracker": args.tracker}
    if args.tracker != OURS:
        return {"tracker": args.tracker, "from": tracker.about()}
    from ..checkpoints import locate_weights, shipped_weights
    from ..device import pick_device, pick_precision

    preset = tracker.model.preset
    wanted = preset.tracker.precision
    return {
        "tracker": args.tracker,
        "preset": preset.name,
        "weights": file_sha256(locate_weights(args.weights)[0] if args.weights else shipped_weights(preset)),
        "settings": config_as_dict(preset),
        # Of the workers; what those of other machines compute in is not known here.
        "precision": wanted if args.ray else pick_precision(wanted, pick_device(args.device)),
        "initializer": args.initializer,
        "initializer settings": args.initializer_settings,
        "boxes": args.box_from,
    }
