"""Values inside the network under the names the reference files give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor, nn

from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.models.gpm import GatedPropagation
from msdeaot_tracker.types import Features

Probe = tuple[nn.Module, Callable[[tuple, Any], Any]]  # module, (inputs, output) -> the values, batch of one


@contextmanager
def recording(model: MSDeAOT) -> Iterator[dict[str, np.ndarray]]:
    """Collect inner values of the calls made inside; of several calls of a module the last one stays."""
    values: dict[str, np.ndarray] = {}

    def hook(name: str, pick: Callable) -> Callable:
        def keep(_module: nn.Module, inputs: tuple, output: Any) -> None:
            values[name] = pick(inputs, output).detach().cpu().numpy()

        return keep

    config = model.preset.model
    gated_probes = deaot_probes if config.decoder == "fpn" else vmos_probes
    probes = (gated_probes if config.propagation == "gated" else aot_probes)(model)
    handles = [module.register_forward_hook(hook(name, pick)) for name, (module, pick) in probes.items()]
    try:
        yield values
    finally:
        for handle in handles:
            handle.remove()


def encoder_values(features: Features) -> dict[str, np.ndarray]:
    """Spatial means and two channels of every encoder output."""
    maps = {"enc4": features.maps[4], "enc8": features.maps[8], "enc16": features.maps[16], "enc16b": features.deep}
    values = {f"{name}_mean": on_map[0].mean(dim=(1, 2)).numpy() for name, on_map in maps.items()}
    return values | {f"{name}_slice": on_map[0, :2].numpy() for name, on_map in maps.items()}


def deaot_probes(model: MSDeAOT) -> dict[str, Probe]:
    (stage,) = model.stages
    width = model.preset.model.stages[0].width
    probes = {"proj16": _map(stage.projection, 8), "idemb": _tokens(stage.identity, 8)}
    for index, layer in enumerate(stage.layers):
        probes |= _layer(f"gpm{index}", layer, width, 8)
    return probes | _halves_of_map("lstt_out", model.norm, width, 8) | _decoder(model)


def aot_probes(model: MSDeAOT) -> dict[str, Probe]:
    (stage,) = model.stages
    probes = {"proj16": _map(stage.projection, 8), "idemb": _tokens(stage.identity, 8)}
    for index, layer in enumerate(stage.layers):
        probes[f"lstt{index}_out"] = layer, lambda _inputs, output: output[0][0, :, :8]
    first = stage.layers[0]
    parts = {
        "norm1": first.norm1,
        "self": first.self_attention,
        "norm2": first.norm2,
        "q": first.to_key,
        "v": first.to_value,
        "long": first.long_term,
        "short": first.short_term,
        "ffn": first.feed_forward,
    }
    probes |= {f"lstt0_{name}": (module, _first_channels) for name, module in parts.items()}
    probes["lstt0_selfq"] = first.self_attention.to_query, lambda inputs, _output: inputs[0][0, :, 120:136]
    probes["lstt0_dwconv"] = first.feed_forward.depthwise, lambda _inputs, output: output[0, :8].flatten(1).T
    probes["lstt_out"] = stage.norms[-1], _first_channels
    probes["dec_in"] = _map(model.decoder.entry, 8)
    return probes | _decoder(model)


def vmos_probes(model: MSDeAOT) -> dict[str, Probe]:
    at16, at8, at4 = model.stages
    small = at8.identity.norm, lambda _inputs, output: output[0].permute(2, 0, 1)[:8]
    probes = {
        "proj16": _map(at16.projection, 8),
        "idemb16": _tokens(at16.identity, 8),
        "idemb8_small": small,
        "idemb8": _tokens(at8.identity, 4),
    }
    for index, layer in enumerate(at16.layers):
        probes |= _layer(f"gpm{index}", layer, 256, 8)
    probes |= _layer("gpm8", at8.layers[0], 128, 4)
    probes["gpm8_in_vis"] = at8.layers[0], lambda inputs, _output: inputs[0][0, :, :4]
    probes["gpm8_in_id"] = at8.layers[0], lambda inputs, _output: inputs[1][0, :, :4]
    for name, stage, refined in (("s8", at8, 4), ("s4", at4, 2)):
        probes[f"{name}_proj"] = _map(stage.projection, 2)
        for suffix, transition in (("", stage.transition), ("_id", stage.id_transition)):
            probes[f"{name}_cons_in{suffix}"] = _map(transition.merge, 4)
            probes[f"{name}_cons_out{suffix}"] = _map(transition.refine, refined)
    probes |= _halves_of_map("s4_norm", model.norm, 64, 3)
    probes["conv_output1"] = _map(model.decoder.hidden, 4)
    return probes


def _decoder(model: MSDeAOT) -> dict[str, Probe]:
    channels = {"16": 8, "8": 4, "4": 2}
    return {f"dec{stride}": _map(model.decoder.convs[stride], count) for stride, count in channels.items()}


def _first_channels(_inputs: tuple, output: Tensor) -> Tensor:
    """Of tokens [B, N, C]."""
    return output[0, :, :8]


def _layer(name: str, layer: GatedPropagation, width: int, channels: int) -> dict[str, Probe]:
    probes = {
        f"{name}_out_vis": (layer, lambda _inputs, output: output[0][0, :, :channels]),
        f"{name}_out_id": (layer, lambda _inputs, output: output[1][0, :, :channels]),
    }
    parts = {"long": layer.long_term, "short": layer.short_term, "self": layer.self_propagation}
    for part, module in parts.items():
        probes[f"{name}_{part}_vis"] = module, lambda _inputs, output: output[0, :, :channels]
        probes[f"{name}_{part}_id"] = module, lambda _inputs, output: output[0, :, width : width + channels]
    return probes


def _map(module: nn.Module, channels: int) -> Probe:
    """A module that puts out [B, C, h, w]."""
    return module, lambda _inputs, output: output[0, :channels]


def _tokens(module: nn.Module, channels: int) -> Probe:
    """A module that puts out [B, N, C], the map's size being its second input."""

    def pick(inputs: tuple, output: Tensor) -> Tensor:
        return output[0, :, :channels].T.unflatten(1, inputs[1])

    return module, pick


def _halves_of_map(name: str, module: nn.Module, width: int, channels: int) -> dict[str, Probe]:
    """A module that puts out [B, 2 width, h, w], recorded as tokens."""
    return {
        f"{name}_vis": (module, lambda _inputs, output: output[0, :channels].flatten(1).T),
        f"{name}_id": (module, lambda _inputs, output: output[0, width : width + channels].flatten(1).T),
    }
