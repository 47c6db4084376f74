"""Which of a model's parameters are trained, how fast and with which weight decay; and the averaged weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..types import InputError
from .config import LoopConfig

# AOT's exemptions from weight decay that are matrices or filters; vectors (biases, scales of norms) never decay.
_NOT_DECAYED = ("relative_position_bias_table", "short_term.relative_value", "decoder.output.weight")

# Modules of each encoder's parts, as AOT freezes them: of Swin neither the norm of an output nor what leads to the next
_MOBILE = {"stem": ("stem",), "stage1": ("blocks.0", "blocks.1")}
_RESNET = {"stem": ("network.conv1", "network.bn1"), "stage1": ("network.layer1",)}
_ENCODER_PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("mobilenetv2", "efficientnet_lite0"), _MOBILE),
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet_small"), _RESNET),
    "intern_image_t": {"stem": ("network.stem",), "stage1": ("network.stages.0",)},
    "swin_base": {"stem": ("patch_embed",), "stage1": ("stages.0",)},
}


def parameter_groups(model: nn.Module, config: LoopConfig) -> list[dict[str, Any]]:
    """The trained parameters as groups for an optimizer, each with its `weight_decay` and `rate`.

    `rate` is a share of the schedule's learning rate: `config.encoder_rate` for what is under `encoder.`, else 1.
    Order follows the model's, so two models of one kind have the same groups.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            bare = parameter.ndim < 2 or name.endswith(_NOT_DECAYED)
            rate = config.encoder_rate if name.startswith("encoder.") else 1.0
            groups.setdefault((0.0 if bare else config.weight_decay, rate), []).append(parameter)
    return [{"params": found, "weight_decay": decay, "rate": rate} for (decay, rate), found in groups.items()]


def freeze(model: nn.Module, names: Iterable[str]) -> None:
    """Stop training parts of `model.encoder`: "stem", "stage1" or all of it, "encoder".

    Whatever mode the model is in, they compute as in evaluation: batch norms stand still, and no path is dropped (AOT).

    InputError: another name, or a part of an encoder whose parts are not known.
    """
    for name in names:
        for module in _part(model, name):
            module.requires_grad_(False)
            for each in module.modules():
                if isinstance(each, nn.BatchNorm2d) or next(each.parameters(), None) is None:
                    each.register_forward_pre_hook(_as_in_evaluation)


def _part(model: nn.Module, name: str) -> list[nn.Module]:
    parts = _ENCODER_PARTS.get(getattr(model, "encoder_name", ""), {})
    known = ["encoder", *parts] if hasattr(model, "encoder") else []
    if name not in known:
        raise InputError(f"no part {name!r} can be frozen; of this model there are: {', '.join(known) or 'none'}")
    return [model.encoder.get_submodule(place) for place in parts[name]] if name in parts else [model.encoder]


def _as_in_evaluation(module: nn.Module, _: Any) -> None:
    module.eval()


class AveragedWeights:
    """Exponential moving average of a model's state, AOT's rule: decay 1 - 1 / (0.1 steps), faster at the start."""

    def __init__(self, model: nn.Module, steps: int):
        self._decay = 1 - 1 / max(0.1 * steps, 1)
        self.state = {key: tensor.detach().clone() for key, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step number `step` (0 first)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for key, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.state[key].lerp_(tensor, 1 - decay)
            else:
                self.state[key].copy_(tensor)
