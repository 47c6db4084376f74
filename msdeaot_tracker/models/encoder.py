"""Image encoders, from timm; the only module that knows timm.

An encoder gives maps at strides 4, 8 and 16 (some at 2 as well) and the `deep` stride-16 map that enters the first
stage.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import timm
import torch
from timm.layers import PatchEmbed
from timm.models import FeatureListNet
from timm.models.resnet import BasicBlock, ResNet
from timm.models.swin_transformer import PatchMerging, SwinTransformerBlock
from torch import Tensor, nn
from torch.nn import functional as F

from ..types import Features, InputError
from .depthwise import DepthwiseConv2d
from .frozen import freeze_batch_norm
from .intern_image import InternImage
from .linear import Linear
from .windows import cut_windows

_STRIDES = (4, 8, 16)
_MLP_CELLS = 2048  # of a Swin block at once
_MOBILENET_TAPS = {1: 4, 2: 8, 4: 16}  # block index -> stride of its output, in MobileNetV2 and EfficientNet


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


class ResNetEncoder(Encoder):
    """Stages 1 to 3 of a ResNet, and its stem if the network gives it; the deep map is the last one (PARITY 24)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.channels = dict(zip(network.feature_info.reduction(), network.feature_info.channels(), strict=True))
        self.deep_channels = self.channels[16]

    def forward(self, image: Tensor) -> Features:
        maps = dict(zip(self.channels, self.network(image), strict=True))
        return Features(maps, maps[16])


def _tapped(blocks: nn.Sequential, x: Tensor) -> tuple[dict[int, Tensor], Tensor]:
    """The maps by their strides, and the last one."""
    maps = {}
    for index, block in enumerate(blocks):
        x = block(x)
        if index in _MOBILENET_TAPS:
            maps[_MOBILENET_TAPS[index]] = x
    return maps, x


class MobileNetV2Encoder(Encoder):
    """MobileNetV2 dilated to stride 16, with its 1280-channel head as the deep map (PARITY 23)."""

    def __init__(self):
        super().__init__()
        network = timm.create_model("mobilenetv2_100", output_stride=16)
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.blocks = network.blocks
        self.head = nn.Sequential(network.conv_head, network.bn2)
        self.channels = {s: network.feature_info[i]["num_chs"] for i, s in zip((1, 2, 3), _STRIDES, strict=True)}
        self.deep_channels = network.conv_head.out_channels

    def forward(self, image: Tensor) -> Features:
        maps, x = _tapped(self.blocks, self.stem(image))
        return Features(maps, self.head(x))


class EfficientNetLiteEncoder(Encoder):
    """Blocks 0 to 4 of EfficientNet-Lite, whose last map is the deep one.

    TensorFlow's weights: epsilon of the batch norms, input (255 RGB - 127) / 128, and "same" padding, which at sizes of
    16k+1 is as much on all sides (timm's `efficientnet_lite0`, `tf_efficientnet_lite0`).
    """

    mean = (127 / 255,) * 3
    std = (128 / 255,) * 3

    def __init__(self, name: str):
        super().__init__()
        network = timm.create_model(name, bn_eps=1e-3)
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.blocks = network.blocks[: max(_MOBILENET_TAPS) + 1]
        for block in self.blocks.modules():
            if hasattr(block, "conv_dw"):
                own = block.conv_dw
                block.conv_dw = DepthwiseConv2d(own.in_channels, own.kernel_size[0], stride=own.stride[0])
        counts = {info["module"]: info["num_chs"] for info in network.feature_info}
        self.channels = {stride: counts[f"blocks.{index}"] for index, stride in _MOBILENET_TAPS.items()}
        self.deep_channels = self.channels[16]

    def forward(self, image: Tensor) -> Features:
        maps, x = _tapped(self.blocks, self.stem(image))
        return Features(maps, x)


class SwinEncoder(Encoder):
    """Three stages of a Swin transformer with a LayerNorm on each output (PARITY 27, 28).

    drop_path: training only; probability of skipping the last block of the whole Swin, whose fourth stage of two blocks
    is not used here. It grows linearly from 0 at the first block.
    """

    def __init__(
        self,
        width: int,
        depths: tuple[int, int, int],
        heads: tuple[int, int, int],
        window: int,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.patch_embed = PatchEmbed(
            None, patch_size=4, embed_dim=width, norm_layer=nn.LayerNorm, strict_img_size=False, output_fmt="NHWC"
        )
        widths = [width * 2**i for i in range(3)]
        self.merges = nn.ModuleList(PatchMerging(w) for w in widths[:-1])
        last = sum(depths) + 2 - 1
        rates = iter([drop_path * index / last for index in range(sum(depths))])
        self.stages = nn.ModuleList(
            nn.Sequential(*(_SwinBlock(w, h, window, window // 2 * (i % 2), next(rates)) for i in range(depth)))
            for w, depth, h in zip(widths, depths, heads, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(w) for w in widths)
        _take_linear(self)
        self.channels = dict(zip(_STRIDES, widths, strict=True))
        self.deep_channels = widths[-1]

    def forward(self, image: Tensor) -> Features:
        x = self.patch_embed(image)
        maps = {}
        for index, (stride, stage, norm) in enumerate(zip(_STRIDES, self.stages, self.norms, strict=True)):
            x = stage(x if index == 0 else self.merges[index - 1](x))
            maps[stride] = norm(x).permute(0, 3, 1, 2)
        return Features(maps, maps[16])


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


class _SwinBlock(SwinTransformerBlock):
    """timm's block, but padded before the cyclic shift instead of after it, at any map size (PARITY 28).

    Linear maps are of the map's own cells, and of one of zeros for those that windows have beyond it.
    """

    def __init__(self, width: int, heads: int, window: int, shift: int, drop_path: float):
        super().__init__(
            width,
            (window, window),
            heads,
            window_size=window,
            shift_size=shift,
            drop_path=drop_path,
            always_partition=True,
            dynamic_mask=True,
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, C] -> the same."""
        x = x + self.drop_path1(self._attn(self.norm1(x)))
        if self.training:
            return x + self.drop_path2(self.mlp(self.norm2(x)))
        cells = x.flatten(1, 2)  # in parts whose hidden layer, four times as wide, stays in the CPU's cache
        return torch.cat([p + self.mlp(self.norm2(p)) for p in cells.split(_MLP_CELLS, dim=1)], dim=1).view(x.shape)

    def _attn(self, x: Tensor) -> Tensor:
        batch, rows, columns, width = x.shape
        side, heads = self.window_size[0], self.attn.num_heads
        windows = cut_windows((rows, columns), side, self.shift_size[0], x.device)
        seen = self.attn.qkv(F.pad(x.flatten(1, 2), (0, 0, 0, 1))).index_select(1, windows.cells)
        query, key, value = seen.view(-1, side**2, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        bias = self.attn._get_rel_pos_bias()
        if windows.mask is not None:
            bias = (bias + windows.mask).repeat(batch, 1, 1, 1)
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        read = read.transpose(1, 2).reshape(batch, -1, width).index_select(1, windows.places)
        return self.attn.proj(read).view(x.shape)


def _take_linear(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, Linear.take(child))
        else:
            _take_linear(child)


def _resnet_with_stem(name: str) -> Encoder:
    """The stride-2 map is the first convolution after its batch norm and ReLU."""
    return ResNetEncoder(timm.create_model(name, features_only=True, out_indices=(0, 1, 2, 3)))


def _resnet50() -> Encoder:
    return ResNetEncoder(timm.create_model("resnet50", features_only=True, out_indices=(1, 2, 3)))


def _resnet_small() -> Encoder:
    network = ResNet(BasicBlock, (2, 2, 3), num_classes=0, channels=(48, 96, 192), stem_type="deep", stem_width=16)
    return ResNetEncoder(FeatureListNet(network, out_indices=(1, 2, 3)))


def _swin_base() -> Encoder:
    # Stochastic depth as in the AOT code's training of Swin-B.
    return SwinEncoder(128, depths=(2, 2, 18), heads=(4, 8, 16), window=7, drop_path=0.3)


ENCODERS: dict[str, Callable[[], Encoder]] = {
    "intern_image_t": InternImageEncoder,
    "mobilenetv2": MobileNetV2Encoder,
    "efficientnet_lite0": partial(EfficientNetLiteEncoder, "efficientnet_lite0"),
    "resnet18": partial(_resnet_with_stem, "resnet18"),
    "resnet34": partial(_resnet_with_stem, "resnet34"),
    "resnet50": _resnet50,
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
