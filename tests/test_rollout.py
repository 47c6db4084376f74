"""A clip through the model as in tracking, its loss, its schedule, and what of the model is trained."""

from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from msdeaot_tracker import InputError, Tracker
from msdeaot_tracker.config import MemoryConfig, ModelConfig, Preset, Stage, TrackerConfig
from msdeaot_tracker.data.procedural.clip import ClipConfig, generate_clip
from msdeaot_tracker.images import VOID
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.models.encoder import build_encoder
from msdeaot_tracker.models.swin import SwinEncoder
from msdeaot_tracker.training.config import LoopConfig
from msdeaot_tracker.training.losses import bootstrapped_cross_entropy, segmentation_loss, soft_jaccard_loss
from msdeaot_tracker.training.parameters import AveragedWeights, freeze, parameter_groups
from msdeaot_tracker.training.rollout import rollout
from msdeaot_tracker.training.schedule import Schedule

MEMORY = MemoryConfig(long_term_gap=2, long_term_max=2)
TINY = Preset(
    "tiny",
    ModelConfig(
        "resnet_small", (Stage(16, 1, 16), Stage(8, 1, 16, memory_stride=2)), window=2, frozen_batch_norm=False
    ),
    MEMORY,
    TrackerConfig(long_edge=97, precision="float32"),
)


def tiny(seed: int = 0) -> MSDeAOT:
    torch.manual_seed(seed)
    return MSDeAOT(TINY).eval()


def tiny_swin() -> MSDeAOT:
    torch.manual_seed(0)
    settings = ModelConfig("", (Stage(16, 1, 16), Stage(8, 1, 16, memory_stride=2)), window=2, align_corners=False)
    encoder = SwinEncoder(24, depths=(1, 2, 2), heads=(2, 2, 2), window=3)
    return MSDeAOT(Preset("", settings, MEMORY, TrackerConfig(long_edge=96, precision="float32")), encoder).eval()


def tiny_aot() -> MSDeAOT:
    torch.manual_seed(0)
    settings = replace(
        TINY.model, stages=(Stage(16, 2, 32, memory_stride=2),), propagation="transformer", decoder="fpn"
    )
    model = MSDeAOT(replace(TINY, model=settings)).eval()
    for layer in model.layers:  # it starts at 0, where it says nothing
        nn.init.normal_(layer.short_term.relative_value)
    return model


def frozen_tiny() -> MSDeAOT:
    torch.manual_seed(0)
    return MSDeAOT(replace(TINY, model=replace(TINY.model, frozen_batch_norm=True)))


@pytest.fixture(scope="module")
def clip():
    return generate_clip(5, ClipConfig(height=81, width=97, frames=6, min_objects=2, max_objects=3))


def as_batch(frames: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255, torch.from_numpy(labels)[None].long()


class TestWhatIsTrainedIsWhatTracks:
    """Against the Tracker's own results, on several objects, after memory has grown and evicted."""

    @pytest.mark.parametrize("build", [tiny, tiny_swin, tiny_aot])
    def test_logits_and_labels_frame_by_frame(self, clip, build):
        model = build()
        align_corners = model.preset.model.align_corners
        rows, columns = (81, 97) if align_corners else (80, 96)
        pictures, masks = clip.frames[:, :rows, :columns], clip.labels[:, :rows, :columns]
        frames, labels = as_batch(pictures, masks)
        with torch.inference_mode():
            found = rollout(model, frames, labels, MEMORY)[0]
            enlarged = F.interpolate(found, labels.shape[-2:], mode="bilinear", align_corners=align_corners)
        decoded = []
        model.decoder.register_forward_hook(lambda module, given, logits: decoded.append(logits[0]))
        tracker = Tracker(model)
        tracker.initialize(pictures[0], {k: masks[0] == k for k in np.unique(masks[0]) if k})
        known = len(tracker.object_ids) + 1
        assert known > 2
        for t in range(1, len(pictures)):
            result = tracker.track(pictures[t])
            assert torch.allclose(found[t, :known], decoded[-1][:known], atol=1e-3)
            assert np.array_equal(result.labels, enlarged[t].argmax(dim=0).numpy())
        assert len(decoded) == len(pictures) - 1
        assert max(found[t, :known].std() for t in range(1, len(pictures))) > 0.1
        assert tracker._groups[0].memory.view().long_term_frames == (0, 4)  # 2 was there, and had to go


@pytest.mark.parametrize("channels", [[0, 5, 1, 8, 2, 3, 4, 6, 7, 10, 9], [3, 5, 1, 8, 2, 0, 4, 6, 7, 10, 9]])
def test_channels_are_another_naming_of_the_identities(clip, channels):
    """A model whose identity channels are permuted does with plain channels what the model does with permuted ones."""
    model, renamed = tiny(), tiny()
    frames, labels = as_batch(clip.frames, clip.labels)
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


def test_every_parameter_of_a_transformer_learns(clip):
    model = tiny_aot().train()
    frames, labels = as_batch(clip.frames, clip.labels)
    rollout(model, frames[:, :3], labels[:, :3], MEMORY)[:, 1:, :2].square().mean().backward()
    own = {name: p.grad for name, p in model.named_parameters() if not name.startswith("encoder.")}
    assert [name for name, gradient in own.items() if gradient is None or not gradient.abs().sum() > 0] == []


def test_true_masks_reach_the_memory_of_later_frames_only(clip):
    model = tiny()
    frames, labels = as_batch(clip.frames, clip.labels)
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


def one_object(frames: int, size: int = 65) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    labels = torch.zeros(1, frames, size, size, dtype=torch.int64)
    labels[:, :, 10:40, 15:45] = 1
    return torch.rand(1, frames, 3, size, size), labels


def gradients(model: MSDeAOT, frames, labels, seed: int = 0, **settings) -> dict[str, torch.Tensor | None]:
    model.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    logits = rollout(model, frames, labels, MEMORY, **settings)
    segmentation_loss(
        logits[0], F.interpolate(labels[0, :, None].float(), logits.shape[-2:])[:, 0].long(), 0.5
    ).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def _reaches(output: torch.Tensor, parameter: torch.Tensor) -> bool:
    return output.requires_grad and (
        torch.autograd.grad(output.sum(), parameter, retain_graph=True, allow_unused=True)[0] is not None
    )


class TestFrozenIdentity:
    @pytest.mark.parametrize("true_masks", [False, True])
    def test_only_with_predicted_masks_the_identity_embedding_does_not_learn(self, true_masks):
        model = tiny().train()
        found = gradients(model, *one_object(3), freeze_identity=True, true_masks=true_masks)
        without = {name for name, gradient in found.items() if gradient is None}
        identity = {name for name in found if ".identity." in name}
        assert without == (set() if true_masks else identity) and len(identity) == 8

    def test_what_is_computed_stays_the_same(self):
        model, batch = tiny(), one_object(3)
        with torch.inference_mode():
            one, two = (rollout(model, *batch, MEMORY, freeze_identity=frozen) for frozen in (False, True))
        assert torch.equal(one, two)


class TestCheckpointedFrames:
    @pytest.mark.parametrize("build", [frozen_tiny, tiny])
    def test_gradients_and_statistics_are_the_same_with_dropout(self, build):
        batch, states, found = one_object(5), [], []
        for checkpointed, seed in ((False, 3), (True, 3), (True, 4)):
            model = build().train()
            found.append(gradients(model, *batch, seed, checkpoint_frames=checkpointed))
            states.append(model.state_dict())
        kept, again, other = found
        assert all(torch.allclose(kept[key], again[key], rtol=1e-4, atol=1e-6) for key in kept)
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        assert not all(torch.allclose(kept[key], other[key], rtol=1e-2, atol=1e-4) for key in kept)

    def test_a_further_frame_takes_far_less_memory(self):
        model = frozen_tiny().train()
        by_frame = {}
        for checkpointed in (False, True):
            few, many = (peak_bytes(model, *one_object(n), checkpoint_frames=checkpointed) for n in (3, 7))
            by_frame[checkpointed] = (many - few) / 4
        assert by_frame[True] < 0.25 * by_frame[False]


def peak_bytes(model: MSDeAOT, frames, labels, **settings) -> int:
    """The most that torch's CPU allocator held at once for a forward and a backward pass."""
    model.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        gradients(model, frames, labels, **settings)
    events = recorded.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return max(accumulate(change for _, change in changes))


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

    @pytest.mark.parametrize("loss", [lambda *a: segmentation_loss(*a, 0.3), soft_jaccard_loss])
    def test_a_batch_may_be_shared_out(self, loss):
        """Also with unequal numbers of objects, unknown pixels, and samples that show no object."""
        torch.manual_seed(0)
        logits, labels = 3 * torch.randn(4, 5, 6, 7), torch.randint(0, 5, (4, 6, 7))
        labels[0], labels[1, 3:] = 0, VOID
        labels[2] = labels[2].clamp(max=1)
        whole = loss(logits, labels)
        for size in (1, 2):
            parts = [loss(*part) for part in zip(logits.split(size), labels.split(size), strict=True)]
            assert torch.stack(parts).mean().item() == pytest.approx(whole.item(), rel=1e-5)

    def test_objects_of_all_samples_may_be_pooled(self):
        """One sample with two objects, one of them found, and one with a single object, found: 1/3 instead of 1/4."""
        labels = torch.tensor([[[0, 1, 1, 2]], [[0, 0, 1, 1]]])
        predicted = torch.tensor([[[2, 1, 1, 0]], [[0, 0, 1, 1]]])
        logits = 60 * F.one_hot(predicted, 4).permute(0, 3, 1, 2).float()
        assert soft_jaccard_loss(logits, labels).item() == pytest.approx(1 / 4, abs=1e-5)
        assert soft_jaccard_loss(logits, labels, pool_objects=True).item() == pytest.approx(1 / 3, abs=1e-5)

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

    def test_aots_warm_up_starts_at_the_final_rate(self):
        schedule = Schedule(learning_rate=1.0, final_learning_rate=0.1, warm_up=0.1, warm_up_from=0.1)
        rates = [schedule.learning_rate_at(progress) for progress in (0, 0.05, 0.1)]
        assert rates == pytest.approx([0.1, 0.55, 1.0])
        assert schedule.learning_rate_at(0.05, 0.1) == pytest.approx(0.1 + 0.1 * 0.45)

    def test_a_share_of_the_rate_ends_where_the_whole_ends(self):
        schedule = Schedule(learning_rate=1.0, final_learning_rate=0.1, warm_up=0.1, decay_power=1.0)
        assert schedule.learning_rate_at(0.1, 0.1) == pytest.approx(0.1 + 0.1 * 0.9)
        assert schedule.learning_rate_at(1.0, 0.1) == pytest.approx(0.1)


class TestParameters:
    def test_biases_norms_and_the_output_do_not_decay(self):
        model = tiny()
        decayed, free = parameter_groups(model, LoopConfig(weight_decay=0.07))
        assert decayed["weight_decay"] == 0.07 and free["weight_decay"] == 0
        assert decayed["rate"] == free["rate"] == 1
        assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))
        bare = {id(p) for p in free["params"]}
        layer = model.layers[0]
        assert {id(p) for p in (layer.norm1.weight, layer.to_gate.bias, model.decoder.output.weight)} <= bare
        assert id(layer.to_gate.weight) not in bare

    def test_position_terms_of_swin_do_not_decay(self):
        model = tiny_swin()
        free = [p for g in parameter_groups(model, LoopConfig()) if g["weight_decay"] == 0 for p in g["params"]]
        tables = [p for name, p in model.named_parameters() if name.endswith("relative_position_bias_table")]
        assert len(tables) == 5 and all(any(p is q for q in free) for p in tables)

    def test_the_encoder_has_a_rate_of_its_own(self):
        model = tiny()
        groups = parameter_groups(model, LoopConfig(encoder_rate=0.1))
        assert sorted((g["rate"], g["weight_decay"]) for g in groups) == [(0.1, 0), (0.1, 0.05), (1, 0), (1, 0.05)]
        slow = {id(p) for g in groups if g["rate"] == 0.1 for p in g["params"]}
        assert slow == {id(p) for p in model.encoder.parameters()}

    def test_an_optimizer_state_finds_its_parameters_again(self):
        """What was saved of one model goes on with another one of the same settings."""
        config, states = LoopConfig(encoder_rate=0.1, frozen=("stem",)), []
        for seed in (0, 1):
            model = tiny(seed)
            freeze(model, config.frozen)
            optimizer = torch.optim.AdamW(parameter_groups(model, config), lr=1e-3)
            if not states:
                for parameter in model.parameters():
                    parameter.grad = torch.ones_like(parameter) * parameter.numel()
                optimizer.step()
                states.append(optimizer.state_dict())
            else:
                optimizer.load_state_dict(states[0])
                found = {
                    p: optimizer.state[p]["exp_avg"].flatten()[0].item() for p in model.parameters() if p.requires_grad
                }
                assert all(mean == pytest.approx(0.1 * p.numel()) for p, mean in found.items())

    @pytest.mark.parametrize("encoder", ["resnet50", "resnet_small", "mobilenetv2", "swin_base"])
    @pytest.mark.parametrize("part", ["stem", "stage1", "encoder"])
    def test_a_frozen_part_is_what_it_says(self, encoder, part):
        """The stem and the first stage make the stride-4 map; only what makes the coarser ones learns without them."""
        model = nn.Module()
        model.encoder_name = encoder
        model.encoder = build_encoder(encoder, frozen_batch_norm=TINY.model.frozen_batch_norm)
        freeze(model, ["stem", "stage1"] if part == "stage1" else [part])
        left = {name for name, p in model.encoder.named_parameters() if p.requires_grad}
        features = model.encoder(torch.rand(2, 3, 64, 64))
        assert features.deep.requires_grad == (part != "encoder")
        assert bool(left) == (part != "encoder")
        first = features.maps[4]
        learns = {name for name, p in model.encoder.named_parameters() if p.requires_grad and _reaches(first, p)}
        if part == "stem":
            assert learns
        elif encoder == "swin_base" and part == "stage1":
            assert learns == {"norms.0.weight", "norms.0.bias"}
        else:
            assert not learns

    def test_a_frozen_batch_norm_stands_still_while_the_model_trains(self):
        model = tiny()
        freeze(model, ["stem"])
        model.train()
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        torch.manual_seed(0)
        images = torch.rand(2, 3, 65, 65)
        one = model.encoder.network.bn1(model.encoder.network.conv1(images))
        both = model.encoder.network.bn1(model.encoder.network.conv1(torch.cat([images, 5 * images])))[:2]
        model.encode(images)
        after = model.state_dict()
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        assert torch.allclose(one, both, atol=1e-5)
        assert changed and not any(key.startswith(("encoder.network.conv1", "encoder.network.bn1")) for key in changed)

    def test_a_frozen_part_drops_no_path_while_the_model_trains(self):
        torch.manual_seed(0)
        encoder = SwinEncoder(24, depths=(2, 2, 2), heads=(2, 2, 2), window=3, drop_path=0.9)
        model = nn.Module()
        model.encoder_name, model.encoder = "swin_base", encoder
        images = torch.rand(2, 3, 48, 48)

        def repeats(stride: int) -> bool:
            """Whether the stage that ends at this stride gives the same map again and again."""
            first, *others = (encoder(images).maps[stride] for _ in range(8))
            return all(torch.equal(first, other) for other in others)

        model.train()
        assert not repeats(4)
        freeze(model, ["stem", "stage1"])
        model.train()
        assert repeats(4) and not repeats(16)

    @pytest.mark.parametrize("name", ["decoder", "stage9", ""])
    def test_an_unknown_part_is_an_error_that_lists_the_known_ones(self, name):
        with pytest.raises(InputError, match="encoder, stem, stage1"):
            freeze(tiny(), [name])

    def test_averaged_weights_follow_the_model(self):
        model = torch.nn.Linear(1, 1)
        averaged = AveragedWeights(model, steps=10_000)
        with torch.no_grad():
            model.weight.fill_(5.0)
        for step in range(300):
            averaged.update(model, step)
        assert averaged.state["weight"].item() == pytest.approx(5.0, abs=0.05)
