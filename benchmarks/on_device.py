"""All there is to see on a GPU, in one go: `python benchmarks/on_device.py [--device cuda] [--json FILE] ...`.

First whether it computes what the CPU does (loss, gradients and a tracked clip, in float32; the masks of a clip in the
device's own precision beside those in float32). Then the two ways of attention, written out and torch's fused one. Then
frames per second and peak memory by preset, size, objects and frames held. Weights are random but for the first part.
Exit status 1: something is not equal.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path

import device_check
import numpy as np
import speed
import torch
from torch.nn import functional as F

from msdeaot_tracker import load_model
from msdeaot_tracker.cli.train_plan import Plan
from msdeaot_tracker.config import find_preset
from msdeaot_tracker.device import pick_device, pick_precision
from msdeaot_tracker.geometry import mask_iou
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.models.attention import attend
from msdeaot_tracker.training.recipes import find_recipe
from msdeaot_tracker.types import TrackerError

OVERLAP = 0.97  # least mean overlap of masks in half precision with those in float32
_SHAPES = ((2135, 2135, 32, 128), (900, 900, 128, 512), (900, 8100, 128, 512), (2470, 19760, 128, 512))
_REPEATS = 20


def check_masks(device: torch.device, precision: str) -> float:
    """Mean overlap of the shipped model's masks in the device's precision with the CPU's in float32."""
    found, expected = (
        device_check.track_clip(load_model(device=where), setting)
        for where, setting in ((device, precision), (torch.device("cpu"), "float32"))
    )
    ids = [int(i) for i in np.unique(expected[0]) if i]
    return float(np.mean([mask_iou(a == i, b == i) for a, b in zip(found, expected, strict=True) for i in ids]))


@torch.inference_mode()
def time_attention(device: torch.device, dtype: torch.dtype) -> list[dict]:
    """Seconds of a read of queries x keys, key and value widths as in the presets, both ways."""
    rows = []
    for queries, keys, width, value_width in _SHAPES:
        query, key = (torch.randn(1, n, width, device=device, dtype=dtype) for n in (queries, keys))
        values = tuple(torch.randn(1, keys, value_width, device=device, dtype=dtype) for _ in range(2))
        ways = {
            "written": lambda q=query, k=key, v=values: attend(q, k, v),
            "fused": lambda q=query, k=key, v=values: F.scaled_dot_product_attention(q, k, torch.cat(v, dim=-1)),
        }
        row: dict = {"queries": queries, "keys": keys, "key_width": width, "value_width": 2 * value_width}
        for name, way in ways.items():
            way()
            began = speed.now(query)
            for _ in range(_REPEATS):
                way()
            row[name] = (speed.now(query) - began) / _REPEATS
        rows.append(row)
    return rows


def time_presets(device: torch.device, arguments: argparse.Namespace) -> list[dict]:
    rows = []
    for name in arguments.presets:
        model = MSDeAOT(find_preset(name)).eval().to(device)
        for size, objects, memory in itertools.product(arguments.sizes, arguments.objects, arguments.memory):
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            took = speed.measure(model, size, objects, memory, arguments.frames)[0]["total"]
            peak = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
            row = {"preset": name, "size": f"{size[1]}x{size[0]}", "objects": objects, "memory": memory}
            rows.append({**row, "frames_per_second": 1 / took, "peak_mib": peak})
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--presets", nargs="+", default=["msdeaot-lite", "r50-deaot-l", "swinb-deaot-l"])
    parser.add_argument("--sizes", nargs="+", type=speed.parse_size, default=[(480, 854), (1080, 1920)], metavar="WxH")
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 10, 50])
    parser.add_argument("--memory", nargs="+", type=int, default=[1, 8, 20], help="frames held in long-term memory")
    parser.add_argument("--frames", type=int, default=20, help="timed per line; their median is printed")
    parser.add_argument("--recipe", default="msdeaot-small", help="of the training step that is compared")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to a file as well")
    arguments = parser.parse_args()
    try:
        device = pick_device(arguments.device)
        precision = pick_precision("auto", device)
        differences = device_check.check_device(Plan(find_recipe(arguments.recipe), {}, None, None), device)
    except TrackerError as error:
        print(f"on_device: {error}", file=sys.stderr)
        return 1
    overlap = check_masks(device, precision)
    print(f"{device}, {precision}: differences {differences}; masks overlap {overlap:.4f} with the CPU's in float32")
    attention = time_attention(device, getattr(torch, precision))
    for row in attention:
        print("  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    report = {"device": str(device), "precision": precision, "differences": differences, "overlap": overlap}
    report |= {"attention": attention, "rows": time_presets(device, arguments)}
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0 if overlap >= OVERLAP else 1


if __name__ == "__main__":
    sys.exit(main())
