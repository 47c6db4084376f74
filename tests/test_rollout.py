"""A clip through the model as in tracking, its loss, its schedule, and what of the model is trained."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from msdeaot_tracker import Tracker
from msdeaot_tracker.config import MemoryConfig, ModelConfig, Preset, Stage, TrackerConfig
from msdeaot_tracker.data.procedural import ClipConfig, generate_clip
from msdeaot_tracker.images import VOID
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.training.config import LoopConfig
from msdeaot_tracker.training.losses import bootstrapped_cross_entropy, soft_jaccard_loss
from msdeaot_tracker.training.parameters import AveragedWeights, parameter_groups
from msdeaot_tracker.training.rollout import rollout
from msdeaot_tracker.training.schedule import Schedule

MEMORY = MemoryConfig(long_term_gap=2, long_term_max=2)
TINY = Preset(
    "tiny",
    ModelConfig(
        "resnet_small", (Stage(16, 1, 16), Stage(8, 1, 16, memory_stride=2)), window=2, frozen_batch_norm=False
    ),
    MEMORY,
    TrackerConfig(long_edge=97),
)


def tiny(seed: int = 0) -> MSDeAOT:
    torch.manual_seed(seed)
    return MSDeAOT(TINY).eval()


@pytest.fixture(scope="module")
def clip():
    return generate_clip(5, ClipConfig(height=81, width=97, frames=6, min_objects=2, max_objects=3))


def as_batch(clip) -> tuple[torch.Tensor, torch.Tensor]:
    frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2)[None].float() / 255
    return frames, torch.from_numpy(clip.labels)[None].long()


def test_what_is_trained_is_what_tracks(clip):
    """The rollout's labels are the Tracker's, frame by frame, long after the first memory write and eviction."""
    model = tiny()
    frames, labels = as_batch(clip)
    with torch.inference_mode():
        logits = rollout(model, frames, labels, MEMORY)[0]
        expected = F.interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=True).argmax(dim=1).numpy()
    tracker = Tracker(model)
    tracker.initialize(clip.frames[0], {k: clip.labels[0] == k for k in np.unique(clip.labels[0]) if k})
    for t in range(1, len(clip.frames)):
        assert np.array_equal(tracker.track(clip.frames[t]).labels, expected[t])


@pytest.mark.parametrize("channels", [[0, 5, 1, 8, 2, 3, 4, 6, 7, 10, 9], [3, 5, 1, 8, 2, 0, 4, 6, 7, 10, 9]])
def test_channels_are_another_naming_of_the_identities(clip, channels):
    """A model whose identity channels are permuted does with plain channels what the model does with permuted ones."""
    model, renamed = tiny(), tiny()
    frames, labels = as_batch(clip)
    channels = torch.tensor([channels])
    with torch.inference_mode():
        for stage in renamed.stages:
            weight = stage.identity.convolution.weight
            weight.copy_(weight[:, channels[0]].clone())
        output = renamed.decoder.output
        output.weight.copy_(output.weight[channels[0]].clone())
        output.bias.copy_(output.bias[channels[0]].clone())
        found = rollout(model, frames, labels, MEMORY, channels=channels)
        expected = rollout(renamed, frames, labels, MEMORY)
        plain = rollout(model, frames, labels, MEMORY)
    assert torch.allclose(found, expected, atol=1e-3)
    assert not torch.allclose(found, plain, atol=1e-2)


def test_true_masks_reach_the_memory_of_later_frames_only(clip):
    model = tiny()
    frames, labels = as_batch(clip)
    changed = labels.clone()
    changed[:, 1] = 0
    with torch.inference_mode():
        one, two = (rollout(model, frames, y, MEMORY, true_masks=True) for y in (labels, changed))
    assert torch.equal(one[:, :2], two[:, :2])
    assert not torch.allclose(one[:, 2], two[:, 2], atol=1e-4)


def test_void_pixels_of_the_reference_are_no_object():
    model = tiny().eval()
    frames, labels = torch.rand(1, 2, 3, 49, 49), torch.zeros(1, 2, 49, 49, dtype=torch.int64)
    labels[:, :, 10:30, 10:30] = 1
    void = labels.clone()
    void[:, 0, :5] = VOID
    switched_off = [(rollout(model, frames, y, MEMORY) < -9e3).all(dim=(-1, -2)) for y in (labels, void)]
    assert torch.equal(*switched_off) and switched_off[0].sum() == 2 * (model.preset.model.objects - 1)


class TestLosses:
    def test_bootstrapping_takes_the_hardest_pixels(self):
        logits = torch.zeros(1, 2, 1, 10)
        logits[:, 0] = torch.arange(10.0)
        labels = torch.ones(1, 1, 10, dtype=torch.int64)
        losses = F.softplus(torch.arange(10.0))
        assert bootstrapped_cross_entropy(logits, labels, 1.0) == pytest.approx(losses.mean().item(), rel=1e-5)
        assert bootstrapped_cross_entropy(logits, labels, 0.2) == pytest.approx(losses[8:].mean().item(), rel=1e-5)

    def test_jaccard_of_hard_masks_is_one_minus_their_iou(self):
        labels = torch.tensor([[[0, 1, 1, 1, 2, 2]]])
        predicted = torch.tensor([[[1, 1, 1, 0, 2, 2]]])
        logits = 60 * F.one_hot(predicted, 4).permute(0, 3, 1, 2).float()
        assert soft_jaccard_loss(logits, labels).item() == pytest.approx((0.5 + 0.0) / 2, abs=1e-5)

    @pytest.mark.parametrize("loss", [lambda *a: bootstrapped_cross_entropy(*a, 0.3), soft_jaccard_loss])
    def test_void_pixels_count_as_if_they_were_not_there(self, loss):
        torch.manual_seed(0)
        logits, labels = torch.randn(2, 4, 5, 8), torch.randint(0, 4, (2, 5, 8))
        labels[:, :, 5:] = VOID
        logits.requires_grad_()
        found = loss(logits, labels)
        assert found.item() == pytest.approx(loss(logits[..., :5], labels[..., :5]).item(), rel=1e-5)
        found.backward()
        assert not logits.grad[..., 5:].any() and logits.grad[..., :5].any()

    def test_a_frame_without_objects_has_no_jaccard_loss(self):
        logits = torch.randn(1, 3, 4, 4, requires_grad=True)
        loss = soft_jaccard_loss(logits, torch.zeros(1, 4, 4, dtype=torch.int64))
        loss.backward()
        assert loss.item() == 0 and torch.isfinite(logits.grad).all()


class TestSchedule:
    def test_landmarks(self):
        schedule = Schedule(learning_rate=1.0, final_learning_rate=0.1, warm_up=0.1, decay_power=1.0)
        assert schedule.learning_rate_at(0.05) == pytest.approx(0.5)
        assert schedule.learning_rate_at(0.1) == pytest.approx(1.0)
        assert schedule.learning_rate_at(0.55) == pytest.approx(0.55)
        assert schedule.learning_rate_at(1.0) == pytest.approx(0.1)
        assert schedule.hard_fraction_at(0) == 1 and schedule.hard_fraction_at(0.9) == pytest.approx(0.15)
        assert schedule.auxiliary_at(0) == 1 and schedule.auxiliary_at(0.5) == 0
        assert [schedule.length_at(p) for p in (0, 0.49, 0.5, 1)] == [3, 3, 4, 5]

    def test_biases_and_norms_do_not_decay(self):
        model = tiny()
        decayed, free = parameter_groups(model, LoopConfig(weight_decay=0.07))
        assert decayed["weight_decay"] == 0.07 and free["weight_decay"] == 0
        assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))
        bare = {id(p) for p in free["params"]}
        assert {id(model.layers[0].norm1.weight), id(model.layers[0].to_gate.bias)} <= bare
        assert id(model.layers[0].to_gate.weight) not in bare

    def test_averaged_weights_follow_the_model(self):
        model = torch.nn.Linear(1, 1)
        averaged = AveragedWeights(model, steps=10_000)
        with torch.no_grad():
            model.weight.fill_(5.0)
        for step in range(300):
            averaged.update(model, step)
        assert averaged.state["weight"].item() == pytest.approx(5.0, abs=0.05)
