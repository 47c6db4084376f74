"""Reading and writing weights; building a model from a preset and its weights.

Our format is a safetensors file whose metadata hold `format`, `preset` and `config`. Official DeAOT and VMOS files
(.pth, `state_dict` inside) are recognised by their keys. Nothing a file contains is ever executed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save as serialize
from torch import Tensor

from ..config import DEFAULT_PRESET, ModelConfig, Preset, Stage, config_as_dict, find_preset, override
from ..device import pick_device
from ..models import MSDeAOT
from ..types import CheckpointError
from .cache import find_weights
from .convert import check_shapes, convert, official_layout
from .zoo import MANIFEST

FORMAT = "msdeaot-tracker-1"
_TRAINING_ONLY = frozenset({"dropout", "drop_path"})  # settings that do not change what weights mean


@dataclass(frozen=True)
class WeightsFile:
    """The content of a weights file; `preset` and `config` are known for our own format only."""

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
    weights:   our format or an official file; None: those that ship with the preset, or were downloaded for it.
    device:    "auto" (cuda, else mps, else cpu), "cpu", "mps", "cuda", "cuda:1".
    overrides: settings as for `config.override`, "memory.long_term_max=4".

    InputError: unknown preset, device or setting. CheckpointError: no weights, or a file that does not fit.
    """
    target = pick_device(device)
    if weights is None:
        preset = preset or DEFAULT_PRESET
        weights = shipped_weights(find_preset(preset))
    file = read_weights(weights)
    if preset is None:
        if file.preset is None:
            raise CheckpointError(f"{file.path} does not say which preset it is for; name the preset as well")
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


def write_tensors(
    path: str | os.PathLike[str], state: dict[str, Tensor], metadata: dict[str, str], *, half: bool = False
) -> None:
    """A safetensors file; `path` has its old or its new content at any time, never a part. CheckpointError: cannot."""
    path = Path(path)
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    if half:
        tensors = {k: t.half() if t.is_floating_point() and t.ndim > 1 else t for k, t in tensors.items()}
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(serialize(tensors, metadata))
        os.replace(partial, path)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def read_weights(path: str | os.PathLike[str]) -> WeightsFile:
    """Tensors by name, not yet compared with a model. CheckpointError: missing, damaged, hostile, or another kind."""
    path = Path(path)
    return _read_own(path) if _is_safetensors(path) else _read_pickle(path)


def read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The state dict in a file of somebody else's: safetensors, or a PyTorch checkpoint that is one or holds one.

    CheckpointError: missing, damaged, hostile, or without one.
    """
    path = Path(path)
    if _is_safetensors(path):
        return read_tensors(path)[0]
    content = read_pickle(path)
    if isinstance(content, dict):
        content = next((content[key] for key in ("state_dict", "model") if key in content), content)
    if not isinstance(content, dict) or not all(isinstance(t, Tensor) for t in content.values()):
        raise CheckpointError(f"{path} holds no state dict of tensors")
    return {str(key): tensor for key, tensor in content.items()}


def _is_safetensors(path: Path) -> bool:
    """Or a PyTorch checkpoint; CheckpointError: neither."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise CheckpointError(f"cannot read weights {path}: {error.strerror}") from error
    if head[8:9] == b"{":  # the length of a JSON header, then the header
        return True
    if head[:2] == b"PK" or head[:1] == b"\x80":  # zip archive, or a bare pickle before PyTorch 1.6
        return False
    raise CheckpointError(f"{path} is no weights file: neither safetensors nor a PyTorch checkpoint")


def read_pickle(path: str | os.PathLike[str], *, inert: Sequence[str] = ()) -> Any:
    """Content of a PyTorch checkpoint: tensors, containers and plain values.

    inert: classes that it may mention beyond that, by dotted name. None is imported: a class without any code takes
           the place of each.

    CheckpointError: missing, damaged, or hostile: it names anything else.
    """
    stand_ins = [type(name, (), {"__module__": module}) for module, _, name in (n.rpartition(".") for n in inert)]
    try:
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read weights {path}: {error.strerror or error}") from error
    except Exception as error:  # damaged or hostile bytes make the unpickler raise almost anything
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        words = f"it mentions {foreign[1]}" if foreign else str(error).strip() or type(error).__name__
        raise CheckpointError(f"{path} is damaged, or holds more than weights: {words.splitlines()[0]}") from error


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


def read_tensors(path: str | os.PathLike[str], expected: str | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. CheckpointError: missing, damaged, or not of the expected format."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except OSError as error:
        raise CheckpointError(f"cannot read weights {path}: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if expected is not None and metadata.get("format") != expected:
        raise CheckpointError(f"{path} is of format {metadata.get('format')!r}, expected {expected!r}")
    return state, metadata


def _read_own(path: Path) -> WeightsFile:
    state, metadata = read_tensors(path, FORMAT)
    try:
        config = _parse_config(json.loads(metadata["config"])["model"])
        return WeightsFile(path, state, metadata["preset"], config)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has no usable description of its model: {error!r}") from error


def _read_pickle(path: Path) -> WeightsFile:
    content = read_pickle(path)
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise CheckpointError(f"{path} holds no 'state_dict' of tensors")
    return WeightsFile(path, {str(key).removeprefix("module."): tensor for key, tensor in state.items()})


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
                raise CheckpointError(f"made for another model than preset {preset.name!r}: {difference}")
            state = file.state
            check_shapes({key: tuple(t.shape) for key, t in model.state_dict().items()}, state)
        elif official_layout(file.state):
            state = convert(file.state, model)
        else:
            raise CheckpointError("neither of this project's format nor an official DeAOT or VMOS checkpoint")
    except CheckpointError as error:
        raise CheckpointError(f"{file.path}: {error}") from error
    own = model.state_dict()
    model.load_state_dict({key: tensor.to(own[key].dtype) for key, tensor in state.items()})


def _first_difference(file: Any, asked: Any, path: str) -> str | None:
    """The first setting in which two configurations differ, in words."""
    if dataclasses.is_dataclass(asked):
        names = [f.name for f in dataclasses.fields(asked) if f.name not in _TRAINING_ONLY]
        pairs = [(f"{path}.{name}", getattr(file, name), getattr(asked, name)) for name in names]
    elif isinstance(asked, tuple) and len(file) == len(asked):
        pairs = [(f"{path}[{i}]", a, b) for i, (a, b) in enumerate(zip(file, asked, strict=True))]
    elif isinstance(asked, tuple):
        return f"{path} has {len(file)} entries in the file, {len(asked)} in the preset"
    else:
        return None if file == asked else f"{path} is {file!r} in the file, {asked!r} in the preset"
    return next((found for name, a, b in pairs if (found := _first_difference(a, b, name))), None)
