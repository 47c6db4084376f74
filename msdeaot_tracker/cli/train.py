"""`msdeaot train`: run a recipe, or fine-tune given weights."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from .options import add_device_option, add_settings_option

_UNITS = {"h": 3600, "m": 60, "s": 1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Runs a recipe, or fine-tunes weights on a folder of videos with masks. A run that was cut off "
        "goes on when the same command is given again. --dry-run tells what would run, what is missing, what it costs."
    )
    _add_what(parser.add_argument_group("what is trained"))
    _add_data(parser.add_argument_group("on what"))
    _add_schedule(parser.add_argument_group("how"))
    _add_machine(parser.add_argument_group("on which machine"))
    _add_watching(parser.add_argument_group("what is seen of it"))
    parser.set_defaults(run=run)


def _add_what(group: argparse._ArgumentGroup) -> None:
    group.add_argument("recipe", nargs="?", metavar="RECIPE", help="one of --list")
    group.add_argument("--list", action="store_true", help="name the recipes")
    group.add_argument(
        "--finetune",
        type=Path,
        metavar="WEIGHTS",
        help="train these further, on --data DIR: a file, or a name of `msdeaot weights list`, or of a shipped preset",
    )
    group.add_argument("--preset", metavar="NAME", help="of the weights of --finetune, if the file does not say it")
    group.add_argument("--start", type=Path, metavar="WEIGHTS", help="weights from which the recipe starts")
    group.add_argument(
        "--encoder-weights",
        type=Path,
        metavar="FILE",
        help="ImageNet weights of the encoder, for recipes that start from them (default: the file that `msdeaot "
        "weights download imagenet-...` fetches)",
    )
    group.add_argument("--freeze-encoder", action="store_true", help="leave the encoder as it is")
    group.add_argument("--out", type=Path, metavar="DIR", help="weights, state and log are written here")


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="where a dataset of the recipe is (`msdeaot data list` names them); repeatable. With --finetune simply "
        "DIR: JPEGImages/<video>/*.jpg and Annotations/<video>/*.png",
    )
    group.add_argument("--data-root", type=Path, metavar="DIR", help="the datasets not named are DIR/NAME")
    group.add_argument("--workers", type=int, metavar="N", help="processes that make batches, per training process")


def _add_schedule(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--steps", type=int, metavar="N", help="of the optimizer; the schedule is stretched over them")
    group.add_argument("--batch-size", type=int, metavar="N", help="samples per step, over all processes")
    group.add_argument(
        "--micro-batch",
        type=int,
        metavar="N",
        help="samples computed at once, gradients adding up: the samples and steps stay, memory shrinks",
    )
    group.add_argument("--size", type=int, metavar="PIXELS", help="both sides of a frame")
    group.add_argument("--seed", type=int, metavar="N")
    add_settings_option(group, "change another setting of the run, as in schedule.learning_rate=1e-4")


def _add_machine(group: argparse._ArgumentGroup) -> None:
    add_device_option(group)
    group.add_argument(
        "--devices", type=int, metavar="N", help="processes on this machine (default: the recipe's, as far as GPUs are)"
    )
    group.add_argument("--nodes", type=int, default=1, metavar="N", help="machines (default: %(default)s)")
    group.add_argument("--precision", choices=["32-true", "bf16-mixed"], help="default: the recipe's")
    group.add_argument("--compile", action="store_true", help="through torch.compile")
    group.add_argument(
        "--checkpoint-frames", action="store_true", help="less memory: frames are computed again for their gradients"
    )
    group.add_argument("--small-memory", action="store_true", help="--checkpoint-frames --micro-batch 1")
    group.add_argument(
        "--time-budget",
        type=parse_seconds,
        metavar="TIME",
        help="as 9m or 1h30m: save and stop after it; the same command goes on. The schedule is by steps",
    )


def _add_watching(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--dry-run", action="store_true", help="tell what would run; train nothing")
    group.add_argument("--tensorboard", action="store_true", help="write charts for TensorBoard")
    group.add_argument(
        "--picture-every", type=int, metavar="N", help="steps between pictures of a clip (default: none)"
    )
    group.add_argument(
        "--validate",
        metavar="DIR",
        help="track whole sequences of DIR (JPEGImages, Annotations), or `procedural` ones, and log the scores",
    )
    group.add_argument("--validate-every", type=int, default=1000, metavar="N", help="steps (default: %(default)s)")
    group.add_argument(
        "--replay", type=Path, metavar="FILE", help="compute the saved step of a run that broke off again"
    )


def parse_seconds(text: str) -> float:
    """The text 1h30m as 5400."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no time, as 90s, 9m or 1h30m are")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def run(args: argparse.Namespace) -> int:
    from ..training.engine import launch, make_fabric
    from ..training.recipes import RECIPES
    from ..training.sharing import share_out
    from ..types import InputError
    from .train_dry_run import describe
    from .train_plan import plan_from
    from .train_run import count_devices, train

    if args.list:
        for recipe in RECIPES.values():
            print(f"{recipe.name:24} {recipe.about}{_published(recipe.name)}")
        return 0
    if args.replay is not None:
        return _replay(args.replay, args.device)
    plan = plan_from(args)
    devices = count_devices(args, plan.recipe)
    if args.dry_run:
        return describe(plan, devices * args.nodes, args.device)
    if args.out is None:
        raise InputError("--out DIR: where the weights are to be written")
    plan.check_start()
    share_out(plan.config, devices * args.nodes, rank=0)  # said here rather than by each process
    fabric = make_fabric(args.device, devices=devices, nodes=args.nodes, precision=plan.config.precision)
    result = launch(fabric, train, plan, args)
    print(f"weights: {result.weights}")
    if result.step < plan.config.steps:
        print(f"stopped after {args.time_budget:g} s at step {result.step} of {plan.config.steps}; the command goes on")
    return 0


def _published(recipe: str) -> str:
    """What the report's model of a recipe reached, in percent as there."""
    from ..evaluation.published import published_success

    scores = published_success(recipe)
    return f"; published success {', '.join(f'{p} {score:.1%}' for p, score in scores.items())}" if scores else ""


def _replay(file: Path, device: str) -> int:
    from ..training.replay import replay

    found = replay(file, device)
    print(f"step {found.step}: norm of the gradient {found.gradient_norm:.6g}")
    for number, loss in found.losses.items():
        print(f"loss of micro-batch {number}: {loss:.6g}")
    return 0
