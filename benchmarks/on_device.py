"""All there is to see on a GPU, in one go: `python benchmarks/on_device.py --json FILE [--public DIR] [--budget 7m]`.

First whether it computes what the CPU does (loss, gradients and a tracked clip, in float32; the masks of a clip in the
device's own precision, by each way of attention, beside those in float32). Then how often a frame makes the CPU wait,
the ways of attention one by one, and frames per second and peak memory by preset, size, objects and frames held. Then
several videos at once, the authors' code (with --public, a checkout of it), CUDA graphs by torch.compile, and other
precisions and ways of attention in whole frames. Weights are those that ship with a preset, else random.

Every row is printed and written to FILE as soon as it is there. A case that fails is a row that says so. A step that
has used up its share of the time leaves out the rest of its cases. Exit status 1: of the step `equal`, if it was asked
for, something is not equal or was not looked at.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import device_check
import device_steps
import numpy as np
import speed
import torch

from msdeaot_tracker import load_model
from msdeaot_tracker.cli.train import parse_seconds
from msdeaot_tracker.cli.train_plan import Plan
from msdeaot_tracker.device import pick_device, pick_precision
from msdeaot_tracker.geometry import mask_iou
from msdeaot_tracker.models import attention
from msdeaot_tracker.training.recipes import find_recipe
from msdeaot_tracker.types import TrackerError

OVERLAP = 0.97  # least mean overlap of masks in half precision with those in float32
STEPS = ("equal", "waits", "attention", "presets", "batches", "public", "compiled", "variants")


class Report:
    """Rows by step, within a time that is shared out."""

    def __init__(self, path: Path | None, seconds: float, about: dict[str, str]):
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self._path, self._about, self._end = path, about, time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()

    def run(self, step: str, share: float, cases: Iterable[device_steps.Case]) -> None:
        """Measure the cases of a step until it has taken so much of the time that is left."""
        until = time.monotonic() + share * self.left
        rows = self.rows.setdefault(step, [])
        print(f"{step}:", flush=True)
        for case, measure in cases:
            if time.monotonic() >= until:
                rows.append({**case, "left out": "no time for it and those after it"})
            else:
                try:
                    rows.append({**case, **measure()})
                except Exception as error:  # whatever it is, the next case may go well
                    rows.append({**case, "failed": f"{type(error).__name__}: {str(error)[:500]}"})
            print("  " + "  ".join(f"{key} {_short(value)}" for key, value in rows[-1].items()), flush=True)
            if self._path:
                self._path.write_text(json.dumps({**self._about, "steps": self.rows}, indent=1), encoding="utf-8")
            if "left out" in rows[-1]:
                return


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def check_masks(device: torch.device, precision: str) -> dict[str, float]:
    """Mean overlap of the shipped model's masks in this precision there with the CPU's in float32, by attention."""
    expected = device_check.track_clip(load_model(device="cpu"), "float32")
    ids = [int(i) for i in np.unique(expected) if i]
    overlaps = {}
    for way in attention.WAYS:
        with device_steps.reading(way):
            found = device_check.track_clip(load_model(device=str(device)), precision)
        each = [mask_iou(a == i, b == i) for a, b in zip(found, expected, strict=True) for i in ids]
        overlaps[way] = float(np.mean(each))
    if min(overlaps.values()) < OVERLAP:
        raise TrackerError(f"masks overlap by {overlaps}, less than {OVERLAP}")
    return overlaps


def beside_public(directory: Path, device: torch.device, report: Report) -> dict[str, Any]:
    """`against_public.py`: the rows that it has by two thirds of the time that is left."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "public.json"
        command = [sys.executable, str(Path(__file__).with_name("against_public.py")), str(directory)]
        command += ["--device", str(device), "--rounds", "1", "--frames", "8", "--json", str(found)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            _, errors = process.communicate(timeout=max(report.left * 2 / 3, 1))
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)  # its own processes as well
            process.communicate()
            errors = str(error)
        rows = json.loads(found.read_text(encoding="utf-8"))["rows"] if found.is_file() else []
        if process.returncode and not rows:
            raise RuntimeError(errors[-500:])
        return {"status": process.returncode, "rows": rows}


def take(step: str, report: Report, device: torch.device, arguments: argparse.Namespace) -> None:
    own = pick_precision("auto", device)
    presets, sizes, frames = arguments.presets, arguments.sizes, arguments.frames
    scenes = sorted(itertools.product(sizes, arguments.objects, arguments.memory), key=lambda each: each[0][0])
    if step == "equal":
        plan = Plan(find_recipe(arguments.recipe), {}, None, None)
        exact = {"precision": "float32"}, partial(device_check.check_device, plan, device)
        report.run(step, 1, [exact, ({"precision": own}, partial(check_masks, device, own))])
    elif step == "waits" and device.type == "cuda":
        report.run(step, 0.2, [device_steps.waits_case(device, name) for name in presets])
    elif step == "attention":
        report.run(step, 0.2, device_steps.attention_cases(device, dict.fromkeys((own, "float32"))))
    elif step == "presets":
        report.run(step, 0.4, device_steps.preset_cases(device, presets, scenes, [(own, "auto")], frames))
    elif step == "batches":
        report.run(step, 0.2, device_steps.batch_cases(device, presets, sizes[0], frames))
    elif step == "public" and arguments.public:
        report.run(step, 1, [({}, partial(beside_public, arguments.public, device, report))])
    elif step == "compiled":
        report.run(step, 0.6, device_steps.compiled_cases(device, presets, sizes[0], frames))
    elif step == "variants":
        others = [(own, way) for way in attention.WAYS] + [(p, "auto") for p in ("float32", "bfloat16", "float16")]
        others = [(precision, way) for precision, way in others if (precision, way) != (own, "auto")]
        report.run(step, 1, device_steps.preset_cases(device, presets, scenes, others, frames))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--presets", nargs="+", default=["msdeaot-lite", "r50-deaot-l", "swinb-deaot-l"])
    parser.add_argument("--sizes", nargs="+", type=speed.parse_size, default=[(480, 854), (1080, 1920)], metavar="WxH")
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 10, 50])
    parser.add_argument("--memory", nargs="+", type=int, default=[1, 8, 20], help="frames held in long-term memory")
    parser.add_argument("--frames", type=int, default=10, help="timed per line; their median is printed")
    parser.add_argument("--recipe", default="msdeaot-small", help="of the training step that is compared")
    parser.add_argument(
        "--public", type=Path, metavar="DIR", help="a checkout of the authors' code (against_public.py)"
    )
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--budget", type=parse_seconds, default="7m", metavar="TIME", help="as 90s (default: 7m)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to a file as well")
    arguments = parser.parse_args()
    try:
        device = pick_device(arguments.device)
    except TrackerError as error:
        print(f"on_device: {error}", file=sys.stderr)
        return 1
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    about = {"device": name, "precision": pick_precision("auto", device), "torch": torch.__version__}
    print("  ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    report = Report(arguments.json, arguments.budget, about)
    for step in STEPS:
        if step in arguments.steps:
            take(step, report, device, arguments)
    return 1 if any({"failed", "left out"} & set(row) for row in report.rows.get("equal", [])) else 0


if __name__ == "__main__":
    sys.exit(main())
