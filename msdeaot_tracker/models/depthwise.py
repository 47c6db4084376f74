"""Depth-wise convolutions, which have ways of their own on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """Each channel for itself, channels-last; in training on a CPU always in the precision of its weights.

    There its gradient is slower in bfloat16 than in float32.
    """

    def __init__(self, channels: int, kernel_size: int, *, stride: int = 1):
        super().__init__(channels, channels, kernel_size, stride, padding=kernel_size // 2, groups=channels, bias=False)
        # Tokens seen as a map are channels-last; weights laid out alike spare the CPU two copies of it.
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.to(self.weight.dtype))
