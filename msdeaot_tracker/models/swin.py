"""The Swin transformer as an encoder, of timm's parts."""

from __future__ import annotations

import torch
from timm.layers import PatchEmbed
from timm.models.swin_transformer import PatchMerging, SwinTransformerBlock
from torch import Tensor, nn
from torch.nn import functional as F

from ..types import Features
from .encoder import Encoder
from .linear import Linear
from .windows import cut_windows

_STRIDES = (4, 8, 16)
_MLP_CELLS = 2048  # of a block at once


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
