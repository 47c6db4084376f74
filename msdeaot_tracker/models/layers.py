"""What the propagation layers of both kinds are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DepthwiseConvolution(nn.Conv2d):
    """5x5, one filter per channel, without bias, on a map of tokens [B, C, h, w]."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 5, padding=2, groups=channels, bias=False)
        # Tokens seen as a map are channels-last; weights laid out alike spare the CPU two copies of it.
        self.to(memory_format=torch.channels_last)

    def forward(self, on_map: Tensor) -> Tensor:
        # On CPU the gradient of a depth-wise convolution is much slower in bfloat16 than in float32.
        with torch.autocast(on_map.device.type, enabled=on_map.device.type != "cpu"):
            return super().forward(on_map.to(self.weight.dtype))


def drop_path(change: Tensor, rate: float) -> Tensor:
    """Stochastic depth: the change [B, ...] of a residual branch is left out at this rate, one draw per sample."""
    if rate == 0:
        return change
    kept = torch.rand(len(change), *[1] * (change.ndim - 1), device=change.device) >= rate
    return change * kept / (1 - rate)
