"""The network from a crop around a box to the mask of the object in it, and to how good that mask is.

An EfficientNet-Lite0 sees the crop. A small decoder goes up from stride 16 to stride 2; at each stride it is told where
the box is, and at stride 16 every cell sees every other, so that what lies outside the box tells what is background
inside.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.depthwise import DepthwiseConv2d
from ..models.encoder import build_encoder

STRIDE = 2  # pixels of the crop per cell of the mask
_CONTEXT, _WIDTHS, _FINE = 128, (64, 40), 24  # channels at strides 16, 8 and 4, and 2
_ATTENTION, _HEADS = 2, 4  # layers at stride 16
_PLACE = 5  # channels of `box_channels`
_REACH, _EDGE = 0.25, 0.03  # of the crop's side: how far from a side of the box its distance still grows
_JUDGED = 64  # channels of the head that judges


class Found(NamedTuple):
    """logits: [B, 1, h, w] of the mask, one cell per STRIDE pixels, from the first to the last. quality: logit [B]."""

    logits: Tensor
    quality: Tensor


class BoxToMaskNet(nn.Module):
    """RGB in [0, 1], [B, 3, S, S] with S = 16k+1, and the box's sides [B, 2] -> Found.

    The box lies in the middle of the crop; its width and height are shares of the crop's side.
    """

    encoder_name = "efficientnet_lite0"

    def __init__(self) -> None:
        super().__init__()
        self.encoder = build_encoder(self.encoder_name, frozen_batch_norm=True)
        channels = self.encoder.channels
        self.entry = _conv_norm(channels[16] + _PLACE, _CONTEXT, 1)
        self.context = nn.ModuleList(
            nn.TransformerEncoderLayer(_CONTEXT, _HEADS, 2 * _CONTEXT, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(_ATTENTION)
        )
        self.up8 = _Merge(_CONTEXT, channels[8], _WIDTHS[0])
        self.up4 = _Merge(_WIDTHS[0], channels[4], _WIDTHS[1])
        self.edges = _conv_norm(3, _FINE // 2, 3, stride=STRIDE)
        self.up2 = _conv_norm(_WIDTHS[1] + _FINE // 2, _FINE, 3)
        self.output = nn.Conv2d(_FINE, 1, 3, padding=1)
        self.judge = nn.Sequential(
            nn.Linear(_CONTEXT + 2 * _WIDTHS[1] + _STATISTICS, _JUDGED), nn.ReLU(), nn.Linear(_JUDGED, 1)
        )
        self.to(memory_format=torch.channels_last)  # faster on CPU

    def forward(self, image: Tensor, sides: Tensor) -> Found:
        mean, std = (image.new_tensor(v).view(3, 1, 1) for v in (self.encoder.mean, self.encoder.std))
        image = (image - mean) / std
        maps = self.encoder(image).maps
        x = self.entry(_told(maps[16], sides))
        size, tokens = x.shape[2:], x.flatten(2).transpose(1, 2)
        for layer in self.context:
            tokens = layer(tokens)
        deep = tokens.transpose(1, 2).unflatten(2, size).contiguous(memory_format=torch.channels_last)
        at4 = self.up4(self.up8(deep, maps[8], sides), maps[4], sides)
        edges = self.edges(image)
        logits = self.output(self.up2(torch.cat([_resize(at4, edges), edges], dim=1)))
        return Found(logits, self._quality(deep.detach(), at4.detach(), logits.detach(), sides))

    def _quality(self, deep: Tensor, at4: Tensor, logits: Tensor, sides: Tensor) -> Tensor:
        """From the features in the mask and in the rest of the box, and from how decided the mask is."""
        probability = _resize(logits, at4).float().sigmoid()
        inside = box_channels(sides.float(), at4)[:, -1:].clamp(min=0)
        in_mask, beside = (_weighted_mean(at4.float(), w) for w in (probability, (1 - probability) * inside))
        seen = [deep.float().mean(dim=(2, 3)), in_mask, beside, _statistics(logits.float().sigmoid(), sides.float())]
        return self.judge(torch.cat(seen, dim=1))[:, 0]


def box_channels(sides: Tensor, like: Tensor) -> Tensor:
    """Where the box is, [B, 5, h, w] in [-1, 1], for the cells of a map [B, C, h, w] from border to border.

    Distances to its left, right, top and bottom, positive on its inner side; and the least of them, in smaller units.
    """
    height, width = like.shape[2:]
    y, x = (torch.linspace(-0.5, 0.5, n, device=sides.device, dtype=sides.dtype) for n in (height, width))
    half_w, half_h = (sides[:, i, None] / 2 for i in (0, 1))
    across = [(half_w + sign * x)[:, None, :].expand(-1, height, -1) for sign in (1, -1)]
    down = [(half_h + sign * y)[:, :, None].expand(-1, -1, width) for sign in (1, -1)]
    distances = torch.stack([*across, *down], dim=1)
    least = distances.amin(dim=1, keepdim=True)
    return torch.cat([distances / _REACH, least / _EDGE], dim=1).clamp(-1, 1)


_STATISTICS = 4


def _statistics(probability: Tensor, sides: Tensor) -> Tensor:
    """[B, 1, h, w], [B, 2] -> [B, 4]: how undecided, how much of the box, how much outside it, how well it fills it."""
    inside = (box_channels(sides, probability)[:, -1:] > 0).float()
    total = probability.sum(dim=(1, 2, 3)).clamp(min=1)
    undecided = (probability * (1 - probability)).sum(dim=(1, 2, 3)) / total
    filled = (probability * inside).sum(dim=(1, 2, 3)) / inside.sum(dim=(1, 2, 3)).clamp(min=1)
    outside = (probability * (1 - inside)).sum(dim=(1, 2, 3)) / total
    reached = torch.stack([probability.amax(dim=dim).mean(dim=(1, 2)) for dim in (2, 3)], dim=1) / sides.clamp(min=0.02)
    return torch.stack([undecided, filled, outside, reached.amin(dim=1)], dim=1)


def _weighted_mean(x: Tensor, weights: Tensor) -> Tensor:
    """[B, C, h, w] over the map, by [B, 1, h, w] -> [B, C]."""
    return (x * weights).sum(dim=(2, 3)) / weights.sum(dim=(2, 3)).clamp(min=1e-3)


class _Merge(nn.Module):
    """A coarse map brought to a finer one of the encoder's, told the box, and looked at by wide depth-wise filters."""

    def __init__(self, coarse: int, finer: int, width: int) -> None:
        super().__init__()
        self.entry = _conv_norm(coarse + finer + _PLACE, width, 1)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(2))

    def forward(self, coarse: Tensor, finer: Tensor, sides: Tensor) -> Tensor:
        x = self.entry(_told(torch.cat([_resize(coarse, finer), finer], dim=1), sides))
        for block in self.blocks:
            x = block(x)
        return x


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.look = nn.Sequential(DepthwiseConv2d(width, 5), nn.BatchNorm2d(width))
        self.mix = nn.Sequential(nn.Conv2d(width, 2 * width, 1), nn.ReLU(), nn.Conv2d(2 * width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(self.look(x))


def _told(x: Tensor, sides: Tensor) -> Tensor:
    return torch.cat([x, box_channels(sides, x).to(x.dtype)], dim=1)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
