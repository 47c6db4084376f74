"""Compare this network with reference numbers of the public ones: `python tests/parity.py DIR`.

DIR holds files named after the models of TOLERANCES, deaott_* and so on, intern_t_*, dmaot_* and
alpha_refine_* (.npz), and
`<model>_keys.json` (those in tests/data are used where DIR has none). One line per file; the exit status is 1 if a
number passes its tolerance.

Weights, frames and features follow from recipes (golden_recipes.py). The memory updates are fed the labels of the
file, not our own: these random networks have near ties, and one flipped pixel would change every later frame.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import golden_recipes
import numpy as np
import parity_alpha_refine
import parity_dmaot
import parity_intern_image
import torch
from golden_probes import encoder_values, recording
from parity_report import Report, Tolerance
from torch import Tensor
from torch.nn import functional as F

from msdeaot_tracker.checkpoints.convert import convert
from msdeaot_tracker.config import PRESETS, MemoryConfig
from msdeaot_tracker.geometry import one_hot
from msdeaot_tracker.memory import Memory
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.models.encoder import Encoder
from msdeaot_tracker.types import Features

DATA = Path(__file__).parent / "data"
GROUP = 10  # objects that share a memory
UNUSED = -1e10  # logit of the channels above the object count


TOLERANCES = {
    "aott": Tolerance(5e-4, 1e-3),
    "r50_aotl": Tolerance(5e-5, 5e-5),
    "swinb_aotl": Tolerance(5e-5, 5e-5),
    "deaott": Tolerance(5e-4, 1e-3),
    "r50_deaotl": Tolerance(1e-4, 5e-5),
    "swinb_deaotl": Tolerance(5e-5, 5e-5),
    "vmos": Tolerance(2e-4, 1e-4),
}
ALPHA_REFINE, DMAOT, INTERN_IMAGE = "alpha_refine", "dmaot", "intern_t"
VMOS = PRESETS["vmos"]
PRESET_OF = {
    "aott": "aot-t",
    "r50_aotl": "r50-aot-l",
    "swinb_aotl": "swinb-aot-l",
    "deaott": "deaot-t",
    "r50_deaotl": "r50-deaot-l",
    "swinb_deaotl": "swinb-deaot-l",
}


class GivenFeatures(Encoder):
    """Stands in the place of VMOS's encoder, whose outputs the feature recipe makes."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = dict(zip((4, 8, 16), golden_recipes.FEATURE_CHANNELS, strict=False))
        self.deep_channels = golden_recipes.FEATURE_CHANNELS[3]


@cache
def build(model_name: str, keys_file: Path) -> MSDeAOT:
    """The model with the weights of the recipe, through the conversion of official checkpoints."""
    keys = json.loads(keys_file.read_text(encoding="utf-8"))
    if model_name == "vmos":
        model = MSDeAOT(VMOS, GivenFeatures())
        weights = golden_recipes.vmos_weights(keys["keys"])
    else:
        model = MSDeAOT(PRESETS[PRESET_OF[model_name]])
        weights = golden_recipes.deaot_weights(keys["keys"], tuple(keys["dtype_other_than_float32"]))
    model.load_state_dict(convert({key: torch.from_numpy(value) for key, value in weights.items()}, model))
    return model.eval()


class Groups:
    """All objects of a clip, ten to a memory, as a tracker drives them."""

    def __init__(self, model: MSDeAOT, objects: int, config: MemoryConfig):
        self.model = model
        self.counts = [min(GROUP, objects - first) for first in range(0, objects, GROUP)]
        self.memories = [Memory(config, model.memory_strides) for _ in self.counts]

    def reference(self, features: Features, labels: np.ndarray) -> None:
        identities = self._identities(labels)
        self.propagations = [self.model.propagate(features, identity) for identity in identities]
        self._write(0, identities, reference=True)

    def propagate(self, features: Features) -> None:
        self.propagations = [self.model.propagate(features, memory.view()) for memory in self.memories]

    def update(self, frame: int, labels: np.ndarray) -> None:
        self._write(frame, self._identities(labels), reference=False)

    def decode(self, features: Features) -> list[Tensor]:
        """Logits of each group at the network's resolution, channels without an object switched off."""
        every = []
        for count, propagation in zip(self.counts, self.propagations, strict=True):
            logits = self.model.decode(propagation, features)
            logits[:, count + 1 :] = UNUSED
            every.append(logits)
        return every

    def merge(self, logits: Iterable[Tensor]) -> Tensor:
        """[objects + 1, h, w] of one group; of several, the background and all ten channels of each."""
        logits = list(logits)
        if len(logits) == 1:
            return logits[0][0, : self.counts[0] + 1]
        return merge_groups([group[0].softmax(dim=0) for group in logits])

    def _identities(self, labels: np.ndarray) -> list[tuple[Tensor, ...]]:
        every = []
        for group in range(len(self.counts)):
            own = labels.astype(np.int64)
            if len(self.counts) > 1:
                own = own - GROUP * group
                own[(own < 1) | (own > GROUP)] = 0
            mask = one_hot(torch.from_numpy(own)[None], self.counts[group])
            every.append(self.model.identify(mask.to(self.model.mean.device)))
        return every

    def _write(self, frame: int, identities: list[tuple[Tensor, ...]], *, reference: bool) -> None:
        for memory, propagation, identity in zip(self.memories, self.propagations, identities, strict=True):
            memory.write(frame, self.model.memorize(propagation, identity), reference=reference)


def merge_groups(probabilities: Sequence[Tensor]) -> Tensor:
    """Soft aggregation (DeAOT, PARITY 21): per group [K_i + 1, H, W], background first -> logits [1 + sum K_i, H, W].

    Background is the product of the groups' backgrounds; everything is clamped to [1e-5, 1 - 1e-5] before the logit.
    What the tracker reads from its groups is the same, computed where it matters (test_readout.py).
    """
    background = torch.stack([p[0] for p in probabilities]).prod(dim=0, keepdim=True)
    merged = torch.cat([background, *(p[1:] for p in probabilities)]).clamp(1e-5, 1 - 1e-5)
    return torch.log(merged / (1 - merged))


@torch.inference_mode()
def check(path: Path, model_name: str, keys_file: Path) -> Report:
    """Run the clip of one reference file through our network and compare."""
    golden = np.load(path)
    meta = json.loads(str(golden["meta"]))
    vmos = model_name == "vmos"
    model = build(model_name, keys_file)
    groups = Groups(model, meta["nobj"], memory_config(meta, vmos=vmos))
    report = Report(TOLERANCES[model_name])
    upsample = {"size": (meta["H"], meta["W"]), "mode": "bilinear", "align_corners": model.preset.model.align_corners}
    frames = vmos_frames(golden, meta, report) if vmos else video_frames(golden, meta, report, model)
    for t, (features, labels) in enumerate(frames):
        with recording(model) as inner:
            if t == 0:
                groups.reference(features, labels)
            else:
                compare_memory(report, golden, groups.memories[0], t)
                groups.propagate(features)
            logits = groups.decode(features)
        if t < 2:
            report.compare_inner(f"f{t}_", inner | ({} if vmos else encoder_values(features)), golden)
        merged = groups.merge(logits)
        if t == 0:
            report.compare_logits("f0_logits", merged, golden["f0_logits"])
            continue
        enlarged = groups.merge(F.interpolate(group, **upsample) for group in logits)
        report.compare_logits(f"logits of frame {t}", merged, golden["logits"][t - 1])
        report.compare_labels(f"label_net of frame {t}", merged, golden["label_net"][t - 1])
        report.compare_labels(f"label_img of frame {t}", enlarged, golden["label_img"][t - 1])
        if t == meta["frames"]:
            report.compare_logits("up_logits_last", enlarged[:, ::8, ::8], golden["up_logits_last"])
        groups.update(t, golden["label_img"][t - 1])
    return report


def memory_config(meta: dict, *, vmos: bool) -> MemoryConfig:
    """The policy the file was made with: DeAOT keeps every appended frame, VMOS six (VMOS.md 12, 13)."""
    if vmos:
        cap = meta.get("cap", VMOS.memory.long_term_max)
        return replace(VMOS.memory, long_term_gap=meta["gap"], short_term_lag=meta["lag"], long_term_max=cap)
    return MemoryConfig(long_term_gap=meta["gap"], long_term_max=None, short_term_lag=meta.get("lag", 1))


def compare_memory(report: Report, golden: np.lib.npyio.NpzFile, memory: Memory, t: int) -> None:
    """What is held while frame t is matched; exact."""
    counts, view = memory.token_counts, memory.view()
    for name, layer in (("mem_tokens", 0), ("mem_tokens16", 0), ("mem_tokens8", -1)):
        if name in golden.files:
            report.require(f"{name} at frame {t}", counts[layer], int(golden[name][t - 1]))
    if "short_term_frame" in golden.files:
        report.require(f"short-term frame at {t}", view.short_term_frame, int(golden["short_term_frame"][t - 1]))
        held = json.loads(str(golden["long_term_frames"]))[t - 1]
        report.require(f"long-term frames at {t}", sorted(view.long_term_frames), sorted(held))


Frames = Iterator[tuple[Features, np.ndarray]]


def video_frames(golden: np.lib.npyio.NpzFile, meta: dict, report: Report, model: MSDeAOT) -> Frames:
    """Encoder outputs and label maps of the frames of the video recipe."""
    video = golden_recipes.video(meta["H"], meta["W"], meta["nobj"], meta["frames"], meta["seed"])
    for t, (image, labels) in enumerate(video):
        report.require(f"CRC of frame {t}", zlib.crc32(image.tobytes()), int(golden["frame_crc32"][t]))
        if t == 0:
            report.require("ref_label", zlib.crc32(labels.tobytes()), zlib.crc32(golden["ref_label"].tobytes()))
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        yield model.encode(pixels), labels


def vmos_frames(golden: np.lib.npyio.NpzFile, meta: dict, report: Report) -> Frames:
    """Feature maps of the feature recipe and the label maps of the file."""
    labels = golden["gt_label"]
    for t, maps in enumerate(golden_recipes.features(labels, meta["seed"])):
        crc = [zlib.crc32(one.tobytes()) for one in maps]
        report.require(f"CRC of the features of frame {t}", crc, golden["feat_crc32"][t].tolist())
        at4, at8, at16, deep = map(torch.from_numpy, maps)
        yield Features({4: at4, 8: at8, 16: at16}, deep), labels[t]


def find_keys(directory: Path, model_name: str) -> Path:
    own = directory / f"{model_name}_keys.json"
    return own if own.is_file() else DATA / own.name


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args(arguments).directory
    ran = failed = 0
    for path in sorted(directory.glob("*.npz")):
        known = (*TOLERANCES, ALPHA_REFINE, DMAOT, INTERN_IMAGE)
        model_name = next((name for name in known if path.name.startswith(f"{name}_")), None)
        if model_name is None:
            print(f"{path.name:<24} skipped: no model of ours goes by this name")
            continue
        keys = find_keys(directory, model_name)
        if model_name == ALPHA_REFINE:
            report = parity_alpha_refine.check(path, keys)
        elif model_name == DMAOT:
            report = parity_dmaot.check(path, build("r50_deaotl", find_keys(directory, "r50_deaotl")))
        elif model_name == INTERN_IMAGE:
            report = parity_intern_image.check(path, keys, find_keys(directory, "vmos"))
        else:
            report = check(path, model_name, keys)
        print(f"{path.name:<24} {report}", flush=True)
        ran += 1
        failed += bool(report.problems)
    if not ran:
        print(f"no reference files in {directory}", file=sys.stderr)
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
