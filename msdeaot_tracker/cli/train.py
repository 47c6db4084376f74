"""`msdeaot train`: train a preset, or the small initializer, from scratch on procedural video."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..training.config import LoopConfig
    from ..training.engine import Fabric

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

    from ..training.engine import launch, make_fabric

    torch.manual_seed(args.seed)
    config = _config(args)
    fabric = make_fabric(args.device, precision=config.precision)
    print(f"training {args.preset} on {fabric.device}, {args.steps} steps of {config.batch_size} samples")
    print(f"weights: {launch(fabric, _train, args, config)}")
    return 0


def _config(args: argparse.Namespace) -> LoopConfig:
    from ..training.config import TrainConfig
    from ..training.refining import RefinerConfig

    size = {} if args.batch_size is None else {"batch_size": args.batch_size}
    kind = RefinerConfig if args.preset == INITIALIZER else TrainConfig
    return kind(steps=args.steps, seed=args.seed, workers=args.workers, **size)


def _train(fabric: Fabric, args: argparse.Namespace, config: LoopConfig) -> Path:
    from ..config import find_preset
    from ..initializers.ar_small_net import build_ar_small
    from ..models import MSDeAOT
    from ..training.observers import CsvLog, ProgressBar
    from ..training.refining import RefinerTrainer
    from ..training.sources import CropSource, ProceduralSource
    from ..training.tracking import Trainer

    observers = (CsvLog(args.out), ProgressBar())
    if args.preset == INITIALIZER:
        return RefinerTrainer(
            build_ar_small(), config, args.out, CropSource(), fabric=fabric, observers=observers
        ).run()
    model = MSDeAOT(find_preset(args.preset))
    return Trainer(model, config, args.out, ProceduralSource(), fabric=fabric, observers=observers).run()
