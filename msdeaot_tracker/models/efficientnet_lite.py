"""EfficientNet-Lite0 as an encoder, in torch alone: timm, which has it too, takes some 200 MB of memory to import."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ..types import Features
from .depthwise import DepthwiseConv2d
from .encoder import MOBILENET_TAPS, Encoder, tapped

_EPS = 1e-3  # of batch norms, as of TensorFlow's weights
_STEM = 32
# By group of blocks: how many, kernel size, stride of the first, channels inside per channel in, channels out.
_GROUPS = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112))


class EfficientNetLiteEncoder(Encoder):
    """Blocks 0 to 4 of EfficientNet-Lite0 (Tan and Le, 2019; Lite: without squeeze-and-excitation, ReLU6).

    Modules are named as in timm's `efficientnet_lite0`. TensorFlow's weights: epsilon of the batch norms, input
    (255 RGB - 127) / 128, and "same" padding, which at sizes of 16k+1 is as much on all sides (timm's
    `tf_efficientnet_lite0`). The last map is the deep one.
    """

    mean = (127 / 255,) * 3
    std = (128 / 255,) * 3

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, _STEM, 3, 2, 1, bias=False), _Norm(_STEM))
        groups, channels = [], _STEM
        for count, kernel_size, stride, expansion, width in _GROUPS:
            group = []
            for index in range(count):
                shape = channels, width, kernel_size, 1 if index else stride
                group.append(_separable(*shape) if expansion == 1 else _inverted_residual(*shape, expansion))
                channels = width
            groups.append(nn.Sequential(*group))
        self.blocks = nn.Sequential(*groups)
        self.channels = {stride: _GROUPS[index][-1] for index, stride in MOBILENET_TAPS.items()}
        self.deep_channels = self.channels[16]
        for module in self.modules():
            if type(module) is nn.Conv2d:  # by fan-out, as in TensorFlow's EfficientNet
                fan_out = math.prod(module.kernel_size) * module.out_channels
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))

    def forward(self, image: Tensor) -> Features:
        maps, x = tapped(self.blocks, self.stem(image))
        return Features(maps, x)


class _Norm(nn.BatchNorm2d):
    """Batch norm, and its activation if it is bounded."""

    def __init__(self, channels: int, *, bounded: bool = True):
        super().__init__(channels, eps=_EPS)
        self.act = nn.ReLU6(inplace=True) if bounded else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


class _Residual(nn.Module):
    """Layers one after another, under the names they are given; what comes out is added to the map, or is all."""

    def __init__(self, adds: bool, **layers: nn.Module):
        super().__init__()
        self.adds = adds
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.children():
            y = layer(y)
        return x + y if self.adds else y


def _separable(channels: int, width: int, kernel_size: int, stride: int) -> _Residual:
    """Each channel for itself, then all of a cell."""
    return _Residual(
        stride == 1 and channels == width,
        conv_dw=DepthwiseConv2d(channels, kernel_size, stride=stride),
        bn1=_Norm(channels),
        conv_pw=nn.Conv2d(channels, width, 1, bias=False),
        bn2=_Norm(width, bounded=False),
    )


def _inverted_residual(channels: int, width: int, kernel_size: int, stride: int, expansion: int) -> _Residual:
    """The same, with more channels inside."""
    inside = expansion * channels
    return _Residual(
        stride == 1 and channels == width,
        conv_pw=nn.Conv2d(channels, inside, 1, bias=False),
        bn1=_Norm(inside),
        conv_dw=DepthwiseConv2d(inside, kernel_size, stride=stride),
        bn2=_Norm(inside),
        conv_pwl=nn.Conv2d(inside, width, 1, bias=False),
        bn3=_Norm(width, bounded=False),
    )
