"""The identification mechanism of AOT: which object a cell belongs to, as an embedding."""

from __future__ import annotations

from torch import Tensor, nn

from ..types import MapSize
from .maps import nearest


class IdentityEmbedding(nn.Module):
    """One-hot mask [B, k + 1, H, W] of k <= K objects at network size -> [B, N, C] on the map of a stage.

    One convolution of kernel = stride (stride + 1 with padding when sizes are 16k+1), then LayerNorm over channels
    (AOT has none).
    A map finer than the convolution's grid is reached by plain nearest enlargement (VMOS 9).
    """

    def __init__(self, objects: int, width: int, stride: int, *, align_corners: bool, normalised: bool = True):
        super().__init__()
        kernel, padding = (stride + 1, stride // 2) if align_corners else (stride, 0)
        self.convolution = nn.Conv2d(objects + 1, width, kernel, stride=stride, padding=padding)
        self.norm = nn.LayerNorm(width) if normalised else nn.Identity()

    def forward(self, mask: Tensor, size: MapSize) -> Tensor:
        weight = self.convolution.weight[:, : mask.shape[1]]  # of objects that are not there nothing is added
        embedding = self.convolution._conv_forward(mask, weight, self.convolution.bias)
        embedding = self.norm(embedding.permute(0, 2, 3, 1))
        if embedding.shape[1:3] != size:
            embedding = nearest(embedding.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)
        return embedding.flatten(1, 2)
