"""Reading and writing weights; building a model from a preset and its weights.

Our format is a safetensors file whose metadata hold `format`, `preset` and `config`. Official AOT, DeAOT and VMOS
weights, and ours in a file of another kind, are recognised by their keys.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import DEFAULT_PRESET, PRESETS, ModelConfig, Preset, Stage, config_as_dict, find_preset, override
from ..device import pick_device
from ..models import MSDeAOT
from ..types import CheckpointError
from .cache import find_weights, resolve_weights
from .convert import convert, identify_official
from .state_dicts import check_tensors, find_state, is_safetensors, read_state, read_tensors, write_tensors
from .zoo import MANIFEST

FORMAT = "msdeaot-tracker-1"
_ANYBODYS = (None, "pt")  # formats of safetensors files that are not ours
# Settings that do not change what weights mean.
_ANY_WEIGHTS = frozenset({"dropout", "drop_path", "self_stride"})


@dataclass(frozen=True)
class WeightsFile:
    """The content of a weights file; `config` is known for our own format only, `preset` also from public names."""

    path: Path
    state: dict[str, Tensor]
    preset: str | None = None
    config: ModelConfig | None = None


def load_model(
    preset: str | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: str | torch.device = "auto",
    overrides: Sequence[str] = (),
) -> MSDeAOT:
    """A model in evaluation mode on `device`, with its weights; `model.preset` says what it is.

    preset:    a name in PRESETS; None: the one that `weights` was saved from, or the default without `weights`.
    weights:   our format or an official file, or the name of public or shipped weights (`locate_weights`); None: those
               that ship with the preset, or were downloaded for it.
    device:    "auto" (cuda, else mps, else cpu), "cpu", "mps", "cuda", "cuda:1".
    overrides: settings as for `config.override`, "memory.long_term_max=4".

    InputError: unknown preset, device or setting. CheckpointError: no weights, or a file that does not fit.

    >>> model = load_model("msdeaot-small", device="cpu", overrides=["memory.long_term_max=4"])
    >>> model.preset.name, model.preset.memory.long_term_max
    ('msdeaot-small', 4)
    """
    target = pick_device(device)
    if weights is None:
        preset = preset or DEFAULT_PRESET
        weights = shipped_weights(find_preset(preset))
    file = read_weights(weights)
    if preset is None:
        if file.preset is None:
            official = identify_official(file.state)
            hint = f"{official}; {official.advice}" if official else "which does not say what preset it is for"
            raise CheckpointError(f"{file.path}: {hint}; name the preset as well")
        preset = file.preset
    model = MSDeAOT(override(find_preset(preset), *overrides))
    _fill(model, file)
    return model.eval().to(target, torch.float32)


def load_state(model: MSDeAOT, path: str | os.PathLike[str]) -> None:
    """Fill `model` from a file of our format or an official one; CheckpointError unless it fits exactly."""
    _fill(model, read_weights(path))


def save_checkpoint(path: str | os.PathLike[str], model: MSDeAOT, *, half: bool = False) -> None:
    """Write the model's weights in our format, as `write_tensors` does.

    half: store matrices and filters in half precision (vectors, which hardly take room, stay as they are).
    """
    metadata = {"format": FORMAT, "preset": model.preset.name, "config": json.dumps(config_as_dict(model.preset))}
    write_tensors(path, model.state_dict(), metadata, half=half)


def read_weights(weights: str | os.PathLike[str]) -> WeightsFile:
    """Tensors by name, not yet compared with a model; `weights` as for `load_model`.

    CheckpointError: missing, damaged, hostile, or another kind of file.
    """
    path, preset = locate_weights(weights)
    if not is_safetensors(path):
        return WeightsFile(path, read_state(path), preset)
    state, metadata = read_tensors(path)
    if metadata.get("format") in _ANYBODYS:
        return WeightsFile(path, find_state(state, path), preset)
    if metadata["format"] != FORMAT:
        raise CheckpointError(f"{path} is of format {metadata['format']!r}, expected {FORMAT!r}")
    try:
        config = _parse_config(json.loads(metadata["config"])["model"])
        return WeightsFile(path, state, metadata["preset"], config)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has no usable description of its model: {error!r}") from error


def locate_weights(weights: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """The file, and the preset that a name tells.

    weights: a file, the name of public weights (`msdeaot weights list`), or of a preset that comes with its weights.
    CheckpointError: no such file or name, not downloaded, or public weights of something else than a tracking model.
    """
    name = os.fspath(weights)
    if not os.path.isfile(name):
        if name in PRESETS and PRESETS[name].weights is not None:
            return shipped_weights(PRESETS[name]), name
        if name in MANIFEST:
            release = MANIFEST[name]
            if release.preset is None:
                raise CheckpointError(f"{name} is no model to track with, but this: {release.purpose}")
            return find_weights(name), release.preset
    return resolve_weights(name), None


def shipped_weights(preset: Preset) -> Path:
    """The file that comes with the package, else the downloaded public one. CheckpointError says how to get it."""
    if preset.weights is None and preset.name in MANIFEST:
        return find_weights(preset.name)
    if preset.weights is None:
        raise CheckpointError(
            f"no weights of preset {preset.name!r} are public; train them, or give a file of your own"
        )
    path = Path(str(resources.files("msdeaot_tracker") / "weights" / preset.weights))
    if not path.is_file():
        raise CheckpointError(f"the weights of preset {preset.name!r} are missing from this installation: {path}")
    return path


def _parse_config(raw: dict[str, Any]) -> ModelConfig:
    """Settings the file does not know had their defaults when it was written."""
    stages = tuple(Stage(**stage) for stage in raw["stages"])
    return ModelConfig(**{**raw, "stages": stages})


def _fill(model: MSDeAOT, file: WeightsFile) -> None:
    preset = model.preset
    try:
        if file.config is not None:
            difference = _first_difference(file.config, preset.model, "model")
            if difference:
                raise CheckpointError(
                    f"made for {file.preset!r}, another model than preset {preset.name!r}: {difference}"
                )
            state = file.state
        elif identify_official(file.state):
            state = convert(file.state, model)
        elif model.state_dict().keys() & file.state.keys():
            state = file.state
        else:
            raise CheckpointError("its keys are neither ours nor those of an official AOT, DeAOT or VMOS checkpoint")
        check_tensors({key: tuple(t.shape) for key, t in model.state_dict().items()}, state)
    except CheckpointError as error:
        raise CheckpointError(f"{file.path}: {error}") from error
    own = model.state_dict()
    model.load_state_dict({key: tensor.to(own[key].dtype) for key, tensor in state.items()})


def _first_difference(file: Any, asked: Any, path: str) -> str | None:
    """The first setting in which two configurations differ, in words."""
    if dataclasses.is_dataclass(asked):
        names = [f.name for f in dataclasses.fields(asked) if f.name not in _ANY_WEIGHTS]
        pairs = [(f"{path}.{name}", getattr(file, name), getattr(asked, name)) for name in names]
    elif isinstance(asked, tuple) and len(file) == len(asked):
        pairs = [(f"{path}[{i}]", a, b) for i, (a, b) in enumerate(zip(file, asked, strict=True))]
    elif isinstance(asked, tuple):
        return f"{path} has {len(file)} entries in the file, {len(asked)} in the preset"
    else:
        return None if file == asked else f"{path} is {file!r} in the file, {asked!r} in the preset"
    return next((found for name, a, b in pairs if (found := _first_difference(a, b, name))), None)
