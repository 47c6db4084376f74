"""Does a device compute what the CPU does: the loss of a batch, its gradients, and the masks of a tracked clip.

In float32, without the shortcuts that a GPU may take there.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from msdeaot_tracker.cli.train_plan import Plan
from msdeaot_tracker.config import override
from msdeaot_tracker.data.procedural.held_out import HeldOut
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.tracker import Tracker
from msdeaot_tracker.training.losses import segmentation_loss
from msdeaot_tracker.training.rollout import rollout
from msdeaot_tracker.types import TrackerError

LOSS, GRADIENT, PIXELS = 1e-4, 1e-2, 5e-3  # largest relative differences; share of pixels with another label
_CLIP = HeldOut(count=1, frames=8)


def check_device(plan: Plan, device: torch.device) -> dict[str, float]:
    """The differences by name. TrackerError: one is too large."""
    model = plan.make_model()
    plan.load_start(model)
    batch = plan.open_data().open(2, 1, plan.config.seed)[0][0]
    there = copy.deepcopy(model).to(device)  # before batch norms, where they learn, have seen the batch
    with _exact():
        expected = _gradients(model, batch, plan), _labels(model)
        found = _gradients(there, batch, plan), _labels(there)
    (loss, gradients), (other_loss, others) = expected[0], found[0]
    norm = torch.stack([g.norm() for g in gradients.values()]).norm()
    apart = torch.stack([(g - others[name].cpu()).norm() for name, g in gradients.items()]).norm()
    differences = {
        "loss": abs(loss - other_loss) / abs(loss),
        "gradient": float(apart / norm),
        "pixels": float((expected[1] != found[1]).float().mean()),
    }
    for (name, value), most in zip(differences.items(), (LOSS, GRADIENT, PIXELS), strict=True):
        if not value <= most:
            raise TrackerError(f"{device} and the CPU differ in the {name} by {value:.2g}, more than {most:g}")
    return differences


def _gradients(model: MSDeAOT, batch: Any, plan: Plan) -> tuple[float, Mapping[str, Tensor]]:
    device = next(model.parameters()).device
    frames, labels = (part.to(device) for part in batch)
    model.train().zero_grad()
    logits = rollout(model, frames.float() / 255, labels.long(), plan.config.memory, true_masks=True)
    size = logits.shape[-2:]
    small = torch.nn.functional.interpolate(labels.float(), size, mode="nearest").long()
    loss = torch.stack([segmentation_loss(logits[:, t], small[:, t], 1.0) for t in range(1, labels.shape[1])]).mean()
    loss.backward()
    return float(loss.detach()), {n: p.grad.detach().cpu() for n, p in model.named_parameters() if p.grad is not None}


@torch.no_grad()
def track_clip(model: MSDeAOT, precision: str) -> np.ndarray:
    """int32 [T, H, W]: the labels of a made-up clip, tracked from its true first masks."""
    preset, sequence = override(model.preset, f"tracker.precision={precision}"), next(iter(_CLIP))
    tracker = Tracker(model.eval(), initializer="box", preset=preset)
    tracked = [tracker.initialize(sequence.image(0), sequence.masks(0))]
    tracked += [tracker.track(sequence.image(index)) for index in range(1, len(sequence))]
    return np.stack([result.labels for result in tracked])


def _labels(model: MSDeAOT) -> Tensor:
    return torch.from_numpy(track_clip(model, "float32"))


@contextmanager
def _exact():
    """float32 without TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
