"""Compare VMOS's encoder, InternImage-T, with the reference numbers of the public one (called by parity.py)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import golden_recipes
import numpy as np
import torch
from torch import Tensor, nn

from msdeaot_tracker.checkpoints.convert import convert
from msdeaot_tracker.config import PRESETS
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.models.intern_image import InternImage
from msdeaot_tracker.types import Features

TOLERANCE = 5e-5  # absolute, float32 on a CPU, of every array
OUTPUTS = {"enc4": 12, "enc8": 16, "enc16": 48, "enc16b": 96}  # channels kept of each


@dataclass
class Report:
    """What the comparison with one file found."""

    outputs: float = 0.0
    inner: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        verdict = "ok" if not self.problems else "FAILED: " + "; ".join(self.problems)
        return f"outputs {self.outputs:.1e}  inner {self.inner:.1e} (<= {TOLERANCE:.0e})  {verdict}"

    def compare(self, name: str, found: np.ndarray, wanted: np.ndarray) -> None:
        if found.shape != wanted.shape:
            self.problems.append(f"{name} has shape {found.shape}, expected {wanted.shape}")
            return
        largest = float(np.abs(found.astype(np.float64) - wanted).max())
        if name.startswith("enc"):
            self.outputs = max(self.outputs, largest)
        else:
            self.inner = max(self.inner, largest)
        if not largest <= TOLERANCE:  # also true of NaN
            self.problems.append(f"{name} differs by {largest:.1e}")


@cache
def build(encoder_keys: Path, other_keys: Path) -> MSDeAOT:
    """The whole of VMOS with the weights of both recipes, through the conversion of the official checkpoint."""
    encoder, others = (json.loads(path.read_text(encoding="utf-8"))["keys"] for path in (encoder_keys, other_keys))
    weights = golden_recipes.intern_image_weights(encoder) | golden_recipes.vmos_weights(others)
    model = MSDeAOT(PRESETS["vmos"])
    model.load_state_dict(convert({key: torch.from_numpy(value) for key, value in weights.items()}, model))
    return model.eval()


@torch.inference_mode()
def check(path: Path, encoder_keys: Path, other_keys: Path) -> Report:
    """The encoder on the first frame of the video recipe."""
    golden, report = np.load(path), Report()
    meta = json.loads(str(golden["meta"]))
    image, _ = next(golden_recipes.video(meta["H"], meta["W"], meta["nobj"], 0, meta["seed"]))
    if zlib.crc32(image.tobytes()) != golden["frame_crc32"][0]:
        report.problems.append("the frame is not the recipe's")
    model = build(encoder_keys, other_keys)
    values: dict[str, np.ndarray] = {}
    handles = [
        module.register_forward_hook(_keep(values, name, pick)) for name, (module, pick) in _probes(model).items()
    ]
    features = model.encode(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    for handle in handles:
        handle.remove()
    values |= _outputs(features)
    values["b00_out"] = values["b00_out8"][:4]
    for name in golden.files:
        if name in ("meta", "frame_crc32"):
            continue
        if name in values:
            report.compare(name, values[name], golden[name])
        else:
            report.problems.append(f"{name} has no counterpart")
    return report


def _outputs(features: Features) -> dict[str, np.ndarray]:
    maps = (features.maps[4], features.maps[8], features.maps[16], features.deep)
    values = {}
    for (name, channels), on_map in zip(OUTPUTS.items(), maps, strict=True):
        values[name] = on_map[0, :channels].numpy()
        values[f"{name}_mean"] = on_map[0].mean(dim=(1, 2)).numpy()
        values[f"{name}_rms"] = on_map[0].square().mean(dim=(1, 2)).sqrt().numpy()
        values[f"{name}_shape"] = np.array(on_map.shape[1:])
    return values


def _probes(model: MSDeAOT) -> dict[str, tuple[nn.Module, Callable[[tuple, Any], Tensor]]]:
    network: InternImage = model.encoder.network
    block = network.stages[0][0]
    convolution = block.convolution
    probes = {
        "stem": (network.stem[1], _output(8)),
        "b00_norm1": (block.norm1, _output(4)),
        "b00_value": (convolution.to_value, _output(4)),
        "b00_dw": (convolution.to_offset, _input(4)),
        "b00_offset": (convolution.to_offset, _output(18)),
        "b00_mask": (convolution.to_weight, _output(9)),
        "b00_core": (convolution.output, _input(4)),
        "b00_dcn": (convolution, _output(4)),
        "b00_mlp": (block.contract, _output(4)),
    }
    probes |= {f"b{stage}0_out8": (network.stages[stage][0], _output(8)) for stage in range(4)}
    return probes | {f"down{stage}": (network.halvings[stage], _output(8)) for stage in range(2)}


def _output(channels: int) -> Callable[[tuple, Tensor], Tensor]:
    """Of a module whose output is [B, h, w, C]."""
    return lambda _inputs, output: output[0, :, :, :channels].permute(2, 0, 1)


def _input(channels: int) -> Callable[[tuple, Tensor], Tensor]:
    return lambda inputs, _output: inputs[0][0, :, :, :channels].permute(2, 0, 1)


def _keep(values: dict[str, np.ndarray], name: str, pick: Callable[[tuple, Any], Tensor]) -> Callable:
    def keep(_module: nn.Module, inputs: tuple, output: Any) -> None:
        values[name] = pick(inputs, output).numpy()

    return keep
