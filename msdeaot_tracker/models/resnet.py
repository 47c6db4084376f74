"""ResNets as encoders: timm's, whose blocks end in one pass of a convolution, the sum and the ReLU in inference."""

from __future__ import annotations

import timm
from timm.models import FeatureListNet
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn

from ..types import Features
from .encoder import Encoder
from .folding import FoldedConvolution


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


def resnet(name: str, taps: tuple[int, ...]) -> Encoder:
    """taps: stages, 0 the stem's first convolution (stride 2) after its batch norm and ReLU."""
    block = _Bottleneck if name == "resnet50" else _BasicBlock
    return ResNetEncoder(timm.create_model(name, features_only=True, out_indices=taps, block=block))


def resnet_small() -> Encoder:
    network = ResNet(_BasicBlock, (2, 2, 3), num_classes=0, channels=(48, 96, 192), stem_type="deep", stem_width=16)
    return ResNetEncoder(FeatureListNet(network, out_indices=(1, 2, 3)))


class _BasicBlock(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        folded = _all_folded(self.conv1, self.conv2)
        return _run_folded(self, x, self.conv1, self.conv2) if folded else super().forward(x)


class _Bottleneck(Bottleneck):
    def forward(self, x: Tensor) -> Tensor:
        folded = _all_folded(self.conv1, self.conv2, self.conv3)
        return _run_folded(self, x, self.conv1, self.conv2, self.conv3) if folded else super().forward(x)


def _all_folded(*convolutions: nn.Module) -> bool:
    """Not while something is learned, nor of a block in which one has been replaced."""
    return all(isinstance(each, FoldedConvolution) for each in convolutions)


def _run_folded(block: nn.Module, x: Tensor, *convolutions: FoldedConvolution) -> Tensor:
    """The block's answer. One that does not resize x writes on it: it is no tapped map, those are resized next."""
    *inner, last = convolutions
    more = x if block.downsample is None else block.downsample(x)
    for each in inner:
        x = each.rectified(x)
    return last.rectified(x, more)
