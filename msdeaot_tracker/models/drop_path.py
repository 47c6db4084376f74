"""Stochastic depth."""

from __future__ import annotations

import torch
from torch import Tensor


def drop_path(change: Tensor, rate: float) -> Tensor:
    """The change [B, ...] of a residual branch, left out at this rate; one draw per sample."""
    if rate == 0:
        return change
    kept = torch.rand(len(change), *[1] * (change.ndim - 1), device=change.device) >= rate
    return change * kept / (1 - rate)
