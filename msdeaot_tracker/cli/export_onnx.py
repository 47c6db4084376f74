"""`msdeaot export-onnx`: the network as ONNX graphs, compared with PyTorch before they are called done."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ..data.procedural import ClipConfig, generate_clip
from ..types import InputError, MapSize, TrackerError
from .options import add_settings_option

TOLERANCE = 1e-3  # of logits, over the frames compared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes encode.onnx, reference.onnx, propagate.onnx and memorize.onnx for frames of one size, compares them "
        "with PyTorch on a procedural video, and prints the seconds per frame of both. docs/onnx_track.py tracks with "
        "them."
    )
    parser.add_argument("preset", metavar="PRESET", help="a preset")
    parser.add_argument(
        "--weights", metavar="FILE|NAME", help="weights to use (default: those that come with the preset)"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="the graphs are written here")
    parser.add_argument("--size", metavar="WxH", default="854x480", help="of a frame, in pixels (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=10, help="frames compared with PyTorch (default: %(default)s)")
    add_settings_option(parser, "change a setting of the preset, as in tracker.long_edge=480")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    size = _parse_size(args.size)
    if args.frames < 1:
        raise InputError(f"--frames {args.frames}: at least 1")
    import torch

    from ..checkpoints import load_model
    from ..config import find_preset, override
    from ..onnx_export import OnnxSteps, check_exportable, compare, export

    check_exportable(override(find_preset(args.preset), *args.settings))  # before weights are looked for
    model = load_model(args.preset, weights=args.weights, device="cpu", overrides=args.settings)
    graphs = export(model, size, args.out)
    height, width = size
    clip = generate_clip(
        0, ClipConfig(height=height, width=width, frames=args.frames + 1, min_objects=2, max_objects=2)
    )
    found = compare(graphs, OnnxSteps(args.out), clip.frames, clip.labels[0].astype(np.int64))
    print(f"{args.out}: {args.preset} for frames of {args.size}, seen at {graphs.inner[1]}x{graphs.inner[0]}")
    print(f"{args.frames} frames: logits up to {found.largest:.1f}, at most {found.difference:.1e} from PyTorch's")
    print(
        f"seconds per frame on {torch.get_num_threads()} CPU thread(s): "
        f"PyTorch {found.torch_seconds:.3f}, onnxruntime {found.onnx_seconds:.3f}"
    )
    if not found.difference <= TOLERANCE:  # also true of NaN
        raise TrackerError(
            f"the graphs in {args.out} differ from PyTorch by {found.difference:.1e}, more than {TOLERANCE:.0e}"
        )
    return 0


def _parse_size(text: str) -> MapSize:
    """WIDTHxHEIGHT -> (rows, columns)."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and all(32 <= int(side) <= 4096 for side in (width, height))):
        raise InputError(f"--size {text!r} is not WIDTHxHEIGHT in pixels, each 32 to 4096")
    return int(height), int(width)
