"""A run of `msdeaot train`, in each of its processes."""

from __future__ import annotations

import argparse
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from ..device import pick_device
from ..training.box_to_mask import BoxToMaskTrainer
from ..training.loop import Loop
from ..training.observers import Charts, CsvLog, Observer, ProgressBar, StepReport
from ..training.pictures import Pictures
from ..training.recipe_types import INITIALIZER, Recipe
from ..training.tracking import Trainer
from ..training.validation import Validation
from ..types import InputError
from .train_plan import Plan
from .validation import track_and_score, validation_sequences

if TYPE_CHECKING:
    from ..training.engine import Fabric


class Result(NamedTuple):
    weights: Path
    step: int  # where it stopped


class _LastStep:
    """Remembers how far a run came."""

    def __init__(self) -> None:
        self.step_number: int | None = None

    def step(self, report: StepReport) -> None:
        self.step_number = report.step

    def close(self) -> None:
        pass


def count_devices(args: argparse.Namespace, recipe: Recipe) -> int:
    """Processes on this machine: as asked for, or the recipe's as far as there are GPUs for them."""
    if args.devices is not None:
        return args.devices
    device = pick_device(args.device)
    return min(recipe.devices, torch.cuda.device_count()) if device.type == "cuda" and device.index is None else 1


def train(fabric: Fabric, plan: Plan, args: argparse.Namespace) -> Result:
    source = plan.open_data()
    model = plan.make_model()
    plan.load_start(model)
    last = _LastStep()
    observers = [*make_observers(plan.recipe, args), last] if fabric.is_global_zero else []
    kind: type[Loop] = BoxToMaskTrainer if plan.recipe.preset == INITIALIZER else Trainer
    loop = kind(model, plan.config, args.out, source, fabric=fabric, observers=observers)
    if fabric.is_global_zero:
        print(
            f"{plan.recipe.name} on {fabric.world_size} x {fabric.device.type}: {plan.config.steps} steps of "
            f"{plan.config.batch_size} samples; {source.about}"
        )
    weights = loop.run(math.inf if args.time_budget is None else args.time_budget)
    return Result(weights, plan.config.steps if last.step_number is None else last.step_number)


def make_observers(recipe: Recipe, args: argparse.Namespace) -> list[Observer]:
    """Validation first: what it measures is told to those that follow."""
    observers: list[Observer] = []
    if args.validate is not None:
        if recipe.preset == INITIALIZER:
            raise InputError(f"--validate tracks; {INITIALIZER} does not")
        measure = partial(track_and_score, sequences=validation_sequences(args.validate))
        observers.append(Validation(measure, args.validate_every))
    charts = [Charts(args.out)] if args.tensorboard else []
    observers += [CsvLog(args.out), *charts]
    if args.picture_every is not None:
        observers.append(Pictures(args.out, args.picture_every, charts[0].add_picture if charts else None))
    return [*observers, ProgressBar()]
