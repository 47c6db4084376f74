"""Seconds per frame of the tracker, and where they go: `python benchmarks/speed.py [--presets …] [--sizes …] …`.

The weights are those that ship with a preset, else random; the frames show a grid of rectangles, the objects, on noise.
Long-term memory is filled before anything is timed and written on every frame, which is the dearest case; the other
settings are the preset's. It is measured in a process of its own, whose waiting threads spin as those of the command
line do (`msdeaot_tracker.spin_briefly`).
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from msdeaot_tracker import load_model, spin_briefly
from msdeaot_tracker.config import PRESETS, find_preset, override
from msdeaot_tracker.device import pick_device, pick_precision
from msdeaot_tracker.memory import Memory
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.tracker import Tracker
from msdeaot_tracker.types import TrackerError

PARTS = ("encode", "propagate", "decode", "memory update", "resize/IO")
_COMPANY = """
import torch
torch.set_num_threads(1)
x = torch.rand(512, 512)
print("computing", flush=True)
while True:
    x @ x
"""
_PART_OF = {"identify": "memory update", "memorize": "memory update"}  # verbs that go by another name


@contextmanager
def stop_watch(model: MSDeAOT) -> Iterator[dict[str, float]]:
    """Seconds spent in the model's verbs and in writing memory while the context lasts, by part."""
    spent: dict[str, float] = defaultdict(float)

    def timed(part: str, function: Callable) -> Callable:
        def call(*arguments, **keywords):
            began = now(model.mean)
            try:
                return function(*arguments, **keywords)
            finally:
                spent[part] += now(model.mean) - began

        return call

    write = Memory.write
    for verb in ("encode", "propagate", "decode", "identify", "memorize"):
        setattr(model, verb, timed(_PART_OF.get(verb, verb), getattr(model, verb)))
    Memory.write = timed("memory update", write)
    try:
        yield spent
    finally:
        Memory.write = write
        for verb in ("encode", "propagate", "decode", "identify", "memorize"):
            delattr(model, verb)


def now(where: torch.Tensor) -> float:
    """Wall clock, once the tensor's device has done what it was given."""
    device = where.device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


@contextmanager
def company(processes: int) -> Iterator[None]:
    """So many other processes compute, one thread each, while the context lasts."""
    command = [sys.executable, "-c", _COMPANY]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
    try:
        for other in others:
            other.stdout.readline()
        yield
    finally:
        for other in others:
            other.kill()
            other.communicate()


def measure(
    model: MSDeAOT, size: tuple[int, int], objects: int, memory: int, frames: int, operators: int = 0
) -> tuple[dict[str, float], list[str]]:
    """Median seconds per frame, in all and by part, once `memory` frames are held; and the dearest operators' lines."""
    runs: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.jpg"
        cv2.imwrite(str(path), scene(size, boxes(size, objects)))
        tracker = filled(model, read(path), objects, memory)
        for _ in range(frames):
            with stop_watch(model) as spent:
                began = now(model.mean)
                tracker.track(read(path))
                total = now(model.mean) - began
            for part in PARTS[:-1]:
                runs[part].append(spent[part])
            runs["resize/IO"].append(total - sum(spent.values()))
            runs["total"].append(total)
        lines = dearest(lambda: tracker.track(read(path)), operators) if operators else []
    return {part: statistics.median(seconds) for part, seconds in runs.items()}, lines


def filled(model: MSDeAOT, image: np.ndarray, objects: int, memory: int) -> Tracker:
    """One that holds so many frames, each of them this `scene`, and writes every one that it tracks."""
    settings = replace(model.preset.memory, long_term_gap=1, long_term_max=memory)
    tracker = Tracker(model, initializer="box", preset=replace(model.preset, memory=settings))
    tracker.initialize(image, {i + 1: box for i, box in enumerate(boxes(image.shape[:2], objects))})
    for _ in range(memory):
        tracker.track(image)
    return tracker


def dearest(step: Callable[[], object], count: int) -> list[str]:
    """Of one frame: the operators of torch that take longest by themselves on the CPU, and their share of all."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    found = sorted(profile.key_averages(), key=lambda each: -each.self_cpu_time_total)
    whole = sum(each.self_cpu_time_total for each in found)
    return [
        f"    {each.key:<40}{each.count:>6} calls{each.self_cpu_time_total / 1e6:>9.4f} s"
        f"{each.self_cpu_time_total / whole:>7.1%}"
        for each in found[:count]
    ]


def read(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def boxes(size: tuple[int, int], objects: int) -> Iterator[tuple[float, float, float, float]]:
    """That many boxes in rows, each half as wide and as high as its place."""
    height, width = size
    columns = math.ceil((objects * width / height) ** 0.5) if objects > 1 else 1
    rows = math.ceil(objects / columns)
    for k in range(objects):
        row, column = divmod(k, columns)
        w, h = width / columns, height / rows
        yield (column + 0.25) * w, (row + 0.25) * h, max(w / 2, 1), max(h / 2, 1)


def scene(size: tuple[int, int], targets: Iterable[tuple[float, float, float, float]]) -> np.ndarray:
    """uint8 [H, W, 3]: each box filled with a colour of its own, on blurred noise."""
    height, width = size
    random = np.random.default_rng(0)
    picture = cv2.resize(random.integers(0, 256, (height // 8, width // 8, 3), np.uint8), (width, height))
    for box in targets:
        x, y, w, h = map(round, box)
        picture[y : y + h, x : x + w] = random.integers(0, 256, 3)
    return picture


def prepared(name: str, settings: Sequence[str], device: torch.device) -> MSDeAOT:
    """The model in evaluation mode, with the weights that ship with the preset, or else random ones."""
    preset = override(find_preset(name), *settings)
    if preset.weights is not None:
        return load_model(name, device=str(device), overrides=settings)
    return MSDeAOT(preset).eval().to(device)


def parse_size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT, as videos are named, to (height, width)."""
    width, separator, height = text.partition("x")
    if not (separator and width.isdigit() and height.isdigit() and int(width) >= 32 and int(height) >= 32):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in pixels, at least 32x32")
    return int(height), int(width)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--presets", nargs="+", default=["msdeaot-lite", "deaot-t", "r50-deaot-l"], help=", ".join(PRESETS)
    )
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=[(480, 854)], metavar="WxH")
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 12])
    parser.add_argument("--memory", nargs="+", type=int, default=[1, 8], help="frames held in long-term memory")
    parser.add_argument("--frames", type=int, default=5, help="timed per line; their median is printed")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", help="auto, float32, bfloat16 or float16 (default: %(default)s)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="tracker.view=full, and so on")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument(
        "--busy", type=int, default=0, metavar="N", help="so many other processes compute meanwhile, one thread each"
    )
    parser.add_argument("--operators", type=int, default=0, metavar="N", help="print the N dearest of a frame as well")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # it is the process that measures
    arguments = parser.parse_args()
    if min(arguments.objects + arguments.memory + [arguments.frames]) < 1:
        parser.error("--objects, --memory and --frames start at 1")
    if arguments.threads < 1 or arguments.busy < 0:
        parser.error("--threads starts at 1, --busy at 0")
    torch.set_num_threads(arguments.threads)
    try:
        device = pick_device(arguments.device)
        settings = [f"tracker.precision={arguments.precision}", *arguments.set]
        for name in arguments.presets:
            override(find_preset(name), *settings)
        precision = pick_precision(arguments.precision, device)
    except TrackerError as error:
        parser.error(str(error))
    if not arguments.here:
        with company(arguments.busy):
            spin_briefly()
            return subprocess.run([sys.executable, __file__, *sys.argv[1:], "--here"]).returncode
    print(
        f"seconds per frame on {device} in {precision}, {torch.get_num_threads()} CPU thread(s), median of "
        f"{arguments.frames}" + (f", beside {arguments.busy} other processes that compute" if arguments.busy else "")
    )
    print(f"{'preset':<14}{'size':>10}{'objects':>9}{'memory':>8}{'total':>9}" + "".join(f"{p:>15}" for p in PARTS))
    for name in arguments.presets:
        model = prepared(name, settings, device)
        for size, objects, memory in itertools.product(arguments.sizes, arguments.objects, arguments.memory):
            took, lines = measure(model, size, objects, memory, arguments.frames, arguments.operators)
            row = f"{name:<14}{f'{size[1]}x{size[0]}':>10}{objects:>9}{memory:>8}{took['total']:>9.3f}"
            print("\n".join([row + "".join(f"{took[part]:>15.3f}" for part in PARTS), *lines]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
