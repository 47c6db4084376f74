"""Alpha-Refine against the reference numbers of the public one, and the comparison against planted mistakes."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import parity
import parity_alpha_refine
import pytest
from torch import nn
from torch.nn import functional as F

from msdeaot_tracker.initializers import alpha_refine_net
from msdeaot_tracker.initializers.alpha_refine import Region, search_region
from msdeaot_tracker.initializers.alpha_refine_net import PixelCorrelation
from msdeaot_tracker.types import Box

KEYS = parity.DATA / "alpha_refine_keys.json"


@pytest.fixture(scope="module")
def shortened() -> dict[str, np.ndarray]:
    """Two queries of a reference file: one inside the image, one over its left and top border."""
    golden = dict(np.load(parity.DATA / "alpha_refine_a.npz"))
    meta = json.loads(str(golden["meta"]))
    count = len(meta["queries"])
    for name, values in golden.items():
        if not name.startswith("q0_") and values.ndim and len(values) in (count, count + 1):
            golden[name] = values[: len(values) - count + 2]
    meta |= {"queries": meta["queries"][:2], "frames": 1}
    return golden | {"meta": np.array(json.dumps(meta)), "frame_crc32": golden["frame_crc32"][:2]}


@pytest.mark.parametrize("name", ["alpha_refine_a.npz", "alpha_refine_b.npz"])
def test_numbers_of_the_public_network_are_reproduced(name):
    report = parity_alpha_refine.check(parity.DATA / name, KEYS)
    assert report.problems == []
    assert 0 < report.largest["corner"] < 0.02
    assert 0 < report.largest["mask_logit"] < 5e-4
    assert report.largest["img_mask_bits"] <= 5


def keep_last_column(monkeypatch):
    def cut_out(image, region):
        x, y, w, h = region
        whole = cv2.copyMakeBorder(image, h, h, w, w, cv2.BORDER_CONSTANT)
        return cv2.resize(whole[y + h : y + 2 * h, x + w : x + 2 * w], (256, 256))

    monkeypatch.setattr(parity_alpha_refine, "cut_out", cut_out)


def round_half_up(monkeypatch):
    def region(box):
        _, _, w, h = search_region(box)
        return Region(
            int(np.floor(box.x + box.w / 2 - w / 2 + 0.5)), int(np.floor(box.y + box.h / 2 - h / 2 + 0.5)), w, h
        )

    monkeypatch.setattr(parity_alpha_refine, "search_region", region)


def map_box_from_the_region(monkeypatch):
    def box_in_image(corners, box):
        x, y, w, h = search_region(box)
        x1, y1, x2, y2 = (float(c) * side / 256 for c, side in zip(corners, (w, h, w, h), strict=True))
        return Box(x + x1, y + y1, x2 - x1, y2 - y1)

    monkeypatch.setattr(parity_alpha_refine, "box_in_image", box_in_image)


def flatten_columns_first(monkeypatch):
    right = PixelCorrelation.forward
    monkeypatch.setattr(PixelCorrelation, "forward", lambda self, f, kernel: right(self, f, kernel.transpose(2, 3)))


def align_corners(monkeypatch):
    def resize(x, like):
        return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)

    monkeypatch.setattr(alpha_refine_net, "resize", resize)


def larger_eps(monkeypatch):
    for module in parity_alpha_refine.build(KEYS).modules():
        if isinstance(module, nn.BatchNorm2d):
            monkeypatch.setattr(module, "eps", 1e-3)


@pytest.mark.parametrize(
    ("mistake", "seen_in"),
    [
        (keep_last_column, "crop_u8"),
        (round_half_up, "crop_window"),
        (map_box_from_the_region, "box["),
        (flatten_columns_first, "corner["),
        (align_corners, "mask_logit["),
        (larger_eps, "corner["),
    ],
)
def test_a_mistake_is_found(tmp_path, monkeypatch, shortened, mistake, seen_in):
    np.savez(tmp_path / "alpha_refine_x.npz", **shortened)
    mistake(monkeypatch)
    assert seen_in in "; ".join(parity_alpha_refine.check(tmp_path / "alpha_refine_x.npz", KEYS).problems)


def test_parity_runs_the_comparison_and_fails_with_it(tmp_path, capsys, shortened):
    np.savez(tmp_path / "alpha_refine_x.npz", **shortened)
    assert parity.main([str(tmp_path)]) == 0
    corner = shortened["corner"] + np.float32([[0, 0, 0, 0], [0, 0.1, 0, 0]])
    np.savez(tmp_path / "alpha_refine_x.npz", **shortened | {"corner": corner, "unheard_of": np.zeros(3)})
    assert parity.main([str(tmp_path)]) == 1
    assert re.search(r"FAILED: corner\[1\] differs by \S+; unheard_of has no counterpart", capsys.readouterr().out)
