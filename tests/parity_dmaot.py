"""Compare DMAOT's memory with reference numbers of the public one (called by parity.py).

The file is made by benchmarks/golden_dmaot.py; its network is that of r50_deaotl.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import golden_recipes
import numpy as np
import torch
from parity_report import Report, Tolerance
from torch.nn import functional as F

from msdeaot_tracker.config import PRESETS, MemoryConfig
from msdeaot_tracker.geometry import one_hot
from msdeaot_tracker.memory import Memory
from msdeaot_tracker.models import MSDeAOT

TOLERANCE = Tolerance(1e-4, 0.0)  # as of r50_deaotl; no inner values


def memory_config(meta: dict) -> MemoryConfig:
    policy = PRESETS["dmaot-swinb"].memory.policy
    return MemoryConfig(meta["gap"], meta["max"], short_term_lag=meta["lag"], policy=policy)


@torch.inference_mode()
def check(path: Path, model: MSDeAOT) -> Report:
    """Run the clip of the file through our memory and compare logits and what is held for whom."""
    golden, report = np.load(path), Report(TOLERANCE)
    meta = json.loads(str(golden["meta"]))
    held = json.loads(str(golden["held"]))
    memory = Memory(memory_config(meta), model.memory_strides)
    video = golden_recipes.video(meta["H"], meta["W"], meta["nobj"], meta["frames"], meta["seed"])
    for t, (image, _) in enumerate(video):
        report.require(f"CRC of frame {t}", zlib.crc32(image.tobytes()), int(golden["frame_crc32"][t]))
        features = model.encode(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
        if t > 0:
            view = memory.view()
            report.require(f"mem_tokens at frame {t}", memory.token_counts[0], int(golden["mem_tokens"][t - 1]))
            theirs = {channel: tuple(frames) for channel, frames in enumerate(held[t - 1]) if frames}
            found = {channel: frames for channel, frames in memory.long_term.frames_by_object.items() if frames}
            report.require(f"frames held at frame {t}", found, theirs)
            propagation = model.propagate(features, view)
            logits = model.decode(propagation, features)[0]
            known = meta["nobj"] + (t > meta["late"])
            report.compare_logits(f"logits of frame {t}", logits[:known], golden["logits"][t - 1, :known])
            enlarged = F.interpolate(logits[None, :known], image.shape[:2], mode="bilinear", align_corners=True)[0]
            if t not in (meta["late"], *meta["hidden"]):  # there, what is fed is not what was found
                report.compare_labels(f"labels of frame {t}", enlarged, golden["fed"][t])
        mask = one_hot(torch.from_numpy(golden["fed"][t].astype(np.int64))[None], model.preset.model.objects)
        identity = model.identify(mask)
        reference = t in (0, meta["late"])
        if reference:
            propagation = model.propagate(features, identity)
        memory.write(t, model.memorize(propagation, identity), reference=reference, mask=mask)
    return report
