"""`msdeaot train`: train a preset from scratch on procedural video."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a model from scratch",
        description="Train a preset from scratch. A run that was cut off goes on when the same command is given again.",
    )
    parser.add_argument("--preset", default="msdeaot-small", help="what to train (default: %(default)s)")
    parser.add_argument("--data", default="procedural", choices=["procedural"], help="what to train on")
    parser.add_argument("--steps", type=int, default=10_000, help="optimizer steps (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=4, help="clips per step (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes that make clips (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda[:i] or mps (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="weights, state and log are written here"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import torch

    from ..config import find_preset
    from ..data.batches import BatchConfig
    from ..device import pick_device
    from ..models import MSDeAOT
    from ..training.loop import TrainConfig, Trainer

    torch.manual_seed(args.seed)
    device = pick_device(args.device)
    model = MSDeAOT(find_preset(args.preset)).to(device)
    config = TrainConfig(args.steps, args.seed, args.workers, batches=BatchConfig(batch_size=args.batch_size))
    print(f"training {args.preset} on {device}, {args.steps} steps of {args.batch_size} clips")
    weights = Trainer(model, config, args.out).run()
    print(f"weights: {weights}")
    return 0
