"""The small initializer: its network, its crops and its training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from msdeaot_tracker.data.procedural import ClipConfig, generate_clip
from msdeaot_tracker.geometry import mask_to_box
from msdeaot_tracker.initializers import make_initializer
from msdeaot_tracker.initializers.alpha_refine import box_in_image
from msdeaot_tracker.initializers.alpha_refine_net import middle
from msdeaot_tracker.initializers.ar_small import ArSmall, load_ar_small, save_ar_small
from msdeaot_tracker.initializers.ar_small_net import build_ar_small, colour_evidence, position
from msdeaot_tracker.training import crops
from msdeaot_tracker.training.crops import CropBatches, CropConfig, cut_pair, drawn_box, rough_box
from msdeaot_tracker.training.engine import make_fabric
from msdeaot_tracker.training.refining import RefinerConfig, RefinerTrainer, refinement_errors
from msdeaot_tracker.training.schedule import Schedule
from msdeaot_tracker.training.sources import CropSource
from msdeaot_tracker.types import Box, CheckpointError

SMALL = CropConfig(
    batch_size=4,
    pairs_per_clip=2,
    clips=ClipConfig(height=96, width=128, frames=2, min_objects=2, max_objects=3, object_size=(0.3, 0.6)),
)


def build(seed: int = 0):
    torch.manual_seed(seed)
    return build_ar_small()


@pytest.fixture(scope="module")
def clip():
    return generate_clip(3, SMALL.clips)


# ---------------------------------------------------------------- network


def test_sizes():
    network = build().eval()
    with torch.inference_mode():
        found = network(torch.rand(2, 3, 256, 256))
        kernel = network.reference(torch.rand(1, 3, 256, 256))
        later = network(torch.rand(2, 3, 256, 256), kernel)
    assert kernel.shape == (1, 96, 8, 8)
    for refinement in (found, later):
        assert [tuple(t.shape) for t in refinement] == [(2, 4), (2, 2, 16, 16), (2, 1, 256, 256)]
    assert sum(p.numel() for p in network.parameters()) < 3e6


def test_the_box_is_seen_where_the_picture_says_nothing():
    """Of a uniform picture the maps still tell the box from its surroundings, unlike those of a shift-invariant net."""
    network = build().eval()
    with torch.inference_mode():
        finest = network.encode(torch.full((1, 3, 256, 256), 0.5))[2][0]
    inside, outside = finest[:, 40, 60], finest[:, 20, 60]
    assert (inside - outside).abs().max() > 0.05


class TestColourEvidence:
    """A disc of one colour, on a ground of another, in a box; the image ends at three quarters of the crop."""

    ROW, COLUMN = np.mgrid[:128, :128]
    DISC = torch.from_numpy((ROW - 64) ** 2 + (COLUMN - 64) ** 2 < 28**2)
    INSIDE = position(torch.zeros(1, 3, 128, 128))[:, 2]

    def evidence(self, colour, ground, levels=16) -> torch.Tensor:
        picture = torch.where(self.DISC, torch.tensor(colour)[:, None, None], torch.tensor(ground)[:, None, None])
        picture[:, :, 96:] = 0.0
        mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        return colour_evidence(((picture - mean) / std)[None], self.INSIDE, levels)[0, 0]

    def test_of_colours_that_differ(self):
        share = self.evidence((0.9, 0.2, 0.2), (0.2, 0.6, 0.3))
        ground = ~self.DISC & (torch.arange(128) < 96)
        assert share.shape == (128, 128) and share[self.DISC].min() > 0.99
        in_box = (self.INSIDE[0] > 0) & ~self.DISC
        expected = in_box.sum() / 64**2 / (in_box.sum() / 64**2 + 1)  # all that is counted around the box is ground
        assert share[ground].mean().item() == pytest.approx(expected.item(), abs=1e-3)

    def test_of_one_colour(self):
        share = self.evidence((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        assert torch.allclose(share[:, :96], torch.tensor(0.5), atol=1e-5)

    def test_finer_histograms_tell_closer_colours_apart(self):
        close = (0.5, 0.5, 0.5), (0.5, 0.6, 0.5)
        coarse, fine = (self.evidence(*close, levels=levels)[64, 64].item() for levels in (8, 32))
        assert fine > 0.99 > coarse


def test_the_crop_is_its_own_reference():
    network = build().eval()
    pictures = torch.rand(2, 3, 256, 256)
    with torch.inference_mode():
        one = network(pictures)
        two = network(pictures, network.reference(pictures))
        other = network(pictures, network.reference(pictures.flip(0)))
    apart, further_apart = ((one.mask_logits - x.mask_logits).abs().max() for x in (two, other))
    assert apart < 0.1 * further_apart


def test_every_parameter_of_the_network_is_trained():
    """Also after some steps: no part of the heads has died."""
    network = build().train()
    batch = CropBatches(SMALL, 1, 5)[0][0]
    maps = network.encode(batch.crops.float() / 255)
    found = network.compare(maps, middle(maps)[batch.references])
    overlap, entropy, error = refinement_errors(found, batch.masks.float() / 255, batch.corners)
    (entropy - overlap + error).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    biases_before_a_norm = [name for name in idle if name.endswith(".0.bias")]
    assert idle == biases_before_a_norm


# ---------------------------------------------------------------- crops


def test_batches_follow_from_the_seed():
    one, two, other = (CropBatches(SMALL, 2, seed)[1] for seed in (4, 4, 5))
    assert len(one) == 2
    assert [tuple(t.shape) for t in one[0]] == [(4, 3, 256, 256), (4, 256, 256), (4, 4), (4,)]
    assert all(torch.equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True))
    assert not torch.equal(one[0].crops, other[0].crops)


def test_references_are_the_crop_itself_or_the_one_before_it():
    references = torch.cat([b.references for i in range(4) for b in CropBatches(SMALL, 4, 9)[i]]).view(-1, 4)
    own = torch.arange(4)
    assert torch.equal(references[:, ::2], own[::2].expand(len(references), -1))
    assert ((references == own) | (references == own - 1)).all() and (references != own).any()


@pytest.mark.parametrize("searched", [False, True])
def test_the_corners_are_those_of_the_mask(clip, searched):
    """Where nothing leaves the crop they are the mask's own rectangle, also mirrored and upside down."""
    checked = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        for crop, corners in cut_pair(rng, clip.frames, clip.labels, searched, 80):
            mask = crop[..., 3] > 127
            x, y, w, h = mask_to_box(mask)
            if corners.min() > 0 and corners.max() < 256:
                assert np.allclose([x, y, x + w, y + h], corners, atol=10)  # one or two pixels of the image
                checked += 1
    assert checked > 20


def test_the_corners_are_where_the_initializer_reads_them(clip, monkeypatch):
    """Corners of a crop lead back to the object's rectangle in the image, wherever the box was drawn."""
    truth = (clip.labels[:1] == 1).astype(np.uint8)
    tight = mask_to_box(truth[0] > 0)
    drawn = []
    monkeypatch.setattr(crops, "drawn_box", lambda rng, box: drawn.append(drawn_box(rng, box)) or drawn[-1])
    plain = 0
    for seed in range(30):
        (_, corners), _ = cut_pair(np.random.default_rng(seed), clip.frames[:1], truth, False, 1)
        box = drawn[-2]
        found = box_in_image(corners, box)
        if np.allclose(found, tight, atol=0.05):
            plain += 1
    assert 5 <= plain < 30  # the others are mirrored or upside down


def test_boxes_as_drawn_and_as_predicted():
    tight = Box(100, 50, 40, 80)
    rng = np.random.default_rng(0)
    drawn = np.array([drawn_box(rng, tight) for _ in range(2000)])
    rough = np.array([rough_box(rng, tight) for _ in range(2000)])
    ratios = drawn[:, 2:] / tight[2:]
    assert ratios.min() > 0.79 and ratios.max() < 1.26 and 0.4 < (np.abs(ratios[:, 0] - 1) < 0.041).mean() < 0.8
    ratios, centres = rough[:, 2:] / tight[2:], (rough[:, :2] + rough[:, 2:] / 2 - (120, 90)) / tight[2:]
    assert 0.74 < ratios.min() < 0.76 and 1.3 < ratios.max() < 1.34
    assert 0.19 < np.abs(centres).max() <= 0.2


# ---------------------------------------------------------------- training and weights


def test_it_learns_the_crops_it_sees(tmp_path):
    schedule = Schedule(learning_rate=2e-3)
    config = RefinerConfig(steps=1000, batch_size=4, precision="32-true", schedule=schedule)
    trainer = RefinerTrainer(build(), config, tmp_path, CropSource(SMALL), fabric=make_fabric("cpu"))
    batch = CropBatches(SMALL, 1, 3)[0][0]
    notes = []
    for trainer._step in range(200, 216):
        notes.append([*trainer._train_step({0: batch})[1].values()])
    (first, corners), (last, last_corners) = np.mean(notes[:2], axis=0), np.mean(notes[-2:], axis=0)
    assert last > 1.2 * first and last_corners < 0.5 * corners


def test_weights_return_in_half_precision(tmp_path):
    network = build().eval()
    save_ar_small(tmp_path / "é.safetensors", network)
    loaded = load_ar_small(tmp_path / "é.safetensors")
    assert (tmp_path / "é.safetensors").stat().st_size < 10e6
    picture = torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        assert torch.allclose(loaded(picture).mask_logits, network(picture).mask_logits, atol=0.05)


def test_files_that_are_something_else(tmp_path):
    from safetensors.torch import save_file

    state = {key: tensor.contiguous() for key, tensor in build().state_dict().items()}
    save_file(state, tmp_path / "plain.safetensors")
    with pytest.raises(CheckpointError, match="format None"):
        ArSmall(tmp_path / "plain.safetensors", device="cpu")
    state["surplus"] = torch.zeros(1)
    save_file(state, tmp_path / "surplus.safetensors", {"format": "msdeaot-tracker-ar-small-1"})
    with pytest.raises(CheckpointError, match="surplus"):
        ArSmall(tmp_path / "surplus.safetensors", device="cpu")
    with pytest.raises(CheckpointError, match="msdeaot train ar-small"):
        make_initializer("ar-small", device="cpu")
    with pytest.raises(CheckpointError, match="cannot read"):
        ArSmall(tmp_path / "none.safetensors", device="cpu")
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "plain.safetensors").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged"):
        ArSmall(tmp_path / "torn.safetensors", device="cpu")


def test_the_command_trains_one_that_loads(tmp_path):
    from msdeaot_tracker.cli.main import main

    command = ["train", "ar-small", "--steps", "1", "--batch-size", "2", "--workers", "0"]
    assert main([*command, "--device", "cpu", "--out", str(tmp_path)]) == 0
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    estimate = make_initializer("ar-small", device="cpu", weights=tmp_path / "weights.safetensors")(
        image, Box(20, 15, 30, 24)
    )
    assert estimate.source == "ar-small" and estimate.mask.any()
