"""Whole sequences in the middle of training: the procedural set, its scores, and that looking changes nothing."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from msdeaot_tracker.checkpoints import save_checkpoint
from msdeaot_tracker.cli.main import main
from msdeaot_tracker.cli.validation import PROCEDURAL, track_and_score, validation_sequences
from msdeaot_tracker.config import MemoryConfig, ModelConfig, Preset, Stage, TrackerConfig, find_preset
from msdeaot_tracker.data.batches import BatchConfig
from msdeaot_tracker.data.datasets.mask_sequences import find_sequences
from msdeaot_tracker.data.procedural.held_out import HeldOut
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.training.config import TrainConfig
from msdeaot_tracker.training.engine import make_fabric
from msdeaot_tracker.training.observers import StepReport
from msdeaot_tracker.training.schedule import Schedule
from msdeaot_tracker.training.sources import ProceduralSource
from msdeaot_tracker.training.tracking import Trainer
from msdeaot_tracker.training.validation import Validation
from msdeaot_tracker.types import InputError

TINY = Preset(
    "tiny",
    ModelConfig(
        "resnet_small",
        (Stage(16, 1, 16), Stage(8, 1, 16, memory_stride=2)),
        window=2,
        dropout=0.1,
        frozen_batch_norm=False,
    ),
    MemoryConfig(long_term_gap=2, long_term_max=2),
    TrackerConfig(long_edge=97),
)
RUN = TrainConfig(
    steps=3, batch_size=1, workers=0, precision="32-true", memory=TINY.memory, schedule=Schedule(lengths=((0.0, 3),))
)
CLIPS = BatchConfig(size=49, frames=3, margin=15, spare_frames=1, samples_per_clip=2)
FEW = HeldOut(count=4, frames=5, size=(80, 64))


@pytest.fixture
def model() -> MSDeAOT:
    torch.manual_seed(0)
    return MSDeAOT(find_preset("msdeaot-small"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("procedural") / "Gerechnete Bilder, schön"
    size = "x".join(map(str, FEW.size))
    assert main(f"data procedural --count {FEW.count} --frames {FEW.frames} --size {size}".split() + [str(folder)]) == 0
    return folder


def report(model: MSDeAOT, step: int, steps: int = 100) -> StepReport:
    @contextmanager
    def averaged():
        yield model

    return StepReport(step, steps, 1.0, 1e-3, 4, 1.0, 0, {}, model, averaged)


class TestHeldOut:
    def test_the_folder_holds_what_memory_holds_to_the_last_bit(self, folder):
        read = find_sequences(folder)
        assert [sequence.name for sequence in read] == [sequence.name for sequence in FEW]
        for ours, theirs in zip(FEW, read, strict=True):
            assert len(ours) == len(theirs) == FEW.frames
            for t in range(FEW.frames):
                assert np.array_equal(ours.image(t), theirs.image(t))
                mine, other = ours.masks(t), theirs.masks(t)
                assert mine.keys() == other.keys()
                assert all(np.array_equal(mine[i], other[i]) for i in mine)

    def test_sequences_follow_from_their_number_and_differ(self):
        more = HeldOut(count=len(FEW) + 1, frames=FEW.frames, size=FEW.size)
        frames = [sequence.clip.frames for sequence in more]
        assert all(np.array_equal(a, b.clip.frames) for a, b in zip(frames, FEW, strict=False))
        assert all(not np.array_equal(a, b) for i, a in enumerate(frames) for b in frames[:i])

    def test_there_are_one_object_two_objects_and_one_that_goes(self):
        usual = list(HeldOut(count=4, size=(160, 96)))
        assert [s.clip.visibility.shape[1] for s in usual[:3]] == [1, 2, 1]
        assert usual[3].clip.visibility.min() == 0 < usual[3].clip.visibility[0].min()

    def test_small_ones_are_tiny_fast_and_leaving(self):
        size = (640, 360)
        tiny, fast, leaving = HeldOut(count=3, frames=30, size=size, kind="small")
        assert [s.name for s in (tiny, fast, leaving)] == ["000-tiny", "001-fast", "002-leaving"]
        for sequence in (tiny, fast, leaving):
            pixels = np.count_nonzero(sequence.clip.labels[0])
            assert 16 < pixels < (0.08 * size[1]) ** 2
        assert leaving.clip.visibility.min() == 0
        with pytest.raises(InputError, match="kind 'large'"):
            HeldOut(kind="large")

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [("--count 0", "count 0"), ("--frames 1", "frames 1"), ("--seed -1", "seed -1"), ("--size 8x64", "width=8")],
    )
    def test_what_cannot_be_drawn_is_named(self, arguments, named, tmp_path, capsys):
        assert main(["data", "procedural", str(tmp_path / "new"), *arguments.split()]) == 2
        assert named in capsys.readouterr().err
        assert not (tmp_path / "new").exists()

    def test_a_folder_with_sequences_is_not_written_into(self, folder, capsys):
        assert main(["data", "procedural", str(folder), "--count", "1"]) == 2
        assert str(folder) in capsys.readouterr().err
        assert len(find_sequences(folder)) == len(FEW)


class TestTrackAndScore:
    def test_scores_are_those_of_evaluate(self, model, folder, tmp_path):
        save_checkpoint(tmp_path / "weights.safetensors", model)
        options = ["--init", "mask", "--device", "cpu", "--weights", str(tmp_path / "weights.safetensors")]
        assert main(["evaluate", str(folder), *options, "--json", str(tmp_path / "scores.json")]) == 0
        expected = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["mean"]
        for sequences in (FEW, validation_sequences(str(folder))):
            scores = track_and_score(model.eval(), sequences)
            assert (scores["J"], scores["success"]) == (expected["jaccard"], expected["success"])
            assert scores["fps"] > 0
        assert 0 < expected["jaccard"] < 1

    def test_a_folder_without_sequences_is_named(self, tmp_path):
        with pytest.raises(InputError, match="JPEGImages"):
            validation_sequences(str(tmp_path))
        assert len(validation_sequences(PROCEDURAL)) == len(HeldOut())


class TestValidation:
    def test_it_measures_every_so_many_steps_and_after_the_last(self, model):
        calls = []
        validation = Validation(lambda model: {"J": calls.append(model.training) or 0.5}, every=3)
        found = [validation.step(report(model, step, steps=7)) for step in range(1, 8)]
        assert [i for i, numbers in enumerate(found, start=1) if numbers] == [3, 6, 7]
        assert found[2] == {"validation_J": 0.5}
        assert calls == [False] * 3

    def test_modes_and_random_numbers_are_as_before(self, model):
        model.train()
        model.encoder.eval()  # as parts that are frozen
        modes, state = [module.training for module in model.modules()], torch.get_rng_state()

        def measure(model):
            torch.rand(3)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Validation(measure, every=1).step(report(model, 1))
        assert [module.training for module in model.modules()] == modes
        assert torch.equal(torch.get_rng_state(), state)

    def test_training_goes_on_as_if_nothing_had_been_measured(self, tmp_path):
        def weights(folder: Path, *observers: Validation) -> dict[str, torch.Tensor]:
            torch.manual_seed(0)
            model, fabric = MSDeAOT(TINY), make_fabric("cpu")
            Trainer(model, RUN, folder, ProceduralSource(CLIPS), fabric=fabric, observers=observers).run()
            return model.state_dict()

        sequences, found = HeldOut(count=1, frames=4, size=(64, 64)), []
        validation = Validation(lambda model: found.append(track_and_score(model, sequences)) or found[-1], every=1)
        plain, watched = weights(tmp_path / "plain"), weights(tmp_path / "watched", validation)
        assert all(torch.equal(plain[key], watched[key]) for key in plain)
        assert len(found) == RUN.steps and found[0]["J"] != found[-1]["J"]  # of weights that were averaged anew

    def test_the_interval_is_positive(self):
        with pytest.raises(InputError, match="every 0"):
            Validation(lambda model: {}, every=0)
