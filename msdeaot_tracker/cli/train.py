"""`msdeaot train`: train a preset, or the small initializer, from scratch on procedural video."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from ..training.loop import Loop

INITIALIZER = "ar-small"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train a model from scratch",
        description="Train a preset from scratch. A run that was cut off goes on when the same command is given again.",
    )
    parser.add_argument(
        "--preset",
        default="msdeaot-small",
        help=f"what to train; {INITIALIZER}: the initializer (default: %(default)s)",
    )
    parser.add_argument("--data", default="procedural", choices=["procedural"], help="what to train on")
    parser.add_argument("--steps", type=int, default=10_000, help="optimizer steps (default: %(default)s)")
    parser.add_argument(
        "--batch-size", type=int, help=f"clips per step (default: 4), or crops for {INITIALIZER} (default: 16)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes that make clips (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda[:i] or mps (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="weights, state and log are written here"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import torch

    from ..device import pick_device

    torch.manual_seed(args.seed)
    device = pick_device(args.device)
    trainer, batch = (_initializer if args.preset == INITIALIZER else _tracker)(args, device)
    print(f"training {args.preset} on {device}, {args.steps} steps of {batch}")
    print(f"weights: {trainer.run()}")
    return 0


def _tracker(args: argparse.Namespace, device: torch.device) -> tuple[Loop, str]:
    from ..config import find_preset
    from ..data.batches import BatchConfig
    from ..models import MSDeAOT
    from ..training.loop import TrainConfig, Trainer

    batches = BatchConfig(**_batch_size(args))
    config = TrainConfig(args.steps, args.seed, args.workers, batches=batches)
    model = MSDeAOT(find_preset(args.preset)).to(device)
    return Trainer(model, config, args.out), f"{batches.batch_size} clips"


def _initializer(args: argparse.Namespace, device: torch.device) -> tuple[Loop, str]:
    from ..initializers.ar_small_net import build_ar_small
    from ..training.crops import CropConfig
    from ..training.refining import RefinerConfig, RefinerTrainer

    batches = CropConfig(**_batch_size(args))
    config = RefinerConfig(args.steps, args.seed, args.workers, batches=batches)
    return RefinerTrainer(build_ar_small().to(device), config, args.out), f"{batches.batch_size} crops"


def _batch_size(args: argparse.Namespace) -> dict[str, int]:
    return {} if args.batch_size is None else {"batch_size": args.batch_size}
