"""Alpha-Refine's network (Yan et al., CVPR 2021; AR34c+m: corner head and mask head), for crops around a target.

A crop of the first frame becomes a kernel; every crop is correlated with it, cell by cell, and what comes out leads to
the target's corners and, with finer maps of the backbone, to its mask. Sizes below are those of a crop of 256 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.encoder import Encoder

CROP = 256  # side of the crops the published weights were trained on, in pixels
_KERNEL = 8  # side of the kernel in cells: the box fills half of the crop
_STRIDE = 16  # pixels per cell of the map that is correlated
FUSED = _KERNEL**2  # channels after the correlation: one per cell of the kernel
_FINE_STRIDES = (8, 4, 2)  # maps that the mask head adds, coarse to fine
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Refinement(NamedTuple):
    """What the network says about B crops."""

    corners: Tensor  # [B, 4] x1, y1, x2, y2 in pixels of the crop; x2 < x1 where the heat-maps contradict each other
    heat_maps: Tensor  # [B, 2, 16, 16] probabilities of the top-left and the bottom-right corner, each map sums to 1
    mask_logits: Tensor  # [B, 1, 256, 256] at the crop's resolution, before the sigmoid


class AlphaRefineNet(nn.Module):
    """Crops are RGB [B, 3, 256, 256] in [0, 1]; `backbone` gives maps at strides 2, 4, 8 and 16 of any width.

    The heads are the published ones unless others are given; `mask_head.widths` are the channels that it takes.
    """

    def __init__(self, backbone: Encoder, corner_head: nn.Module | None = None, mask_head: nn.Module | None = None):
        super().__init__()
        self.backbone = backbone
        self.correlation = PixelCorrelation()
        self.corner_head = CornerHead() if corner_head is None else corner_head
        self.mask_head = MaskHead() if mask_head is None else mask_head
        self.adapters = nn.ModuleList(
            conv_norm(backbone.channels[stride], width, size=1)
            for stride, width in zip(_FINE_STRIDES, self.mask_head.widths, strict=True)
        )
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD)[:, None, None], persistent=False)

    def reference(self, crop: Tensor) -> Tensor:
        """Crop around the target in its first frame -> kernel [B, C, 8, 8]: the crop's middle, which the box fills."""
        return middle(self.encode(crop))

    def forward(self, crop: Tensor, kernel: Tensor | None = None) -> Refinement:
        """Crops around where the target is expected.

        kernel: [B, C, 8, 8], or [1, C, 8, 8] for all of them; None: each crop is its own reference.
        """
        maps = self.encode(crop)
        return self.compare(maps, middle(maps) if kernel is None else kernel)

    def encode(self, crop: Tensor) -> dict[int, Tensor]:
        """Maps by stride."""
        return self.backbone((crop - self.mean) / self.std).maps

    def compare(self, maps: dict[int, Tensor], kernel: Tensor) -> Refinement:
        """`forward` for crops whose maps are known."""
        fused = self.correlation(maps[_STRIDE], kernel)
        heat_maps = self.corner_head(fused)
        fine = [adapter(maps[stride]) for stride, adapter in zip(_FINE_STRIDES, self.adapters, strict=True)]
        logits = F.interpolate(self.mask_head(fused, fine), (CROP, CROP), mode="bilinear", align_corners=False)
        return Refinement(expected_corners(heat_maps), heat_maps, logits)


class PixelCorrelation(nn.Module):
    """Each cell of the kernel is matched with each cell of the map; then mixed, and weighted channel by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Sequential(*(conv_norm(a, b, size=1) for a, b in ((FUSED, 128), (128, 128), (128, FUSED))))
        self.gate = nn.Sequential(  # squeeze and excite
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(FUSED, 16, 1), nn.ReLU(), nn.Conv2d(16, FUSED, 1), nn.Sigmoid()
        )

    def forward(self, features: Tensor, kernel: Tensor) -> Tensor:
        """[B, C, h, w], [B, C, 8, 8] -> [B, 64, h, w]; before mixing, channel 8 row + column is that kernel cell's."""
        matches = kernel.flatten(2).transpose(1, 2) @ features.flatten(2)  # a plain sum over C, not scaled
        mixed = self.mix(matches.unflatten(2, features.shape[2:]))
        return mixed * self.gate(mixed)


class CornerHead(nn.Module):
    """One stack of convolutions per corner, each ending in a probability per cell."""

    def __init__(self, widths: Sequence[int] = (256, 128, 64, 32)) -> None:
        super().__init__()
        self.top_left, self.bottom_right = (self._stack(FUSED, *widths) for _ in range(2))

    def forward(self, fused: Tensor) -> Tensor:
        """[B, 64, h, w] -> [B, 2, h, w], top-left first; each map sums to 1."""
        scores = torch.cat([self.top_left(fused), self.bottom_right(fused)], dim=1)
        return scores.flatten(2).softmax(dim=2, dtype=torch.float32).view_as(scores)

    @staticmethod
    def _stack(*widths: int) -> nn.Sequential:
        layers = [conv_norm(a, b, size=3) for a, b in pairwise(widths)]
        return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1))


class MaskHead(nn.Module):
    """From the fused map up to half the crop's resolution, adding a finer map of the backbone at each step."""

    widths = (512, 256, 64)  # of the adapted maps, whatever the backbone's are

    def __init__(self) -> None:
        super().__init__()
        self.coarse = nn.ModuleList(_two_convs(*widths) for widths in ((FUSED, 32, 32), (16, 16, 16), (4, 4, 4)))
        self.fine = nn.ModuleList(
            _two_convs(width, *narrower)
            for width, narrower in zip(self.widths, ((128, 32), (64, 16), (16, 4)), strict=True)
        )
        self.merge = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in ((32, 16), (16, 4), (4, 1)))

    def forward(self, fused: Tensor, finer: list[Tensor]) -> Tensor:
        """[B, 64, 16, 16] and the adapted maps, coarse to fine -> logits [B, 1, 128, 128]."""
        x = fused
        for coarse, fine, merge, level in zip(self.coarse, self.fine, self.merge, finer, strict=True):
            x = merge(resize(coarse(x), level) + fine(level))
        return x


def expected_corners(heat_maps: Tensor) -> Tensor:
    """Probabilities [B, 2, h, w] -> mean corners [B, 4], x1, y1, x2, y2 in pixels; a cell counts as its first."""
    y, x = (_STRIDE * torch.arange(n, device=heat_maps.device) for n in heat_maps.shape[2:])
    x = (heat_maps.sum(dim=2) * x).sum(dim=2)
    y = (heat_maps.sum(dim=3) * y).sum(dim=2)
    return torch.stack([x, y], dim=2).flatten(1)


def middle(maps: dict[int, Tensor]) -> Tensor:
    """Kernel [B, C, 8, 8] of crops whose maps are known."""
    features = maps[_STRIDE]
    top, left = ((side - _KERNEL) // 2 for side in features.shape[2:])
    return features[:, :, top : top + _KERNEL, left : left + _KERNEL]


def conv_norm(inputs: int, outputs: int, *, size: int) -> nn.Sequential:
    """The convolution has a bias beside the norm's, as in the published weights."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, padding=size // 2), nn.BatchNorm2d(outputs), nn.ReLU())


def _two_convs(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, outputs, 3, padding=1), nn.ReLU()
    )


def resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
