"""Half precision: which one is chosen, how near its masks are, and frames that do not fit into it."""

import copy
import logging

import numpy as np
import pytest
import torch

from msdeaot_tracker import InputError, Tracker, TrackerError, load_model, override
from msdeaot_tracker.config import MemoryConfig, ModelConfig, Preset, Stage, TrackerConfig
from msdeaot_tracker.data.procedural import ClipConfig, generate_clip
from msdeaot_tracker.device import pick_precision
from msdeaot_tracker.geometry import mask_iou
from msdeaot_tracker.models import MSDeAOT

SIZE = (64, 80)
BOX = {1: (10, 20, 24, 20)}
CPU = torch.device("cpu")


@pytest.fixture
def model() -> MSDeAOT:
    torch.manual_seed(0)
    config = ModelConfig("resnet_small", (Stage(16, 1, 16), Stage(8, 1, 16, memory_stride=2)), window=2)
    return MSDeAOT(Preset("tiny", config, MemoryConfig(), TrackerConfig(long_edge=96))).eval()


@pytest.fixture(scope="module")
def video() -> list[np.ndarray]:
    still = np.random.default_rng(0).integers(0, 256, (SIZE[0], SIZE[1] + 40, 3), dtype=np.uint8)
    return [np.ascontiguousarray(still[:, t : t + SIZE[1]]) for t in range(8)]


def tracker_in(precision: str, model: MSDeAOT) -> Tracker:
    preset = override(model.preset, f"tracker.precision={precision}")
    return Tracker(model, initializer="box", preset=preset)


def follow(tracker: Tracker, video: list[np.ndarray]) -> list[np.ndarray]:
    return [tracker.initialize(video[0], BOX).labels, *(tracker.track(image).labels for image in video[1:])]


def overflow_in_float16(model: MSDeAOT) -> MSDeAOT:
    """Features beyond 65504 behind a convolution, which the group norm after it takes back."""
    model = copy.deepcopy(model)
    convolution, _ = model.stages[1].transition.merge
    for parameter in (convolution.weight, convolution.bias):
        parameter.data *= 2.0**20
    return model


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_callers_autocast_changes_nothing(precision, model, video):
    expected = follow(tracker_in(precision, model), video)
    with torch.autocast("cpu", torch.bfloat16):
        found = follow(tracker_in(precision, model), video)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


class TestWhichOne:
    @pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
    def test_a_named_one_is_that_one(self, name, model):
        assert pick_precision(name, CPU) == name == tracker_in(name, model).precision

    @pytest.mark.parametrize(
        ("capabilities", "expected"),
        [({"avx512_bf16": True}, "bfloat16"), ({"amx_bf16": True}, "bfloat16"), ({"avx2": True}, "float32")],
    )
    def test_auto_on_a_cpu_is_what_it_multiplies_in(self, capabilities, expected, monkeypatch):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
        assert pick_precision("auto", CPU) == expected

    def test_a_torch_that_cannot_tell_says_so(self, monkeypatch, caplog):
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
        monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
        with caplog.at_level(logging.INFO):
            assert pick_precision("auto", CPU) == "float32"
        assert "bfloat16" in caplog.text

    def test_auto_on_mps_is_float32(self):
        assert pick_precision("auto", torch.device("mps")) == "float32"

    def test_an_unknown_one_is_an_error(self):
        with pytest.raises(InputError, match="'half'"):
            pick_precision("half", CPU)


def test_masks_in_bfloat16_are_those_in_float32():
    model = load_model(device="cpu")
    clip = generate_clip(2**40 + 3, ClipConfig(height=176, width=240, frames=6, max_objects=1))
    results = []
    for precision in ("float32", "bfloat16"):
        tracker = tracker_in(precision, model)
        tracker.initialize(clip.frames[0], {1: clip.labels[0] == 1})
        results.append([tracker.track(frame).labels == 1 for frame in clip.frames[1:]])
        stored = {t.dtype for tokens in tracker._groups[0].memory.view().long_term for t in tokens.tensors}
        assert stored == {getattr(torch, precision)}  # half the room as well
    overlaps = [mask_iou(one, other) for one, other in zip(*results, strict=True)]
    assert min(mask.sum() for mask in results[0]) > 100
    assert np.mean(overlaps) > 0.97
    assert min(overlaps) < 1  # they were computed in another precision


class TestFramesThatDoNotFit:
    def test_they_are_computed_again_in_float32(self, model, video, caplog):
        model = overflow_in_float16(model)
        expected = follow(tracker_in("float32", model), video)
        found = follow(tracker_in("float16", model), video)
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
        assert len(set(map(bytes, expected))) > 1
        assert [record.levelname for record in caplog.records if "float16" in record.message] == ["WARNING"]

    def test_one_in_the_middle_reads_what_was_remembered_in_half_precision(self, model, video, caplog):
        overflowing, tracker = overflow_in_float16(model), tracker_in("float16", model)
        follow(tracker, video[:3])
        assert not caplog.records
        tracker.model = overflowing
        found = tracker.track(video[3])
        tracker.model = model
        assert "frame 3 is not finite in float16" in caplog.text
        steady = tracker_in("float16", model)
        expected = follow(steady, video[:4])[-1]
        assert np.mean(found.labels == expected) > 0.95
        assert np.mean(tracker.track(video[4]).labels == steady.track(video[4]).labels) > 0.95

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_what_is_not_finite_in_float32_either_is_an_error_and_is_forgotten(self, model, video, precision):
        broken = copy.deepcopy(model)
        broken.norm.weight.data[0] = float("nan")
        tracker, steady = tracker_in(precision, model), tracker_in(precision, model)
        for each in (tracker, steady):
            follow(each, video[:3])
        tracker.model = broken
        with pytest.raises(TrackerError, match="not finite"):
            tracker.track(video[3])
        tracker.model = model
        one, other = tracker.track(video[4]), steady.track(video[4])
        assert np.array_equal(one.labels, other.labels) and one.scores == other.scores
        assert one.frame_index == 3

    def test_so_is_what_would_only_show_on_the_next_frame(self, model, video):
        """The identity values are read from the frame's memory alone."""
        tracker = tracker_in("float32", model)
        tracker.initialize(video[0], BOX)
        model.layers[-1].to_id_value.bias.data[0] = float("inf")
        for _ in range(2):
            with pytest.raises(TrackerError, match="not finite"):
                tracker.track(video[1])
        model.layers[-1].to_id_value.bias.data[0] = 0
        assert tracker.track(video[1]).frame_index == 1
