"""The AOT recipe's loss: bootstrapped cross-entropy and soft Jaccard, half each. Pixels labelled VOID do not count.

Each is a mean over samples of a value per sample: the loss of a batch is the mean of those of its equal parts, however
it is shared between processes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..images import VOID


def segmentation_loss(logits: Tensor, labels: Tensor, hard_fraction: float, *, pool_objects: bool = False) -> Tensor:
    """logits [B, C, H, W] with unused channels at a large negative value, labels int64 [B, H, W] -> scalar."""
    jaccard = soft_jaccard_loss(logits, labels, pool_objects=pool_objects)
    return 0.5 * bootstrapped_cross_entropy(logits, labels, hard_fraction) + 0.5 * jaccard


def bootstrapped_cross_entropy(logits: Tensor, labels: Tensor, hard_fraction: float) -> Tensor:
    """Mean over each sample's `hard_fraction` of pixels with the largest cross-entropy."""
    losses = F.cross_entropy(logits, labels, reduction="none", ignore_index=VOID).flatten(1)
    counts = (hard_fraction * (labels != VOID).flatten(1).sum(dim=1)).round().clamp(min=1)
    hardest = losses.topk(int(counts.max()), dim=1).values
    taken = torch.arange(hardest.shape[1], device=counts.device) < counts[:, None]
    return ((hardest * taken).sum(dim=1) / counts).mean()


def soft_jaccard_loss(logits: Tensor, labels: Tensor, *, pool_objects: bool = False) -> Tensor:
    """1 - soft intersection over union, averaged over the objects (not the background) a sample's labels hold.

    A sample without objects counts with 0, as in AOT. pool_objects: one mean over the objects of all samples instead.
    """
    known = labels != VOID
    probabilities = (logits.softmax(dim=1)[:, 1:] * known[:, None]).flatten(2)
    truth = F.one_hot(labels * known, logits.shape[1])[..., 1:].flatten(1, 2).transpose(1, 2).to(probabilities.dtype)
    intersection = (probabilities * truth).sum(dim=2)
    union = (probabilities + truth).sum(dim=2) - intersection
    present = truth.sum(dim=2) > 0
    losses = torch.where(present, 1 - intersection / union.clamp(min=1e-6), 0.0)
    if pool_objects:
        return losses.sum() / present.sum().clamp(min=1)
    return (losses.sum(dim=1) / present.sum(dim=1).clamp(min=1)).mean()
