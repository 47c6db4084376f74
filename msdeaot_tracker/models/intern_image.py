"""InternImage-T as HQTrack's VMOS has it: deformable convolutions (DCNv3) in plain PyTorch (INTERNIMAGE.md).

Maps are channels-last, [B, h, w, C], throughout.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .drop_path import drop_path

_EPS = 1e-6  # of every layer norm here
_HIDDEN = 4  # of a block's two linear maps, times its width
_REACH = (-1, 0, 1)
_FUSED = ("cpu", "cuda")  # devices that have weighted sums of rows as one operation, backward as well
POINTS = len(_REACH) ** 2  # of a deformable convolution


def sample_points(value: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of bilinear samples around every cell; outside the map the value is 0.

    value [B, h, w, G, c] of G groups; offset [B, h, w, G, POINTS, (x, y)] in cells, from the points of a 3x3
    neighbourhood taken column by column; weight [B, h, w, G, POINTS] -> [B, h, w, G, c]. In float32, whatever it is
    given in: half a cell is lost in bfloat16 from the 256th column on.
    """
    batch, rows, columns, groups, channels = value.shape
    with torch.autocast(value.device.type, enabled=False):
        value, offset, weight = value.float(), offset.float(), weight.float()
        reach = torch.tensor(_REACH, dtype=torch.float32, device=value.device)
        across = torch.arange(columns, device=value.device)[:, None, None] + reach.repeat_interleave(len(_REACH))
        down = torch.arange(rows, device=value.device)[:, None, None, None] + reach.repeat(len(_REACH))
        # A border of zeros takes in what lies further out, and the corners of cells that straddle it.
        x, y = (offset[..., 0] + across).clamp(-1, columns), (offset[..., 1] + down).clamp(-1, rows)
        table = F.pad(value, (0, 0, 0, 0, 1, 2, 1, 2)).reshape(-1, channels)
        left, top = x.detach().floor(), y.detach().floor()
        right_share, lower_share = x - left, y - top
        line = (columns + 3) * groups
        start = torch.arange(batch, device=value.device).view(-1, 1, 1, 1, 1) * ((rows + 3) * line)
        start = start + line + groups + torch.arange(groups, device=value.device)[:, None]
        corner = (top * line + left * groups).long() + start
        lower = weight * lower_share
        shares = [weight - lower, lower]
        shares = [part for share in shares for part in (share - share * right_share, share * right_share)]
        corners = torch.stack([corner, corner + groups, corner + line, corner + line + groups], dim=-2)
        sums = _weighted_rows(
            table, corners.flatten(-2).flatten(0, 3), torch.stack(shares, dim=-2).flatten(-2).flatten(0, 3)
        )
    return sums.view(batch, rows, columns, groups, channels)


def _weighted_rows(table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Of rows [R, c]: sums over the second axis of index [N, n] and weight [N, n] -> [N, c]."""
    # Faster than grid_sample, and no sample is stored (benchmarks/deformable.py); ONNX has no such operation.
    if table.device.type in _FUSED and not torch.compiler.is_exporting():
        return F.embedding_bag(index, table, mode="sum", per_sample_weights=weight)
    return (weight[:, None] @ table[index])[:, 0]


class DeformableConvolution(nn.Module):
    """DCNv3: every cell gathers from nine places of its own choice, in each group of channels."""

    def __init__(self, width: int, groups: int):
        super().__init__()
        self.groups = groups
        self.to_value = nn.Linear(width, width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.to_offset = nn.Linear(width, groups * POINTS * 2)
        self.to_weight = nn.Linear(width, groups * POINTS)
        self.output = nn.Linear(width, width)
        for chosen in (self.to_offset, self.to_weight):  # at first, the mean of the neighbourhood
            nn.init.zeros_(chosen.weight)
            nn.init.zeros_(chosen.bias)

    def forward(self, x: Tensor) -> Tensor:
        guide = F.gelu(self.norm(_channels_last(self.depthwise(_channels_first(x)))))
        offset = self.to_offset(guide).unflatten(-1, (self.groups, POINTS, 2))
        weight = self.to_weight(guide).unflatten(-1, (self.groups, POINTS)).softmax(dim=-1)
        value = self.to_value(x)
        gathered = sample_points(value.unflatten(-1, (self.groups, -1)), offset, weight)
        return self.output(gathered.flatten(3).to(value.dtype))


class Block(nn.Module):
    """Pre-norm, with a scale per channel on both branches."""

    def __init__(self, width: int, groups: int, drop_path: float):
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.convolution = DeformableConvolution(width, groups)
        self.scale1 = nn.Parameter(torch.ones(width))
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.expand = nn.Linear(width, _HIDDEN * width)
        self.contract = nn.Linear(_HIDDEN * width, width)
        self.scale2 = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        rate = self.drop_path if self.training else 0.0
        x = x + drop_path(self.scale1 * self.convolution(self.norm1(x)), rate)
        return x + drop_path(self.scale2 * self.contract(F.gelu(self.expand(self.norm2(x)))), rate)


class Halving(nn.Module):
    """A 3x3 convolution of stride 2 and a layer norm: ceil(n / 2) rows and columns."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=bias)
        self.norm = nn.LayerNorm(outputs, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(_channels_last(self.convolution(_channels_first(x))))


class InternImage(nn.Module):
    """Four stages, whose last stays at stride 16 and does not widen (INTERNIMAGE.md 1).

    drop_path: training only; probability of skipping a branch of the last block. It grows linearly from 0 at the first.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (64, 128, 256, 256),
        depths: tuple[int, ...] = (4, 4, 18, 4),
        groups: tuple[int, ...] = (4, 8, 16, 32),
        drop_path: float = 0.2,
    ):
        super().__init__()
        self.widths = widths
        self.stem = nn.ModuleList(
            (Halving(3, widths[0] // 2, bias=True), Halving(widths[0] // 2, widths[0], bias=True))
        )
        self.halvings = nn.ModuleList(Halving(a, b, bias=False) for a, b in pairwise(widths[:-1]))
        rates = iter(torch.linspace(0, drop_path, sum(depths)).tolist())
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width, count, next(rates)) for _ in range(depth)))
            for width, depth, count in zip(widths, depths, groups, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=_EPS) for width in widths)

    def forward(self, image: Tensor) -> list[Tensor]:
        """ImageNet-normalised RGB [B, 3, H, W] -> maps [B, C, h, w] at strides 4, 8, 16 and 16 again."""
        first, second = self.stem
        x = second(F.gelu(first(_channels_last(image))))
        maps = []
        for index, (stage, norm) in enumerate(zip(self.stages, self.norms, strict=True)):
            x = norm(stage(x))
            maps.append(_channels_first(x))
            if index < len(self.halvings):
                x = self.halvings[index](x)
        return maps


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)
