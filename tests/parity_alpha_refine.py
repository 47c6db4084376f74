"""Compare Alpha-Refine with the reference numbers of the public one (called by parity.py).

The network is fed the crops of the file, and the crops are compared on their own: this random network moves its
corners by many pixels for one grey level.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import golden_recipes
import numpy as np
import torch
from torch import Tensor, nn

from msdeaot_tracker.initializers.alpha_refine import (
    Region,
    box_in_image,
    clip_as_published,
    cut_out,
    paste,
    search_region,
)
from msdeaot_tracker.initializers.alpha_refine_net import AlphaRefineNet, Refinement
from msdeaot_tracker.initializers.alpha_refine_weights import build_alpha_refine, fill
from msdeaot_tracker.types import Box

# Absolute, float32 on a CPU; the first name that an array's name begins with applies.
TOLERANCES = {
    "input_": 1e-5,
    "K": 5e-5,
    "corr": 3e-3,
    "se_gate": 5e-5,
    "heat_": 1e-4,
    "corner": 0.02,
    "mask_logit": 5e-4,
    "mask_prob": 5e-4,
    "img_prob": 5e-4,
    "img_mask": 5.0,  # pixels that may differ
    "box": 0.02,  # image pixels; times the region's side over 256 where that is larger
    "": 3e-4,  # everything else inside the network
}
SHOWN = ("K", "corner", "box", "mask_logit", "img_prob", "img_mask")
CORRELATION_CHANNELS = [0, 1, 8, 9, 27, 36, 62, 63]
NOT_OURS = {
    "meta": "what was run",
    "crop_pad": "follows from the crop and its window",
    "mask_bbox": "the box here comes from the corners, or from the mask by the tracker's own rule",
}


@dataclass
class Report:
    """What the comparison with one file found."""

    largest: dict[str, float] = field(default_factory=dict)  # by array
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        shown = []
        for start in SHOWN:
            largest = max(value for name, value in self.largest.items() if tolerance_name(name) == start)
            if start == "img_mask":
                shown.append(f"mask pixels {largest:.0f} (<= {TOLERANCES[start]:.0f})")
            else:
                shown.append(f"{start} {largest:.1e} (<= {TOLERANCES[start]:.0e})")
        verdict = "ok" if not self.problems else "FAILED: " + "; ".join(self.problems)
        return f"{'  '.join(shown)}  {verdict}"

    def compare(self, name: str, found: np.ndarray, wanted: np.ndarray, *, scale: float = 1.0, place: str = "") -> None:
        """Differences count in units of `scale`."""
        if np.shape(found) != np.shape(wanted):
            self.problems.append(f"{name}{place} has shape {np.shape(found)}, expected {np.shape(wanted)}")
            return
        differences = np.abs(np.asarray(found, np.float64) - np.asarray(wanted, np.float64)) / scale
        self.bound(name, float(differences.max()), place=place)

    def bound(self, name: str, difference: float, *, place: str = "") -> None:
        self.largest[name] = max(self.largest.get(name, 0.0), difference)
        if not difference <= TOLERANCES[tolerance_name(name)]:  # also true of NaN
            self.problems.append(f"{name}{place} differs by {difference:.1e}")

    def require(self, name: str, found: object, wanted: object) -> None:
        self.largest[name] = 0.0
        if not np.array_equal(found, wanted):
            self.problems.append(f"{name} is not as expected")


def tolerance_name(name: str) -> str:
    return next(start for start in TOLERANCES if name.startswith(start))


@cache
def build(keys_file: Path) -> AlphaRefineNet:
    """The network with the weights of the recipe, by their published names."""
    keys = json.loads(keys_file.read_text(encoding="utf-8"))
    weights = golden_recipes.alpha_refine_weights(keys["keys"], tuple(keys["dtype_other_than_float32"]))
    network = build_alpha_refine("r34")
    fill(network, {key: torch.from_numpy(value) for key, value in weights.items()}, "r34")
    return network.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def check(path: Path, keys_file: Path) -> Report:
    """Run the queries of one reference file through our crop, network and way back, and compare."""
    golden = np.load(path)
    meta = json.loads(str(golden["meta"]))
    network, report = build(keys_file), Report()
    video = golden_recipes.video(meta["H"], meta["W"], meta["nobj"], meta["frames"], meta["seed"])
    frames = [image for image, _ in video]
    report.require("frame_crc32", [zlib.crc32(image.tobytes()) for image in frames], golden["frame_crc32"])
    compare_crops(report, golden, [(frames[t], Box(*box)) for t, box in [(0, meta["ref_box"]), *queries(meta)]])

    with recording(network) as inner:
        kernel = network.reference(as_pixels(golden["crop_u8"][0]))
    report.compare("K", kernel[0], golden["K"])
    report.compare("ref_layer3_mean", inner["layer3"].mean(axis=(1, 2), dtype=np.float64), golden["ref_layer3_mean"])
    compare_input(report, golden, inner["input"], 0)
    for q, (_, box) in enumerate(queries(meta)):
        with recording(network) as inner:
            refinement = network(as_pixels(golden["crop_u8"][q + 1]), kernel)
        compare_input(report, golden, inner["input"], q + 1)
        compare_inner(report, golden, inner, q)
        compare_outputs(report, golden, refinement, q)
        compare_image(report, golden, refinement, Box(*box), q, (meta["H"], meta["W"]))
    missed = set(golden.files) - set(report.largest) - set(NOT_OURS)
    report.problems += [f"{name} has no counterpart" for name in sorted(missed)]
    return report


def queries(meta: dict) -> list[tuple[int, list[float]]]:
    return [(frame, box) for frame, box, _ in meta["queries"]]


def as_pixels(crop: np.ndarray) -> Tensor:
    return torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255


def compare_crops(report: Report, golden: np.lib.npyio.NpzFile, places: list[tuple[np.ndarray, Box]]) -> None:
    """Exact: where they lie and what is in them."""
    regions = [search_region(box) for _, box in places]
    crops = np.stack([cut_out(image, region) for (image, _), region in zip(places, regions, strict=True)])
    report.require("crop_window", regions, golden["crop_window"])
    report.require("crop_scale", [(256 / region.w, 256 / region.h) for region in regions], golden["crop_scale"])
    report.require("crop_u8", crops, golden["crop_u8"])
    report.require("crop_crc32", [zlib.crc32(crop.tobytes()) for crop in crops], golden["crop_crc32"])


def compare_input(report: Report, golden: np.lib.npyio.NpzFile, normalised: np.ndarray, crop: int) -> None:
    compare_sample(report, "input_slice", normalised, golden["input_slice"][crop])
    report.compare("input_mean", normalised.mean(axis=(1, 2), dtype=np.float64), golden["input_mean"][crop])


def compare_inner(report: Report, golden: np.lib.npyio.NpzFile, inner: dict[str, np.ndarray], q: int) -> None:
    for name in ("conv1", "layer1", "layer2", "layer3"):
        report.compare(
            f"{name}_mean", inner[name].mean(axis=(1, 2), dtype=np.float64), golden[f"{name}_mean"][q], place=f"[{q}]"
        )
    report.compare("corr", inner["corr"][CORRELATION_CHANNELS], golden["corr"][q], place=f"[{q}]")
    report.compare("se_gate", inner["se_gate"][:, 0, 0], golden["se_gate"][q], place=f"[{q}]")
    for name in ("post", "fused"):
        compare_sample(report, name, inner[name], golden[name][q], place=f"[{q}]")
    compare_sample(report, "mask_logit", inner["mask_logit"][0], golden["mask_logit"][q], place=f"[{q}]")
    if q == 0:
        for name in golden.files:
            if name.startswith("q0_") and name.removeprefix("q0_") in inner:
                compare_sample(report, name, inner[name.removeprefix("q0_")], golden[name])


def compare_outputs(report: Report, golden: np.lib.npyio.NpzFile, refinement: Refinement, q: int) -> None:
    """In the crop's pixels."""
    probability = refinement.mask_logits[0, 0].sigmoid().numpy()
    report.compare("corner", refinement.corners[0], golden["corner"][q], place=f"[{q}]")
    for name, heat_map in zip(("heat_tl", "heat_br"), refinement.heat_maps[0], strict=True):
        report.compare(name, heat_map, golden[name][q], place=f"[{q}]")
    compare_sample(report, "mask_prob", probability, golden["mask_prob"][q], place=f"[{q}]")
    report.compare("mask_prob_mean", probability.mean(dtype=np.float64), golden["mask_prob_mean"][q], place=f"[{q}]")


def compare_image(
    report: Report, golden: np.lib.npyio.NpzFile, refinement: Refinement, box: Box, q: int, size: tuple[int, int]
) -> None:
    """In the image's pixels."""
    region: Region = search_region(box)
    found, scale = box_in_image(refinement.corners[0].numpy(), box), max(1.0, region.w / 256, region.h / 256)
    report.compare("box", found, golden["box"][q], scale=scale, place=f"[{q}]")
    x, y, w, h = clip_as_published(found, *size)
    report.compare("box_clipped", [x, y, x + w, y + h], golden["box_clipped"][q], scale=scale, place=f"[{q}]")

    whole = paste(refinement.mask_logits[0, 0].sigmoid().numpy(), region, *size)
    compare_sample(report, "img_prob", whole, golden["img_prob"][q], place=f"[{q}]")
    # float32 maps of this size that agree to 2e-5 on average
    report.compare(
        "img_prob_sum", whole.sum(dtype=np.float64), golden["img_prob_sum"][q], scale=whole.size, place=f"[{q}]"
    )
    for column, (name, threshold) in enumerate((("img_mask_bits", 0.5), ("img_mask65_bits", 0.65))):
        mask = whole > threshold
        wanted = np.unpackbits(golden[name][q], count=mask.size).reshape(mask.shape)
        report.bound(name, float(np.count_nonzero(mask != wanted)), place=f"[{q}]")
        report.bound("img_mask_area", abs(int(mask.sum()) - int(golden["img_mask_area"][q, column])), place=f"[{q}]")


def compare_sample(report: Report, name: str, full: np.ndarray, wanted: np.ndarray, *, place: str = "") -> None:
    """The file holds the first channels of a map [C, h, w], or a map [h, w], at every n-th row and column."""
    step = round(full.shape[-1] / wanted.shape[-1])
    sample = full[..., ::step, ::step]
    report.compare(name, sample[: len(wanted)] if full.ndim == 3 else sample, wanted, place=place)


@contextmanager
def recording(network: AlphaRefineNet) -> Iterator[dict[str, np.ndarray]]:
    """Collect inner values of the calls made inside, [C, h, w] each, under the names of the reference files."""
    values: dict[str, np.ndarray] = {}

    def keep(name: str, pick: Callable[[tuple, Any], Tensor]) -> Callable:
        def hook(_module: nn.Module, inputs: tuple, output: Any) -> None:
            values[name] = pick(inputs, output)[0].cpu().numpy()

        return hook

    def output(_inputs: tuple, result: Tensor) -> Tensor:
        return result

    def given(inputs: tuple, _result: Tensor) -> Tensor:
        return inputs[0]

    backbone, head, correlation = network.backbone, network.mask_head, network.correlation
    probes = [("input", backbone, given), ("corr", correlation.mix, given), ("post", correlation.mix, output)]
    probes += [("se_gate", correlation.gate, output), ("fused", correlation, output)]
    for name, stride in (("conv1", 2), ("layer1", 4), ("layer2", 8), ("layer3", 16)):
        probes.append((name, backbone, lambda _inputs, features, stride=stride: features.maps[stride]))
    for step in range(3):  # the files count from fine to coarse
        probes.append((f"adj{2 - step}", network.adapters[step], output))
        probes.append((f"h{2 - step}", head.coarse[step], output))
        probes.append((f"v{2 - step}", head.fine[step], output))
        probes.append((("post0", "post1", "mask_logit")[step], head.merge[step], output))
    handles = [module.register_forward_hook(keep(name, pick)) for name, module, pick in probes]
    try:
        yield values
    finally:
        for handle in handles:
            handle.remove()
