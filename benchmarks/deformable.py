"""Two ways to sample a deformable convolution: `python benchmarks/deformable.py [--size WxH] [--threads N]`.

CPU seconds for all thirty of VMOS's encoder at one frame size: rows of a table by their index, which the encoder uses,
and `grid_sample`. Values and places are random: time depends on neither.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import torch
from speed import parse_size
from torch import Tensor
from torch.nn import functional as F

from msdeaot_tracker.models.intern_image import POINTS, sample_points

# Of each stage: stride, convolutions, groups, channels of a group.
STAGES = ((4, 4, 4, 16), (8, 4, 8, 16), (16, 18, 16, 16), (16, 4, 32, 8))


def sample_by_grid(value: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """What `sample_points` computes, through `grid_sample`."""
    batch, rows, columns, groups, channels = value.shape
    reach = torch.tensor((-1.0, 0.0, 1.0))
    x = torch.arange(columns)[:, None, None] + reach.repeat_interleave(3) + offset[..., 0]
    y = torch.arange(rows)[:, None, None, None] + reach.repeat(3) + offset[..., 1]
    grid = torch.stack([(2 * x + 1) / columns - 1, (2 * y + 1) / rows - 1], dim=-1)
    grid = grid.permute(0, 3, 4, 1, 2, 5).reshape(batch * groups, POINTS * rows, columns, 2)
    maps = value.permute(0, 3, 4, 1, 2).reshape(batch * groups, channels, rows, columns)
    samples = F.grid_sample(maps, grid, align_corners=False).unflatten(2, (POINTS, rows))
    shares = weight.permute(0, 3, 4, 1, 2).reshape(batch * groups, 1, POINTS, rows, columns)
    return (samples * shares).sum(2).view(batch, groups, channels, rows, columns).permute(0, 3, 4, 1, 2)


def measure(sample: Callable[[Tensor, Tensor, Tensor], Tensor], size: tuple[int, int], runs: int) -> float:
    """CPU seconds of all convolutions on one frame; of several runs the fastest."""
    generator, total = torch.Generator().manual_seed(0), 0.0
    for stride, count, groups, channels in STAGES:
        rows, columns = (-(-side // stride) for side in size)
        value = torch.randn(1, rows, columns, groups, channels, generator=generator)
        offset = torch.randn(1, rows, columns, groups, POINTS, 2, generator=generator)
        weight = torch.rand(1, rows, columns, groups, POINTS, generator=generator).softmax(dim=-1)
        total += count * min(_seconds(sample, value, offset, weight) for _ in range(runs))
    return total


def _seconds(function: Callable, *arguments: Tensor) -> float:
    began = time.process_time()
    function(*arguments)
    return time.process_time() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=(481, 849), metavar="WxH")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with torch.inference_mode():
        for name, sample in (("rows of a table", sample_points), ("grid_sample", sample_by_grid)):
            print(f"{name:<16}{measure(sample, arguments.size, arguments.runs):.3f} CPU seconds", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
