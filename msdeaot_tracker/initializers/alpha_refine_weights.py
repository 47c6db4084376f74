"""Published Alpha-Refine weights (AR34c+m, AR18c+m) as weights of ours, strict in both directions."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints import find_weights
from ..checkpoints.state_dicts import check_tensors, read_state
from ..models.encoder import ENCODERS
from ..types import CheckpointError, InputError
from .alpha_refine_net import AlphaRefineNet

logger = logging.getLogger(__name__)

VARIANTS = {"r34": "resnet34", "r18": "resnet18"}

# Classes of the training framework whose objects the published files hold beside the weights.
_INERT = (
    "ltr.admin.model_constructor.NetConstructor",
    "ltr.admin.settings.Settings",
    "ltr.admin.local.EnvironmentSettings",
    "ltr.admin.stats.AverageMeter",
    "ltr.admin.stats.StatValue",
)

# What published files hold and the network here does not take, and why.
DROPPED = {
    r"feature_extractor\.layer4\..+": "the backbone's last stage, which is never run",
    r"feature_extractor\.fc\..+": "the backbone's classifier, which is never run",
    r".+\.num_batches_tracked": "counts training steps; no result depends on it",
}


def _names() -> dict[str, str]:
    """Our modules by name -> the published ones."""
    names = {
        "backbone.network": "feature_extractor",
        "correlation.gate.1": "neck.channel_attention.fc1",
        "correlation.gate.3": "neck.channel_attention.fc2",
        "corner_head.top_left.4": "corner_head.conv5_tl",
        "corner_head.bottom_right.4": "corner_head.conv5_br",
    }
    names |= {f"corner_head.top_left.{i}": f"corner_head.conv{i + 1}_tl" for i in range(4)}
    names |= {f"corner_head.bottom_right.{i}": f"corner_head.conv{i + 1}_br" for i in range(4)}
    for step in range(3):  # ours count from coarse to fine
        names |= {f"correlation.mix.{step}.{part}": f"neck.post_corr.{3 * step + part}" for part in range(2)}
        names[f"adapters.{step}"] = f"feat_adjust.{2 - step}"
        names[f"mask_head.coarse.{step}"] = f"mask_head.h{2 - step}"
        names[f"mask_head.fine.{step}"] = f"mask_head.v{2 - step}"
        names[f"mask_head.merge.{step}"] = f"mask_head.post{step}"
    return names


_NAMES = _names()


def published_key(key: str) -> str:
    """Name in the published files of a tensor of `AlphaRefineNet`."""
    module = next(name for name in _NAMES if key.startswith(f"{name}."))
    return _NAMES[module] + key.removeprefix(module)


def build_alpha_refine(variant: str) -> AlphaRefineNet:
    """A published architecture with random weights. InputError: no such variant."""
    if variant not in VARIANTS:
        raise InputError(f"no Alpha-Refine variant {variant!r}; there are: {', '.join(VARIANTS)}")
    return AlphaRefineNet(ENCODERS[VARIANTS[variant]]())


def load_alpha_refine(path: str | os.PathLike[str] | None, variant: str) -> AlphaRefineNet:
    """The network of a published file (None: the downloaded one of the variant), in evaluation mode on the CPU.

    InputError: no such variant. CheckpointError: missing, damaged or hostile file, or one that does not fit exactly.
    """
    network = build_alpha_refine(variant)
    path = find_weights(f"alpha-refine-{variant}") if path is None else path
    state = read_state(path, inert=_INERT)
    try:
        fill(network, state, variant)
    except CheckpointError as error:
        raise CheckpointError(f"{Path(path)} does not fit Alpha-Refine {variant!r}: {error}") from error
    return network.eval().to(memory_format=torch.channels_last)  # faster on CPU


def fill(network: AlphaRefineNet, published: dict[str, Tensor], variant: str) -> None:
    """Copy tensors by published name into a network of that variant. CheckpointError names what differs."""
    own = {key: tensor for key, tensor in network.state_dict().items() if not _dropped(published_key(key))}
    for pattern, reason in DROPPED.items():
        count = sum(bool(re.fullmatch(pattern, key)) for key in published)
        logger.debug("%d keys like %s are not used: %s", count, pattern, reason)
    used = {key: tensor for key, tensor in published.items() if not _dropped(key)}
    expected = {published_key(key): tuple(tensor.shape) for key, tensor in own.items()}
    _check_kind(used, expected, variant)
    check_tensors(expected, used)
    network.load_state_dict({key: used[published_key(key)] for key in own}, strict=False)  # all but the counters


def _dropped(key: str) -> bool:
    return any(re.fullmatch(pattern, key) for pattern in DROPPED)


def _check_kind(found: Collection[str], expected: Collection[str], variant: str) -> None:
    """Say in one sentence what a file of another Alpha-Refine is, rather than name one of its many keys."""
    parts, wanted = ({key.split(".")[0] for key in keys} for keys in (found, expected))
    differences = [f"no part {name!r}" for name in sorted(wanted - parts)]
    differences += [f"a part {name!r} that is not one of its own" for name in sorted(parts - wanted)]
    if differences:
        raise CheckpointError(
            f"it has {', '.join(differences)}; only AR34c+m and AR18c+m can be used (corner head and mask head, "
            "pixel-wise correlation), not older variants"
        )
    depths, wanted_depths = _depths(found), _depths(expected)
    if depths != wanted_depths:
        blocks, wanted_blocks = ("+".join(map(str, numbers)) for numbers in (depths, wanted_depths))
        raise CheckpointError(f"its ResNet begins with {blocks} blocks, that of {variant!r} with {wanted_blocks}")


def _depths(keys: Collection[str]) -> list[int]:
    """Blocks in each of the first three stages of the backbone."""
    blocks = {match[0] for key in keys if (match := re.match(r"feature_extractor\.layer[123]\.\d+", key))}
    return [sum(f"layer{stage}." in block for block in blocks) for stage in (1, 2, 3)]
