"""What training draws of its clips."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from msdeaot_tracker.images import VOID, read_image
from msdeaot_tracker.training.observers import Charts, ClipView, StepReport
from msdeaot_tracker.training.pictures import Pictures
from msdeaot_tracker.types import InputError

GREY = 90


def clip() -> ClipView:
    """Two frames of grey; the truth is an object on the left, the prediction one on the right."""
    labels = torch.zeros(2, 64, 64, dtype=torch.uint8)
    predicted = labels.clone()
    labels[:, 16:48, 4:28] = 1
    predicted[:, 16:48, 36:60] = 1
    return ClipView(torch.full((2, 3, 64, 64), GREY, dtype=torch.uint8), labels, predicted)


def report(step: int, steps: int = 100, clip=clip) -> StepReport:
    model = nn.Linear(1, 1)
    return StepReport(step, steps, 0.5, 1e-3, 4, 1.0, 0, {}, model, lambda: nullcontext(model), clip)


def tinted(area: np.ndarray) -> float:
    """Share of the pixels that are neither the clip's grey nor another."""
    return float((np.ptp(area.astype(int), axis=-1) > 20).mean())


def test_rows_are_the_clip_its_truth_and_the_prediction(tmp_path):
    Pictures(tmp_path, every=1).step(report(1))
    picture = read_image(tmp_path / "pictures" / "0000001.png")
    plain, truth, predicted = np.split(picture[:, : picture.shape[1] // 2], 3)  # of the first frame
    left, right = np.s_[:, : plain.shape[1] // 2], np.s_[:, plain.shape[1] // 2 :]
    assert (plain == GREY).all(axis=-1).mean() > 0.8 and tinted(plain) == 0
    assert tinted(truth[left]) > 0.2 and tinted(truth[right]) == 0
    assert tinted(predicted[left]) == 0 and tinted(predicted[right]) > 0.2


def test_pixels_nobody_knows_are_grey(tmp_path):
    view = clip()
    view.labels[view.labels == 1] = VOID
    Pictures(tmp_path, every=1).step(report(1, clip=lambda: view))
    _, truth, predicted = np.split(read_image(tmp_path / "pictures" / "0000001.png"), 3)
    assert tinted(truth) == 0 and (truth > GREY + 20).all(axis=-1).mean() > 0.1
    assert tinted(predicted) > 0.1


def test_there_is_one_every_so_many_steps_and_after_the_last(tmp_path):
    pictures = Pictures(tmp_path, every=3)
    for step in range(1, 8):
        pictures.step(report(step, steps=7))
    assert [path.name for path in sorted(tmp_path.rglob("*.png"))] == ["0000003.png", "0000006.png", "0000007.png"]


def test_a_step_without_a_clip_draws_nothing(tmp_path):
    Pictures(tmp_path, every=1).step(replace(report(1), clip=None))
    assert not list(tmp_path.rglob("*.png"))


def test_the_interval_is_positive(tmp_path):
    with pytest.raises(InputError, match="every 0"):
        Pictures(tmp_path, every=0)


def test_tensorboard_shows_them(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    charts = Charts(tmp_path)
    Pictures(tmp_path, every=5, show=charts.add_picture).step(report(5))
    charts.close()
    events = EventAccumulator(str(tmp_path / "charts")).Reload()
    height, width, _ = read_image(tmp_path / "pictures" / "0000005.png").shape
    assert [(each.step, each.height, each.width) for each in events.Images("clip")] == [(5, height, width)]
