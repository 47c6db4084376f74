"""Names in the official checkpoints of AOT, DeAOT and VMOS, as tables: from ours to theirs.

Every tensor of a model has exactly one source; what an official file holds beyond that is listed in DROPPED with the
reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Rules = Mapping[str, str]  # pattern of one of our module names (or of one of its parameters) -> the official name

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

_TRANSFORMER_LAYER = {
    "norm1": "norm1",
    "self_attention.to_query": "self_attn.linear_Q",
    "self_attention.to_key": "self_attn.linear_K",
    "self_attention.to_value": "self_attn.linear_V",
    "self_attention.attention.projection": "self_attn.projection",
    "norm2": "norm2",
    "to_key": "linear_Q",
    "to_value": "linear_V",
    "long_term.projection": "long_term_attn.projection",
    "short_term.relative": "short_term_attn.relative_emb_k",
    "short_term.relative_value": "short_term_attn.relative_emb_v",
    "short_term.projection": "short_term_attn.projection",
    "norm3": "norm3",
    "feed_forward.expand": "linear1",
    "feed_forward.norm": "activation.gn",
    "feed_forward.depthwise": "activation.conv",
    "feed_forward.contract": "linear2",
}


def _first_stage(layer: Mapping[str, str]) -> Rules:
    layers = {
        rf"stages\.0\.layers\.(\d+)\.{re.escape(ours)}": rf"LSTT.layers.\1.{theirs}" for ours, theirs in layer.items()
    }
    return {
        r"stages\.0\.projection": "encoder_projector",
        r"stages\.0\.identity\.convolution": "patch_wise_id_bank",
        **layers,
    }


_GATED = {
    **_first_stage(_LAYER),
    r"stages\.0\.identity\.norm": "id_norm",
}

_TRANSFORMER = {
    **_first_stage(_TRANSFORMER_LAYER),
    r"stages\.0\.norms\.(\d+)": r"LSTT.decoder_norms.\1",
}

_FPN = {
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


_BLOCK = {
    "norm1": "norm1.0",
    "scale1": "gamma1",
    "convolution.to_value": "dcn.input_proj",
    "convolution.depthwise": "dcn.dw_conv.0",
    "convolution.norm": "dcn.dw_conv.1.1",
    "convolution.to_offset": "dcn.offset",
    "convolution.to_weight": "dcn.mask",
    "convolution.output": "dcn.output_proj",
    "norm2": "norm2.0",
    "scale2": "gamma2",
    "expand": "mlp.fc1",
    "contract": "mlp.fc2",
}
_INTERN_IMAGE = {
    r"encoder\.network\.stem\.0\.convolution": "encoder.patch_embed.conv1",
    r"encoder\.network\.stem\.0\.norm": "encoder.patch_embed.norm1.1",
    r"encoder\.network\.stem\.1\.convolution": "encoder.patch_embed.conv2",
    r"encoder\.network\.stem\.1\.norm": "encoder.patch_embed.norm2.1",
    r"encoder\.network\.halvings\.(\d)\.convolution": r"encoder.levels.\1.downsample.conv",
    r"encoder\.network\.halvings\.(\d)\.norm": r"encoder.levels.\1.downsample.norm.1",
    r"encoder\.network\.norms\.(\d)": r"encoder.levels.\1.norm.0",
    **{
        rf"encoder\.network\.stages\.(\d)\.(\d+)\.{re.escape(ours)}": rf"encoder.levels.\1.blocks.\2.{theirs}"
        for ours, theirs in _BLOCK.items()
    },
}

ENCODER_RULES: dict[str, Rules] = {
    "mobilenetv2": _mobilenet(),
    "resnet50": _RESNET,
    "swin_base": _SWIN,
    "intern_image_t": _INTERN_IMAGE,
}

# What the keys of an encoder in an official file begin with, and no other's.
ENCODER_MARKS = {
    "mobilenetv2": "encoder.features.",
    "resnet50": "encoder.layer3.",
    "swin_base": "encoder.layers.",
    "intern_image_t": "encoder.levels.",
}

# Official keys that fill nothing of ours, by layout, and why.
_SWIN_INDEX = {r"encoder\.layers\.\d+\.blocks\.\d+\.attn\.relative_position_index": "built from the window size"}
DROPPED: dict[str, dict[str, str]] = {
    "AOT": {
        **_SWIN_INDEX,
        r"LSTT\.mask_token": "a parameter that the published network holds but never reads",
    },
    "DeAOT": _SWIN_INDEX,
    "VMOS": {
        r"encoder\.levels\.2\.downsample\..*": "a map that the published network computes and throws away",
        r"decoder\..*": "an FPN that the published network holds but never runs",
        r"LSTT\.decoder_norms\.0\..*": "a norm that the published network holds but never runs",
    },
}
RULES: dict[str, Rules] = {
    "AOT": {**_TRANSFORMER, **_FPN},
    "DeAOT": {**_GATED, **_FPN, r"norm": "LSTT.decoder_norms.0.gn"},
    "VMOS": {**_GATED, **_fine_stages()},
}
