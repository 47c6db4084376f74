"""Alpha-Refine's network with a small backbone that is told where the box is and which colours are found only there."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.encoder import Encoder
from ..types import Features
from .alpha_refine_net import FUSED, AlphaRefineNet, CornerHead, conv_norm, resize

_STEM, _WIDTHS, _BLOCKS = 16, (24, 48, 96, 192), (2, 2, 2, 2)  # at stride 2, and at strides 4, 8, 16, 32
_ATTENTION = 2  # layers at stride 32
_LEVELS = (16, 32)  # of a colour channel, in the histograms
_DARKEST, _BRIGHTEST = -2.2, 2.7  # ImageNet-normalised values lie between
_BLACK = -1.8  # below this in all channels: black, as is what lies outside the image
_CORNER_WIDTHS, _MASK_WIDTHS = (64, 32, 16), (48, 24, 16)


def build_ar_small() -> AlphaRefineNet:
    """With random weights; 2.8 million parameters."""
    network = AlphaRefineNet(BoxAwareEncoder(), CornerHead(_CORNER_WIDTHS), SmallMaskHead())
    return network.to(memory_format=torch.channels_last)  # faster on CPU


class BoxAwareEncoder(Encoder):
    """ImageNet-normalised crops [B, 3, H, W], whose middle half is the box -> maps at strides 2, 4, 8 and 16.

    To the colour of each pixel are added its position and how much it speaks for the object. A residual network goes
    down to stride 32, where every cell sees every other; on the way back up that is added to the finer maps, so that
    they know of the whole crop, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.channels = dict(zip((2, 4, 8, 16), (_STEM, *_WIDTHS[:3]), strict=True))
        self.deep_channels = self.channels[16]
        self.stem = _conv_norm(3 + 3 + len(_LEVELS), _STEM, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(_Block(a, b, stride=2), *(_Block(b, b) for _ in range(blocks - 1)))
            for a, b, blocks in zip((_STEM, *_WIDTHS[:-1]), _WIDTHS, _BLOCKS, strict=True)
        )
        width = _WIDTHS[-1]
        self.context = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
                for _ in range(_ATTENTION)
            )
        )
        self.down = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(_WIDTHS))
        self.merge = nn.ModuleList(_conv_norm(width, width) for width in _WIDTHS[:-1])

    def forward(self, image: Tensor) -> Features:
        half = F.avg_pool2d(image, 2)  # as fine as the stem's map; also less noise, and less time
        evidence = torch.cat([colour_evidence(half, position(half)[:, 2], levels) for levels in _LEVELS], dim=1)
        x = self.stem(torch.cat([image, position(image), resize(evidence, image)], dim=1))
        maps = [x]
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        x = self.context(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])
        for level in (3, 2, 1):
            above = resize(self.down[level - 1](x), maps[level])
            maps[level] = x = self.merge[level - 1](maps[level] + above)
        named = dict(zip(self.channels, maps[:-1], strict=True))
        return Features(named, named[16])


class SmallMaskHead(nn.Module):
    """As `MaskHead`, but normalised: from scratch the published one, of four channels at the end, did not train."""

    widths = _MASK_WIDTHS

    def __init__(self) -> None:
        super().__init__()
        self.coarse = nn.ModuleList(conv_norm(a, b, size=1) for a, b in pairwise((FUSED, *self.widths)))
        self.merge = nn.ModuleList(conv_norm(width, width, size=3) for width in self.widths)
        self.output = nn.Conv2d(self.widths[-1], 1, 1)

    def forward(self, fused: Tensor, finer: list[Tensor]) -> Tensor:
        """[B, 64, 16, 16] and the adapted maps, coarse to fine -> logits [B, 1, 128, 128]."""
        x = fused
        for coarse, merge, level in zip(self.coarse, self.merge, finer, strict=True):
            x = merge(resize(coarse(x), level) + level)
        return self.output(x)


def position(image: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, 3, H, W]: x and y from -1 to 1 over the crop, and 1 in the box, 0 outside."""
    height, width = image.shape[2:]
    y, x = ((2 * torch.arange(n, device=image.device, dtype=image.dtype) + 1) / n - 1 for n in (height, width))
    y, x = y[:, None].expand(height, width), x.expand(height, width)
    inside = ((x.abs() < 0.5) & (y.abs() < 0.5)).to(image.dtype)
    return torch.stack([x, y, inside]).expand(len(image), -1, -1, -1)


@torch.no_grad()
def colour_evidence(image: Tensor, inside: Tensor, levels: int) -> Tensor:
    """[B, 3, H, W], [B, H, W] (1 in the box, 0 outside) -> [B, 1, H, W] in [0, 1].

    What GrabCut starts from: how much more frequent a pixel's colour is inside the box than outside, by two histograms
    of levels x levels x levels cells, each smoothed over its neighbours. Black pixels, such as those outside the image,
    are not counted.
    """
    scaled = (image.float() - _DARKEST) * (levels / (_BRIGHTEST - _DARKEST))
    red, green, blue = scaled.long().clamp(0, levels - 1).unbind(dim=1)
    cells = ((red * levels + green) * levels + blue).flatten(1)
    counted = (image > _BLACK).any(dim=1).float()

    def frequencies(weights: Tensor) -> Tensor:
        counts = image.new_zeros(len(image), levels**3, dtype=torch.float32).scatter_add_(1, cells, weights.flatten(1))
        smooth = F.avg_pool3d(counts.view(-1, 1, *3 * (levels,)), 3, 1, 1, count_include_pad=False).flatten(1)
        return smooth / weights.flatten(1).sum(dim=1, keepdim=True).clamp(min=1)

    within, around = frequencies(counted * inside), frequencies(counted * (1 - inside))
    share = within / (within + around).clamp(min=1e-9)
    return share.gather(1, cells).view_as(image[:, :1])


class _Block(nn.Module):
    """Two convolutions around which the input is led past, as in a ResNet-D."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = _conv_norm(inputs, outputs, stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.skip = nn.Identity()
        if inputs != outputs:
            self.skip = nn.Sequential(
                nn.AvgPool2d(stride), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.skip(x) + self.second(self.first(x)))


def _conv_norm(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
