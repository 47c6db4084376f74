"""Official DeAOT and VMOS checkpoints as weights of ours, strict in both directions.

The tables lead from our module names to the official ones, so every tensor of a model has exactly one source; what
an official file holds beyond that must be listed in DROPPED with the reason.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from functools import cache

from torch import Tensor

from ..models import MSDeAOT
from ..types import CheckpointError
from .state_dicts import check_tensors

logger = logging.getLogger(__name__)

Rules = Mapping[str, str]  # pattern of one of our module names -> official module name

_LAYER = {
    "norm1": "norm1",
    "to_key_value": "linear_QV",
    "to_gate": "linear_U",
    "id_norm1": "id_norm1",
    "to_id_gate": "linear_ID_U",
    "to_id_value": "linear_ID_V",
    "relative": "short_term_attn.relative_emb_k",
    "long_term.depthwise": "long_term_attn.dw_conv.conv",
    "long_term.projection": "long_term_attn.projection",
    "short_term.depthwise": "short_term_attn.dw_conv.conv",
    "short_term.projection": "short_term_attn.projection",
    "norm2": "norm2",
    "id_norm2": "id_norm2",
    "self_propagation.to_key": "self_attn.linear_QK",
    "self_propagation.to_value": "self_attn.linear_V1",
    "self_propagation.to_id_value": "self_attn.linear_V2",
    "self_propagation.to_gate": "self_attn.linear_U1",
    "self_propagation.to_id_gate": "self_attn.linear_U2",
    "self_propagation.output.depthwise": "self_attn.dw_conv.conv",
    "self_propagation.output.projection": "self_attn.projection",
}

_FIRST_STAGE = {
    r"stages\.0\.projection": "encoder_projector",
    r"stages\.0\.identity\.convolution": "patch_wise_id_bank",
    r"stages\.0\.identity\.norm": "id_norm",
    **{rf"stages\.0\.layers\.(\d+)\.{re.escape(ours)}": rf"LSTT.layers.\1.{theirs}" for ours, theirs in _LAYER.items()},
}

_FPN = {
    r"norm": "LSTT.decoder_norms.0.gn",
    r"decoder\.entry\.0": "decoder.conv_in.conv",
    r"decoder\.entry\.1": "decoder.conv_in.gn",
    r"decoder\.convs\.(\d+)\.0": r"decoder.conv_\1x.conv",
    r"decoder\.convs\.(\d+)\.1": r"decoder.conv_\1x.gn",
    r"decoder\.adapters\.(\d+)": r"decoder.adapter_\1x",
    r"decoder\.output": "decoder.conv_out",
}


def _fine_stages() -> Rules:
    rules = {
        r"norm": "LSTT.decoder_norms_s4.0.gn",
        r"decoder\.hidden\.0": "conv_output1.conv",
        r"decoder\.hidden\.1": "conv_output1.gn",
        r"decoder\.output": "conv_output2",
        r"stages\.1\.identity\.convolution": "patch_wise_id_bank_s8",
        r"stages\.1\.identity\.norm": "id_norm_s8",
    }
    rules |= {rf"stages\.1\.layers\.0\.{re.escape(ours)}": f"LSTT.layer_s8.{theirs}" for ours, theirs in _LAYER.items()}
    for stage, name in ((1, "s8"), (2, "s4")):
        rules[rf"stages\.{stage}\.projection"] = f"LSTT.{name}_proj"
        for branch, suffix in (("transition", ""), ("id_transition", "_id")):
            place = rf"stages\.{stage}\.{branch}"
            rules[rf"{place}\.merge\.0"] = f"LSTT.{name}_cons_in{suffix}.conv"
            rules[rf"{place}\.merge\.1"] = f"LSTT.{name}_cons_in{suffix}.gn"
            for block in (0, 1):
                official = f"LSTT.{name}_cons_out{suffix}.res{block + 1}"
                rules[rf"{place}\.refine\.{block}\.conv([12])\.0"] = rf"{official}.conv\1"
                rules[rf"{place}\.refine\.{block}\.conv([12])\.1"] = rf"{official}.gn\1"
    return rules


_RESNET = {r"encoder\.network\.(.+)": r"encoder.\1"}

_SWIN = {
    r"encoder\.(patch_embed\.\w+)": r"encoder.\1",
    r"encoder\.stages\.(\d+)\.(\d+)\.(.+)": r"encoder.layers.\1.blocks.\2.\3",
    r"encoder\.merges\.(\d+)\.(\w+)": r"encoder.layers.\1.downsample.\2",
    r"encoder\.norms\.(\d+)": r"encoder.norm\1",
}


def _mobilenet() -> Rules:
    rules = {
        r"encoder\.stem\.([01])": r"encoder.features.0.\1",
        r"encoder\.head\.([01])": r"encoder.features.18.\1",
        r"encoder\.blocks\.0\.0\.conv_dw": "encoder.features.1.conv.0.0",
        r"encoder\.blocks\.0\.0\.bn1": "encoder.features.1.conv.0.1",
        r"encoder\.blocks\.0\.0\.conv_pw": "encoder.features.1.conv.1",
        r"encoder\.blocks\.0\.0\.bn2": "encoder.features.1.conv.2",
    }
    parts = {"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1", "conv_pwl": "2", "bn3": "3"}
    feature = 2  # the official file counts the blocks of all groups in one row
    for group, blocks in enumerate((2, 3, 4, 3, 3, 1), start=1):
        for block in range(blocks):
            for ours, theirs in parts.items():
                rules[rf"encoder\.blocks\.{group}\.{block}\.{ours}"] = f"encoder.features.{feature}.conv.{theirs}"
            feature += 1
    return rules


_ENCODERS: dict[str, Rules] = {"mobilenetv2": _mobilenet(), "resnet50": _RESNET, "swin_base": _SWIN}

# Official keys that fill nothing of ours, by layout, and why.
DROPPED: dict[str, dict[str, str]] = {
    "DeAOT": {
        r"encoder\.layers\.\d+\.blocks\.\d+\.attn\.relative_position_index": "built from the window size",
    },
    "VMOS": {
        r"encoder\..*": "InternImage-T is not part of the model, which takes features",
        r"decoder\..*": "an FPN that the published network holds but never runs",
        r"LSTT\.decoder_norms\.0\..*": "a norm that the published network holds but never runs",
    },
}
_RULES: dict[str, Rules] = {"DeAOT": {**_FIRST_STAGE, **_FPN}, "VMOS": {**_FIRST_STAGE, **_fine_stages()}}


def official_layout(keys: Iterable[str]) -> str | None:
    """ "DeAOT" or "VMOS" when the key names are those of an official file, else None."""
    names = set(keys)
    if not any(name.startswith("LSTT.") for name in names):
        return None
    return "VMOS" if any(name.startswith("LSTT.layer_s8.") for name in names) else "DeAOT"


def official_shapes(model: MSDeAOT, layout: str) -> dict[str, tuple[int, ...]]:
    """Key and shape, in an official file of this layout, of every tensor of `model`, in the model's own order."""
    return {
        _official_key(key, layout, model): _official_shape(key, tensor) for key, tensor in model.state_dict().items()
    }


def convert(official: Mapping[str, Tensor], model: MSDeAOT) -> dict[str, Tensor]:
    """The state dict of `model` from an official one. CheckpointError names the first key that is wrong."""
    layout = official_layout(official)
    if layout is None:
        raise CheckpointError("the keys are not those of an official DeAOT or VMOS file")
    used = dict(official)
    for pattern, reason in DROPPED[layout].items():
        dropped = [key for key in used if re.fullmatch(pattern, key)]
        logger.debug("%d keys like %s are not used: %s", len(dropped), pattern, reason)
        for key in dropped:
            del used[key]
    check_tensors(official_shapes(model, layout), used)
    own = model.state_dict()
    return {key: used[_official_key(key, layout, model)].reshape(tensor.shape) for key, tensor in own.items()}


def _official_key(key: str, layout: str, model: MSDeAOT) -> str:
    module, _, leaf = key.rpartition(".")
    for pattern, official in _compiled(layout, model.preset.model.encoder):
        match = pattern.fullmatch(module)
        if match:
            return f"{match.expand(official)}.{leaf}"
    raise CheckpointError(f"an official {layout} file does not fit {model.preset.name!r}: it has nothing for {key!r}")


@cache
def _compiled(layout: str, encoder: str) -> list[tuple[re.Pattern[str], str]]:
    rules = {**_RULES[layout], **_ENCODERS.get(encoder, {})}
    return [(re.compile(pattern), official) for pattern, official in rules.items()]


def _official_shape(key: str, tensor: Tensor) -> tuple[int, ...]:
    """Officially the relative term is a 1x1 convolution; ours is the same as a linear map of tokens."""
    shape = tuple(tensor.shape)
    return (*shape, 1, 1) if key.endswith(".relative.weight") else shape
