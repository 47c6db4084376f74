"""Train a small model within a time budget, and score it: `train_small.py --data-root DATA --out DIR`.

For a machine with a GPU and many cores that is there for some minutes only: msdeaot-lite on the datasets in DATA, or,
with `--recipe msdeaot-small`, on procedural clips alone. Worker processes draw clips while the GPU trains. First of all
the device must give the CPU's loss, gradients and masks. Then a few steps are timed at each clip length of the
schedule, and the workers alone; from the slower of the two follows how many steps fit, and the schedule is stretched
over them. The same command goes on with a run that was cut off, with the number of steps that was found then. After the
last step, or when the budget is over, the averaged weights track procedural sequences that training does not see, and
those of --evaluate.

Options that are not below are those of `msdeaot train`: --size, --batch-size, --micro-batch, --seed, --set, --device,
--precision, --compile, --start, --validate and so on.

Speed on a GPU: the table names the bottleneck. Where it is the workers, raise --samples-per-clip (crops of one clip:
drawing it is nearly all of their work) or take more --workers. Where it is the GPU, a larger --batch-size trains more
samples a second until a step's time grows with it: the model is small, and a step of few samples is mostly launches.
--compile pays in long runs only. Batches wait in shared memory: a smaller --micro-batch needs less of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import torch
from device_check import check_device
from torch import nn

from msdeaot_tracker.checkpoints import load_model
from msdeaot_tracker.cli import train as train_command
from msdeaot_tracker.cli.main import main as msdeaot
from msdeaot_tracker.cli.train_plan import Plan, plan_from
from msdeaot_tracker.cli.train_run import train
from msdeaot_tracker.cli.validation import track_and_score
from msdeaot_tracker.data.datasets.mask_sequences import find_sequences
from msdeaot_tracker.data.procedural.held_out import HeldOut
from msdeaot_tracker.device import pick_device
from msdeaot_tracker.training.engine import Fabric, launch, make_fabric
from msdeaot_tracker.training.observers import StepReport
from msdeaot_tracker.training.sharing import share_out
from msdeaot_tracker.training.sources import MixedSource, ProceduralSource, Source
from msdeaot_tracker.training.tracking import Trainer
from msdeaot_tracker.types import InputError, TrackerError

_WAITING = 4  # items that wait for each worker, as training/sharing.py has it
_SLACK = 1.05  # steps take longer than measured: saving, pictures, a machine that is warm
_REFERENCE = HeldOut(count=1, frames=12)  # tracked to tell how long scoring will take


def fixed(source: Source, progress: float) -> Source:
    """As it is from that share of the run on, for good, if it is one whose clips grow."""
    if isinstance(source, MixedSource):
        return replace(source, config=replace(source.config.at(progress), growing=()))
    return source


class Repeated:
    """A source whose first micro-batch is all it has: what a step costs when data cost nothing."""

    per_item, about = 1, "one micro-batch, repeated"

    def __init__(self, source: Source):
        self.config, self._source = source.config, source
        self._batch: Any = None

    def open(self, micro_batch: int, items: int, seed: int) -> list[list[Any]]:
        self._batch = self._batch or self._source.open(micro_batch, 1, seed)[0][0]
        return [[self._batch]] * items


class Clock:
    """Remembers when steps ended."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def step(self, report: StepReport) -> None:
        self.seconds.append(report.seconds)

    def close(self) -> None:
        pass


def build_model(plan: Plan) -> nn.Module:
    model = plan.make_model()
    plan.load_start(model)
    return model


def step_seconds(plan: Plan, fabric: Fabric) -> dict[int, float]:
    """By the clip lengths of the schedule: a step on the device, median of several after the first ones."""
    data, found = plan.open_data(), {}
    warm, timed = (5, 10) if fabric.device.type == "cuda" else (1, 2)
    for start, length in sorted(plan.config.schedule.lengths):
        source = Repeated(fixed(data, start))
        schedule = replace(plan.config.schedule, lengths=((0.0, length),))
        config = replace(plan.config, steps=warm + timed, workers=0, schedule=schedule)
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            model = build_model(plan)
            Trainer(model, config, Path(folder), source, fabric=fabric, observers=[clock]).run()
        ends = clock.seconds[warm - 1 :]
        found[length] = statistics.median(after - before for before, after in itertools.pairwise(ends))
    return found


def worker_seconds(plan: Plan) -> tuple[float, float]:
    """What a step's samples cost the workers when nothing else is waited for; and how long the first take to come."""
    source, config = fixed(plan.open_data(), 1.0), plan.config  # the largest clips: workers must keep up to the end
    share, began = share_out(config, 1, 0), time.perf_counter()
    # They deliver in turns, each an item: steps of whole turns are timed, after a first one.
    turn = -(-max(config.workers, 1) // share.count) * source.per_item
    batches = share.read(source, replace(config, steps=100_000), 0, pin_memory=False)
    next(batches)
    start_up = time.perf_counter() - began
    for _ in range(turn - 1):
        next(batches)
    turns, began = 0, time.perf_counter()
    while turns < 2 or time.perf_counter() - began < start_up:
        for _ in range(turn):
            next(batches)
        turns += 1
    return (time.perf_counter() - began) / (turns * turn), start_up


def scoring_seconds(args: argparse.Namespace, plan: Plan, device: torch.device) -> float:
    """How long tracking for the table will take, from a short sequence tracked by a model that knows nothing."""
    model = build_model(plan).to(device).eval()
    track_and_score(model, _REFERENCE)  # a first pass is slower
    began = time.perf_counter()
    track_and_score(model, _REFERENCE)
    frame = (time.perf_counter() - began) / _REFERENCE.frames
    real = sum(map(len, find_sequences(args.evaluate))) * len(args.init) if args.evaluate else 0
    return frame * (args.sequences * HeldOut().frames + 2 * real)  # real frames are larger, and are read from files


def check_shared_memory(plan: Plan) -> None:
    """TrackerError: batches that wait for the device do not fit; better now than when a worker dies of it."""
    folder, clips = Path("/dev/shm"), fixed(plan.open_data(), 1.0)
    sample = clips.config.frames * 4 * clips.config.size**2  # RGB and labels
    item = share_out(plan.config, 1, 0).micro_batch * clips.per_item * sample
    needed = item * _WAITING * plan.config.workers
    if folder.is_dir() and shutil.disk_usage(folder).free < needed:
        raise TrackerError(
            f"batches of {plan.config.workers} workers take up to {needed / 1e9:.1f} GB in {folder}, which has "
            f"{shutil.disk_usage(folder).free / 1e9:.1f}: take fewer, or a smaller --micro-batch"
        )


def fit(args: argparse.Namespace, plan: Plan, fabric: Fabric, scoring: float, began: float) -> dict[str, Any]:
    """The number of steps that the budget has time for, and what it follows from."""
    device, (workers, start_up) = step_seconds(plan, fabric), worker_seconds(plan)
    lengths = sorted(plan.config.schedule.lengths)
    ends = [start for start, _ in lengths[1:]] + [1.0]
    shares = {n: sum(e - s for (s, m), e in zip(lengths, ends, strict=True) if m == n) for n in device}
    step = _SLACK * sum(shares[n] * max(seconds, workers) for n, seconds in device.items())
    if args.training.validate:
        step += scoring / args.training.validate_every
    each_call = args.budget - scoring - start_up
    steps = int((args.calls * each_call - (time.perf_counter() - began)) / step)
    mean = sum(shares[n] * seconds for n, seconds in device.items())
    return {"steps": steps, "step_seconds": step, "device_seconds": mean, "worker_seconds": workers}


def score(args: argparse.Namespace, weights: Path) -> dict[str, Mapping[str, float]]:
    """By what was tracked: J, success, and frames per second of the procedural set."""
    device = args.training.device
    scores: dict[str, Mapping[str, float]] = {
        "procedural": track_and_score(load_model(weights=weights, device=device), HeldOut(args.sequences))
    }
    for init in args.init if args.evaluate else ():
        report = args.out / f"evaluate-{init}.json"
        options = ["--init", init, "--weights", str(weights), "--device", str(device), "--json", str(report)]
        if msdeaot(["evaluate", str(args.evaluate), *options]):
            raise TrackerError(f"{args.evaluate} could not be scored")
        mean = json.loads(report.read_text(encoding="utf-8"))["mean"]
        scores[f"{args.evaluate.name}, {init}"] = {"J": mean["jaccard"], "success": mean["success"]}
    return scores


def print_table(plan: Plan, plan_file: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    config, samples = plan.config, plan.config.batch_size
    gpu, workers = samples / plan_file["device_seconds"], samples / plan_file["worker_seconds"]
    print(f"\n{plan.recipe.name}: step {summary['step']} of {config.steps}, {samples} samples each")
    print(f"{plan.open_data().about}; seed {config.seed}, {config.precision}")
    print(f"this call: {summary['training_seconds']:.0f} s of training, {summary['seconds']:.0f} s in all")
    slower = "the workers" if workers < gpu else "the device"
    print(f"samples/s: {gpu:.1f} on the device, {workers:.1f} from {config.workers} workers; bottleneck: {slower}")
    print(f"{'tracked':<30} {'J':>8} {'success':>8} {'frames/s':>9}")
    for name, row in summary["scores"].items():
        speed = f"{row['fps']:9.1f}" if "fps" in row else f"{'':9}"
        print(f"{name:<30} {row['J']:8.3f} {row['success']:8.3f} {speed}")


def copy_results(out: Path, target: Path) -> None:
    """What is worth keeping, without the state that a run goes on from."""
    target.mkdir(parents=True, exist_ok=True)
    pictures = sorted((out / "pictures").glob("*.png"))[-1:]
    for path in [out / "weights.safetensors", out / "log.csv", *out.glob("*.json"), *pictures]:
        shutil.copy(path, target / path.name)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="of the run: weights, state, log")
    parser.add_argument("--budget", default="9m", metavar="TIME", help="of a call, as 90s or 1h (default: %(default)s)")
    parser.add_argument(
        "--calls", type=int, default=1, metavar="N", help="that the whole run may take (default: %(default)s)"
    )
    parser.add_argument("--recipe", default="msdeaot-lite", help="of `msdeaot train --list` (default: %(default)s)")
    parser.add_argument("--steps", type=int, metavar="N", help="in place of as many as fit")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that draw clips (default: cores less two)")
    parser.add_argument("--samples-per-clip", type=int, metavar="N", help="default: the recipe's")
    parser.add_argument(
        "--sequences", type=int, default=HeldOut().count, metavar="N", help="procedural, scored (default: %(default)s)"
    )
    parser.add_argument("--evaluate", type=Path, metavar="DIR", help="real sequences to score, as `msdeaot evaluate`")
    parser.add_argument("--init", nargs="+", choices=["mask", "box"], default=["mask"], help="with --evaluate")
    parser.add_argument("--copy", type=Path, metavar="DIR", help="where the results are put beside --out, small files")
    args, others = parser.parse_known_args(argv)
    for name in ("calls", "sequences"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} {getattr(args, name)}: at least one")
    workers = max((os.cpu_count() or 1) - 2, 1) if args.workers is None else args.workers
    known = [args.recipe, "--out", str(args.out), "--workers", str(workers), "--time-budget", args.budget]
    training = argparse.ArgumentParser(prog="msdeaot")
    train_command.add_arguments(training)
    args.training = training.parse_args([*known, "--picture-every", "500", *others])
    args.budget = args.training.time_budget
    return args


def run(args: argparse.Namespace) -> None:
    began = time.perf_counter()
    plan = plan_from(args.training)
    plan.check_start()
    if args.samples_per_clip is not None:
        if not isinstance(plan.recipe.data, ProceduralSource):
            raise InputError(f"--samples-per-clip: {plan.recipe.name} takes one of each")
        data = replace(
            plan.recipe.data, config=replace(plan.recipe.data.config, samples_per_clip=args.samples_per_clip)
        )
        plan = replace(plan, recipe=replace(plan.recipe, data=data))
    check_shared_memory(plan)
    device = pick_device(args.training.device)
    differences = check_device(plan, device)
    print(f"{device} beside the CPU: " + ", ".join(f"{name} {value:.1e}" for name, value in differences.items()))
    fabric = make_fabric(device, precision=plan.config.precision)
    scoring = scoring_seconds(args, plan, device)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "plan.json"
    if file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
    else:
        found = fit(args, plan, fabric, scoring, began)
        found["steps"] = args.steps or found["steps"]
        if found["steps"] < 1:
            raise TrackerError(
                f"a budget of {args.budget:.0f} s leaves no time for a step of {found['step_seconds']:.2f} s: "
                f"scoring takes {scoring:.0f} s, and {time.perf_counter() - began:.0f} s have gone by"
            )
        file.write_text(json.dumps(found, indent=2), encoding="utf-8")
    plan = replace(plan, recipe=replace(plan.recipe, config=replace(plan.config, steps=found["steps"])))
    training_began = time.perf_counter()
    args.training.time_budget = max(args.budget - (training_began - began) - scoring, 1.0)
    result = launch(fabric, train, plan, args.training)
    trained = time.perf_counter() - training_began
    summary = {"step": result.step, "training_seconds": trained, "scores": score(args, result.weights)}
    summary["seconds"] = time.perf_counter() - began
    (args.out / "summary.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    print_table(plan, found, summary)
    if args.copy:
        copy_results(args.out, args.copy)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    cv2.setNumThreads(1)
    torch.backends.cudnn.benchmark = True  # sizes are the same at every step
    try:
        run(args)
    except (TrackerError, ImportError, OSError) as error:
        print(f"train_small.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
