"""VMOS's encoder: against the reference numbers of the public one, and its sampling against PyTorch's."""

from __future__ import annotations

import parity
import parity_intern_image
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from msdeaot_tracker.models import intern_image
from msdeaot_tracker.models.intern_image import DeformableConvolution, sample_points

KEYS = parity.find_keys(parity.DATA, "intern_t"), parity.find_keys(parity.DATA, "vmos")


def check(name: str) -> parity_intern_image.Report:
    return parity_intern_image.check(parity.DATA / f"intern_t_{name}.npz", *KEYS)


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_numbers_of_the_public_encoder_are_reproduced(name):
    report = check(name)
    assert report.problems == []
    assert 0 < report.outputs < parity_intern_image.TOLERANCE
    assert 0 < report.inner < parity_intern_image.TOLERANCE


@pytest.mark.parametrize("mistake", ["row by row", "eps", "border"])
def test_mistakes_are_found(monkeypatch, mistake):
    right = sample_points
    if mistake == "row by row":
        order = [3 * (i % 3) + i // 3 for i in range(9)]
        monkeypatch.setattr(
            intern_image, "sample_points", lambda value, offset, weight: right(value, offset[..., order, :], weight)
        )
    elif mistake == "border":
        monkeypatch.setattr(intern_image, "sample_points", lambda v, o, w: right(v, o.clamp(-1, 1), w))
    else:
        model = parity_intern_image.build(*KEYS)
        for module in model.encoder.modules():
            if isinstance(module, torch.nn.LayerNorm):
                monkeypatch.setattr(module, "eps", 1e-5)
    assert any("enc4" in problem for problem in check("c").problems)


def inputs(size=(6, 9), groups=2, channels=3) -> tuple[Tensor, Tensor, Tensor]:
    """Two maps; the points of every fourth cell lie far outside."""
    generator = torch.Generator().manual_seed(1)
    value = torch.randn(2, *size, groups, channels, generator=generator)
    offset = 2 * torch.randn(2, *size, groups, 9, 2, generator=generator)
    offset[:, :, ::4] *= 10
    return value, offset, torch.rand(2, *size, groups, 9, generator=generator)


def by_grid_sample(value: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """Point by point and group by group."""
    rows, columns = value.shape[1:3]
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    result = torch.zeros_like(value)
    for group in range(value.shape[3]):
        maps = value[:, :, :, group].permute(0, 3, 1, 2)
        for point in range(9):
            dx, dy = offset[:, :, :, group, point].unbind(-1)
            u, v = x + point // 3 - 1 + dx, y + point % 3 - 1 + dy
            grid = torch.stack([(2 * u + 1) / columns - 1, (2 * v + 1) / rows - 1], dim=-1)
            sample = F.grid_sample(maps, grid, align_corners=False).permute(0, 2, 3, 1)
            result[:, :, :, group] += weight[:, :, :, group, point, None] * sample
    return result


@pytest.mark.parametrize("gathered", [False, True], ids=["embedding bag", "rows gathered"])
def test_samples_and_their_gradients_are_those_of_grid_sample(monkeypatch, gathered):
    if gathered:
        monkeypatch.setattr(intern_image, "_FUSED", ())
    found, expected = ([x.clone().requires_grad_() for x in inputs()] for _ in range(2))
    samples, theirs = sample_points(*found), by_grid_sample(*expected)
    assert torch.allclose(samples, theirs, atol=1e-4)
    direction = torch.randn(samples.shape, generator=torch.Generator().manual_seed(2))
    (samples * direction).sum().backward()
    (theirs * direction).sum().backward()
    for own, other in zip(found, expected, strict=True):
        assert torch.allclose(own.grad, other.grad, atol=2e-3), (own.grad - other.grad).abs().max()


def test_at_first_a_cell_sees_the_mean_of_its_neighbourhood():
    convolution = DeformableConvolution(8, 2)
    x = torch.randn(1, 5, 7, 8)
    mean = F.avg_pool2d(convolution.to_value(x).permute(0, 3, 1, 2), 3, stride=1, padding=1).permute(0, 2, 3, 1)
    assert torch.allclose(convolution(x), convolution.output(mean), atol=1e-5)


@torch.inference_mode()
def test_bfloat16_holds_on_wide_maps():
    """Positions are kept in float32: in bfloat16 columns beyond the 256th would fall together."""
    torch.manual_seed(0)
    convolution = DeformableConvolution(16, 2).eval()
    torch.nn.init.normal_(convolution.to_offset.weight)
    x = torch.randn(1, 4, 400, 16)
    exact = convolution(x)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = convolution(x)
    half = convolution.bfloat16()(x.bfloat16())
    scale = exact.std()
    assert (mixed.float() - exact).abs().mean() < 0.05 * scale
    assert half.dtype == torch.bfloat16 and (half.float() - exact).abs().mean() < 0.05 * scale
