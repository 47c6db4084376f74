"""From stage to stage, and from the last stage to mask logits."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from ..types import Features, MapSize

_GROUPS = 8  # of every GroupNorm here (PARITY 29, VMOS.md)


class ConvNorm(nn.Sequential):
    """Convolution and GroupNorm; the caller applies the activation."""

    def __init__(self, inputs: int, outputs: int, kernel: int):
        super().__init__(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.GroupNorm(_GROUPS, outputs))


class ResidualBlock(nn.Module):
    """Pre-activation: x + norm(conv(relu(norm(conv(relu(x))))))."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = ConvNorm(width, width, 3)
        self.conv2 = ConvNorm(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Transition(nn.Module):
    """One branch on its way to the next stage: merged, resized, joined by the encoder's feature, refined."""

    def __init__(self, inputs: int, width: int, blocks: int, *, align_corners: bool):
        super().__init__()
        self.align_corners = align_corners
        self.merge = ConvNorm(inputs, width, 1)
        self.refine = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))

    def forward(self, coarse: Tensor, projected: Tensor) -> Tensor:
        """coarse [B, inputs, h, w], projected [B, C, h', w'] -> [B, C, h', w']."""
        merged = resize(F.relu(self.merge(coarse)), projected.shape[-2:], self.align_corners)
        return F.relu(self.refine(merged + projected))


class Head(nn.Module):
    """MSDeAOT's decoder: the last stage is fine enough to be read directly."""

    def __init__(self, inputs: int, objects: int):
        super().__init__()
        self.hidden = ConvNorm(inputs, inputs, 3)
        self.output = nn.Conv2d(inputs, objects + 1, 1)

    def forward(self, propagated: Tensor, features: Features) -> Tensor:
        return self.output(F.relu(self.hidden(propagated)))


class FPNDecoder(nn.Module):
    """DeAOT's decoder: top-down over the encoder's maps at 16, 8 and 4 (PARITY 26, 29). -> logits at stride 4."""

    def __init__(self, inputs: int, channels: Mapping[int, int], width: int, objects: int, *, align_corners: bool):
        super().__init__()
        self.align_corners = align_corners
        self.entry = ConvNorm(inputs, width, 1)
        steps = ((16, width, width), (8, width, width // 2), (4, width // 2, width // 2))
        self.adapters = nn.ModuleDict({str(s): nn.Conv2d(channels[s], before, 1) for s, before, _ in steps})
        self.convs = nn.ModuleDict({str(s): ConvNorm(before, after, 3) for s, before, after in steps})
        self.output = nn.Conv2d(width // 2, objects + 1, 1)

    def forward(self, propagated: Tensor, features: Features) -> Tensor:
        x = F.relu(self.entry(propagated))
        for stride, adapter in self.adapters.items():
            shortcut = adapter(features.maps[int(stride)])
            x = F.relu(self.convs[stride](shortcut + resize(x, shortcut.shape[-2:], self.align_corners)))
        return self.output(x)


def resize(x: Tensor, size: MapSize, align_corners: bool) -> Tensor:
    """Bilinear, to (rows, columns)."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)
