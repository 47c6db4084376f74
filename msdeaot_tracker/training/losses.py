"""The AOT recipe's loss: bootstrapped cross-entropy and soft Jaccard, half each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def segmentation_loss(logits: Tensor, labels: Tensor, hard_fraction: float) -> Tensor:
    """logits [B, C, H, W] with unused channels at a large negative value, labels int64 [B, H, W] -> scalar."""
    return 0.5 * bootstrapped_cross_entropy(logits, labels, hard_fraction) + 0.5 * soft_jaccard_loss(logits, labels)


def bootstrapped_cross_entropy(logits: Tensor, labels: Tensor, hard_fraction: float) -> Tensor:
    """Mean over each sample's `hard_fraction` of pixels with the largest cross-entropy."""
    losses = F.cross_entropy(logits, labels, reduction="none").flatten(1)
    count = max(1, round(hard_fraction * losses.shape[1]))
    return losses.topk(count, dim=1).values.mean()


def soft_jaccard_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - soft intersection over union, averaged over the objects (not the background) a sample's labels hold."""
    probabilities = logits.softmax(dim=1)[:, 1:].flatten(2)
    truth = F.one_hot(labels, logits.shape[1])[..., 1:].flatten(1, 2).transpose(1, 2).to(probabilities.dtype)
    intersection = (probabilities * truth).sum(dim=2)
    union = (probabilities + truth).sum(dim=2) - intersection
    present = truth.sum(dim=2) > 0
    losses = torch.where(present, 1 - intersection / union.clamp(min=1e-6), 0.0)
    return losses.sum() / present.sum().clamp(min=1)
