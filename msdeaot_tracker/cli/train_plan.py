"""From the options of `msdeaot train` to what is run: the recipe with its changes, folders of data, weights, model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ..checkpoints import load_imagenet, load_state
from ..checkpoints.io import read_weights
from ..config import find_preset, override
from ..data.datasets.catalogue import find_dataset
from ..initializers.lite import load_lite
from ..initializers.lite_net import BoxToMaskNet
from ..models import MSDeAOT
from ..training.config import LoopConfig, TrainConfig
from ..training.mixes import Mix
from ..training.recipe_types import IMAGENET, INITIALIZER, SCRATCH, Recipe
from ..training.recipes import find_recipe, fine_tuning
from ..training.sources import Source
from ..types import CheckpointError, InputError

_NUMBERS = ("steps", "batch_size", "micro_batch", "seed", "workers")  # options that are settings of the same name


@dataclass(frozen=True)
class Plan:
    """recipe: with the command's changes. start: weights of the whole model, encoder: of its encoder alone."""

    recipe: Recipe
    folders: Mapping[str, Path]
    start: Path | None
    encoder: Path | None

    @property
    def config(self) -> LoopConfig:
        return self.recipe.config

    def open_data(self) -> Source:
        """InputError: names every dataset that cannot be used."""
        data = self.recipe.data
        return data.open(self.folders) if isinstance(data, Mix) else data

    def make_model(self) -> nn.Module:
        """With random weights, the same for a seed."""
        torch.manual_seed(self.config.seed)
        return BoxToMaskNet() if self.recipe.preset == INITIALIZER else MSDeAOT(find_preset(self.recipe.preset))

    def load_start(self, model: nn.Module) -> None:
        """Give it the weights that it starts from, if there are any. CheckpointError: missing, or they do not fit."""
        if isinstance(model, MSDeAOT) and self.start is not None:
            load_state(model, self.start)
        elif self.start is not None:
            model.load_state_dict(load_lite(self.start).state_dict())
        elif self.recipe.start == IMAGENET:
            load_imagenet(model, self.encoder)

    def check_start(self) -> None:
        """InputError: the weights it starts from are not given."""
        if self.start is None and self.recipe.start not in (SCRATCH, IMAGENET):
            raise InputError(
                f"{self.recipe.name} goes on from the weights of {self.recipe.start}: --start DIR/weights.safetensors"
            )


def plan_from(args: argparse.Namespace) -> Plan:
    """InputError: options that say nothing or too much, or values that fit neither each other nor the model."""
    if (args.recipe is None) == (args.finetune is None):
        raise InputError("name a recipe, or --finetune WEIGHTS (not both); `msdeaot train --list` names the recipes")
    if args.recipe is not None:
        recipe, start = find_recipe(args.recipe), args.start
        if args.preset is not None:
            raise InputError("--preset belongs to --finetune: a recipe has its model")
        folders = _folders(args, recipe)
    else:
        if args.start is not None:
            raise InputError("--start belongs to a recipe; the weights of --finetune are where it starts")
        start = args.finetune
        folders = _named_folders(args.data, alone="folder")
        recipe = fine_tuning(find_preset(_preset_of(start, args.preset)), tuple(folders) or ("folder",))
    if args.encoder_weights is not None and (start is not None or recipe.start != IMAGENET):
        raise InputError(f"--encoder-weights: {recipe.name} does not start from an encoder's weights")
    if args.size is not None:
        recipe = recipe.with_size(args.size)
    recipe = replace(recipe, config=_changed(args, recipe.config))
    return Plan(recipe, folders, start, args.encoder_weights)


def _preset_of(weights: Path, preset: str | None) -> str:
    name = preset or read_weights(weights).preset
    if name is None:
        raise CheckpointError(f"{weights} does not say which preset it is for: --preset NAME")
    return name


def _folders(args: argparse.Namespace, recipe: Recipe) -> dict[str, Path]:
    wanted = recipe.data.datasets if isinstance(recipe.data, Mix) else ()
    given = _named_folders(args.data)
    for name in given:
        if name not in wanted:
            reads = f"it reads {', '.join(wanted)}" if wanted else "it reads none"
            raise InputError(f"--data {name}: {recipe.name} has no such dataset; {reads}")
    if args.data_root is not None:
        given = {name: args.data_root / name for name in wanted} | given
    return given


def _named_folders(texts: list[str], alone: str | None = None) -> dict[str, Path]:
    """["davis=DIR"] -> {"davis": Path(DIR)}; a folder without a name is that of `alone`."""
    folders = {}
    for text in texts:
        name, separator, folder = text.partition("=")
        if alone is not None and (not separator or Path(text).is_dir()):
            name, folder = alone, text
        elif not separator:
            raise InputError(f"--data {text!r} is not NAME=DIR, as davis=DIR")
        find_dataset(name)
        if name in folders:
            raise InputError(f"--data {name} is given twice")
        folders[name] = Path(folder)
    return folders


def _changed(args: argparse.Namespace, config: LoopConfig) -> LoopConfig:
    named = {name: getattr(args, name) for name in (*_NUMBERS, "precision")}
    changes = {name: value for name, value in named.items() if value is not None}
    for name in _NUMBERS:
        least = 0 if name in ("seed", "workers") else 1
        if changes.get(name, least) < least:
            raise InputError(f"--{name.replace('_', '-')} {changes[name]}: at least {least}")
    if args.batch_size is not None and args.micro_batch is None:
        changes["micro_batch"] = None
    if args.compile:
        changes["compile"] = True
    changes |= _for_little_memory(args, config)
    if args.freeze_encoder:
        changes["frozen"] = ("encoder",)
    return override(replace(config, **changes), *args.settings)


def _for_little_memory(args: argparse.Namespace, config: LoopConfig) -> dict[str, int | bool]:
    if not (args.small_memory or args.checkpoint_frames):
        return {}
    if not isinstance(config, TrainConfig):
        raise InputError(f"--small-memory and --checkpoint-frames are for models that track, not for {INITIALIZER}")
    return {"checkpoint_frames": True} | ({"micro_batch": 1} if args.small_memory else {})
