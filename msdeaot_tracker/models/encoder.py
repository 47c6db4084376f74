"""Image encoders by name, most of them from timm.

An encoder gives maps at strides 4, 8 and 16 (some at 2 as well) and the `deep` stride-16 map that enters the first
stage. timm, and torchvision with it, are imported by the encoders that are made of them: they take some 200 MB.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..types import Features, InputError
from .frozen import freeze_batch_norm
from .intern_image import InternImage

_STRIDES = (4, 8, 16)
MOBILENET_TAPS = {1: 4, 2: 8, 4: 16}  # block index -> stride of its output, in MobileNetV2 and EfficientNet


class Encoder(nn.Module):
    """Normalised RGB [B, 3, H, W] -> Features. Channel counts are asked from the network, never configured.

    mean, std: of RGB in [0, 1], by which an image is normalised: what the encoder was pre-trained with.
    """

    channels: dict[int, int]
    deep_channels: int
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def forward(self, image: Tensor) -> Features:
        raise NotImplementedError


def tapped(blocks: nn.Sequential, x: Tensor) -> tuple[dict[int, Tensor], Tensor]:
    """The maps by their strides, and the last one."""
    maps = {}
    for index, block in enumerate(blocks):
        x = block(x)
        if index in MOBILENET_TAPS:
            maps[MOBILENET_TAPS[index]] = x
    return maps, x


class MobileNetV2Encoder(Encoder):
    """MobileNetV2 dilated to stride 16, with its 1280-channel head as the deep map (PARITY 23)."""

    def __init__(self):
        import timm

        super().__init__()
        network = timm.create_model("mobilenetv2_100", output_stride=16)
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.blocks = network.blocks
        self.head = nn.Sequential(network.conv_head, network.bn2)
        self.channels = {s: network.feature_info[i]["num_chs"] for i, s in zip((1, 2, 3), _STRIDES, strict=True)}
        self.deep_channels = network.conv_head.out_channels

    def forward(self, image: Tensor) -> Features:
        maps, x = tapped(self.blocks, self.stem(image))
        return Features(maps, self.head(x))


class InternImageEncoder(Encoder):
    """InternImage-T; the deep map is its fourth stage, at stride 16 as the third (VMOS 1)."""

    def __init__(self):
        super().__init__()
        self.network = InternImage()
        self.channels = dict(zip(_STRIDES, self.network.widths, strict=False))
        self.deep_channels = self.network.widths[-1]

    def forward(self, image: Tensor) -> Features:
        *maps, deep = self.network(image)
        return Features(dict(zip(_STRIDES, maps, strict=True)), deep)


def _efficientnet_lite0() -> Encoder:
    from .efficientnet_lite import EfficientNetLiteEncoder

    return EfficientNetLiteEncoder()


def _resnet(name: str, taps: tuple[int, ...]) -> Encoder:
    from .resnet import resnet

    return resnet(name, taps)


def _resnet_small() -> Encoder:
    from .resnet import resnet_small

    return resnet_small()


def _swin_base() -> Encoder:
    from .swin import SwinEncoder

    # Stochastic depth as in the AOT code's training of Swin-B.
    return SwinEncoder(128, depths=(2, 2, 18), heads=(4, 8, 16), window=7, drop_path=0.3)


ENCODERS: dict[str, Callable[[], Encoder]] = {
    "intern_image_t": InternImageEncoder,
    "mobilenetv2": MobileNetV2Encoder,
    "efficientnet_lite0": _efficientnet_lite0,
    "resnet18": partial(_resnet, "resnet18", (0, 1, 2, 3)),
    "resnet34": partial(_resnet, "resnet34", (0, 1, 2, 3)),
    "resnet50": partial(_resnet, "resnet50", (1, 2, 3)),
    "resnet_small": _resnet_small,
    "swin_base": _swin_base,
}


def build_encoder(name: str, *, frozen_batch_norm: bool) -> Encoder:
    """frozen_batch_norm: scales and statistics come from pre-training and never change. InputError: unknown name."""
    if name not in ENCODERS:
        raise InputError(f"no encoder {name!r}; there are: {', '.join(ENCODERS)}")
    encoder = ENCODERS[name]()
    if frozen_batch_norm:
        freeze_batch_norm(encoder)
    return encoder.to(memory_format=torch.channels_last)  # faster on CPU
