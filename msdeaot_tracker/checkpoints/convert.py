"""Official AOT, DeAOT and VMOS checkpoints as weights of ours, strict in both directions (names: official.py)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

from torch import Tensor

from ..config import PRESETS, ModelConfig
from ..models import MSDeAOT
from ..types import CheckpointError
from .official import DROPPED, ENCODER_MARKS, ENCODER_RULES, RULES
from .state_dicts import check_tensors

_STAGE_NORM = r"encoder\.levels\.\d\.norm\.0\.weight"
logger = logging.getLogger(__name__)


class Official(NamedTuple):
    """What an official file is of, as its keys tell; or what a model of ours could be filled from."""

    layout: str  # a name in official.RULES
    encoder: str | None  # a name in ENCODERS; None: no encoder
    layers: int  # of propagation, in the first stage

    def __str__(self) -> str:
        layers = f"{self.layers} propagation layer" + "s" * (self.layers != 1)
        return f"an official {self.layout} file ({self.encoder or 'without an encoder'}, {layers})"

    @property
    def presets(self) -> list[str]:
        """Those that take such a file."""
        return [name for name, preset in PRESETS.items() if _official_of(preset.model) == self]

    @property
    def advice(self) -> str:
        """Which presets take it, in words."""
        if self.encoder is None:
            return "no preset takes it; one that does needs the encoder's keys as well"
        return f"it is for the preset {' or '.join(self.presets)}" if self.presets else "no preset takes it"


def identify_official(keys: Iterable[str]) -> Official | None:
    """What the key names say; None: they are not those of an official file."""
    names = set(keys)
    layers = {name.split(".")[2] for name in names if name.startswith("LSTT.layers.")}
    if not layers:
        return None
    if any(name.startswith("LSTT.layer_s8.") for name in names):
        layout = "VMOS"
    else:
        layout = "AOT" if any(re.match(r"LSTT\.layers\.\d+\.linear_Q\.", name) for name in names) else "DeAOT"
    encoder = next((e for e, mark in ENCODER_MARKS.items() if any(name.startswith(mark) for name in names)), None)
    return Official(layout, encoder, len(layers))


def official_shapes(model: MSDeAOT, layout: str) -> dict[str, tuple[int, ...]]:
    """Key and shape, in an official file of this layout, of every tensor of `model`, in the model's own order."""
    return {
        _official_key(key, layout, model): _official_shape(key, tensor) for key, tensor in model.state_dict().items()
    }


def convert(official: Mapping[str, Tensor], model: MSDeAOT) -> dict[str, Tensor]:
    """The state dict of `model` from an official one.

    CheckpointError: it is a file of another model (the message says of which), or names the first key that is wrong.
    """
    found = identify_official(official)
    if found is None:
        raise CheckpointError("the keys are not those of an official AOT, DeAOT or VMOS file")
    has_encoder = bool(model.encoder.state_dict())
    if found != _official_of(model.preset.model, has_encoder=has_encoder):
        raise CheckpointError(f"{found} does not fit {model.preset.name!r}; {found.advice}")
    if has_encoder:
        _check_encoder_widths(found, official, model)
    used = dict(official)
    for pattern, reason in DROPPED[found.layout].items():
        dropped = [key for key in used if re.fullmatch(pattern, key)]
        logger.debug("%d keys like %s are not used: %s", len(dropped), pattern, reason)
        for key in dropped:
            del used[key]
    check_tensors(official_shapes(model, found.layout), used)
    own = model.state_dict()
    return {key: used[_official_key(key, found.layout, model)].reshape(tensor.shape) for key, tensor in own.items()}


def _check_encoder_widths(found: Official, official: Mapping[str, Tensor], model: MSDeAOT) -> None:
    """The InternImage-T of VMOS is not the common one, whose weights fit all but its last stage (INTERNIMAGE.md 1)."""
    if found.encoder != "intern_image_t":
        return
    widths = [official[key].shape[0] for key in sorted(official) if re.fullmatch(_STAGE_NORM, key)]
    if widths != list(model.encoder.network.widths):
        expected = list(model.encoder.network.widths)
        raise CheckpointError(f"{found}, but its stages have {widths} channels; {found.advice}, with {expected}")


def _official_of(config: ModelConfig, *, has_encoder: bool = True) -> Official:
    """The kind of official file that could fill such a model, should there be one."""
    gated = "DeAOT" if config.decoder == "fpn" else "VMOS"
    layout = gated if config.propagation == "gated" else "AOT"
    return Official(layout, config.encoder if has_encoder else None, config.stages[0].layers)


def _official_key(key: str, layout: str, model: MSDeAOT) -> str:
    module, _, leaf = key.rpartition(".")
    for pattern, official in _compiled(layout, model.preset.model.encoder):
        if match := pattern.fullmatch(module):
            return f"{match.expand(official)}.{leaf}"
        if match := pattern.fullmatch(key):
            return match.expand(official)
    raise CheckpointError(f"an official {layout} file does not fit {model.preset.name!r}: it has nothing for {key!r}")


@cache
def _compiled(layout: str, encoder: str) -> list[tuple[re.Pattern[str], str]]:
    rules = {**RULES[layout], **ENCODER_RULES.get(encoder, {})}
    return [(re.compile(pattern), official) for pattern, official in rules.items()]


def _official_shape(key: str, tensor: Tensor) -> tuple[int, ...]:
    """Officially the relative term is a 1x1 convolution; ours is a map of tokens, linear or with one axis fewer."""
    shape = tuple(tensor.shape)
    return (*shape, *[1] * (4 - len(shape))) if key.endswith(".relative.weight") else shape
