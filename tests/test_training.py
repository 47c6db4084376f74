import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from msdeaot_tracker import CheckpointError, TrackerError, load_model
from msdeaot_tracker.checkpoints import load_state
from msdeaot_tracker.config import MemoryConfig, ModelConfig, Preset, Stage, TrackerConfig
from msdeaot_tracker.data.batches import BatchConfig, ProceduralBatches
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.training.loop import TrainConfig, Trainer
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


BATCHES = BatchConfig(batch_size=2, size=49, frames=3, margin=15, spare_frames=1, samples_per_clip=2)
QUICK = TrainConfig(
    steps=4,
    workers=0,
    save_every=2,
    half_precision=False,
    memory=MEMORY,
    batches=BATCHES,
    schedule=Schedule(lengths=((0.0, 3),)),
)


def state_of(folder) -> dict[str, torch.Tensor]:
    return torch.load(folder / "state.pt", weights_only=True)["model"]


class TestLoop:
    def test_batches_follow_from_the_seed(self):
        one, two, other = (ProceduralBatches(BATCHES, 3, seed)[1] for seed in (4, 4, 5))
        assert len(one) == 2 and one[0][0].shape == (2, 3, 3, 49, 49) and one[0][1].shape == (2, 3, 49, 49)
        assert all(torch.equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True))
        assert not torch.equal(one[0][0], other[0][0])

    def test_the_first_frame_of_every_sample_shows_objects_numbered_from_one(self):
        for batch in ProceduralBatches(BATCHES, 3, 11)[2]:
            for labels in batch[1]:
                first = set(labels[0].unique().tolist()) - {0}
                assert first == set(range(1, len(first) + 1)) and first
                assert set(labels.unique().tolist()) - {0} <= first

    def test_a_run_that_was_cut_off_ends_with_the_same_weights(self, tmp_path, monkeypatch):
        Trainer(tiny().train(), QUICK, tmp_path / "whole").run()
        trainer = Trainer(tiny().train(), QUICK, tmp_path / "cut")
        step = trainer._train_step

        def dies_in_the_fourth(*batch):
            if trainer._step == 3:
                raise KeyboardInterrupt
            return step(*batch)

        monkeypatch.setattr(trainer, "_train_step", dies_in_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            trainer.run()
        weights = Trainer(tiny(seed=1).train(), QUICK, tmp_path / "cut").run()
        whole, cut = state_of(tmp_path / "whole"), state_of(tmp_path / "cut")
        assert all(torch.equal(whole[key], cut[key]) for key in whole)
        fresh = tiny(seed=2)
        load_state(fresh, weights)
        rows = list(csv.DictReader((tmp_path / "whole" / "log.csv").read_text(encoding="utf-8").splitlines()))
        assert rows[-1]["step"] == "4" and float(rows[-1]["loss"]) > 0

    def test_training_lowers_the_loss_on_what_it_sees(self, tmp_path):
        schedule = Schedule(learning_rate=2e-3, hard_fraction=1.0, lengths=((0.0, 3),))
        trainer = Trainer(tiny().train(), replace(QUICK, steps=1000, schedule=schedule), tmp_path)
        batch = ProceduralBatches(BATCHES, 1, 3)[0][0]
        losses = []
        for trainer._step in range(200, 260):
            losses.append(trainer._train_step(*batch)[0])
        assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])

    def test_resuming_with_other_settings_is_an_error(self, tmp_path):
        Trainer(tiny().train(), replace(QUICK, steps=2), tmp_path).run()
        with pytest.raises(CheckpointError, match="other settings"):
            Trainer(tiny().train(), replace(QUICK, steps=2, seed=1), tmp_path).run()

    def test_a_loss_that_is_no_number_stops_the_run(self, tmp_path):
        model = tiny().train()
        with torch.no_grad():
            model.decoder.output.bias.fill_(float("nan"))
        with pytest.raises(TrackerError, match="nan"):
            Trainer(model, QUICK, tmp_path).run()
        assert not (tmp_path / "state.pt").exists()


def test_the_command_trains_a_model_that_loads(tmp_path):
    from msdeaot_tracker.cli.main import main

    out = tmp_path / "run"
    assert (
        main(["train", "--steps", "1", "--batch-size", "1", "--workers", "0", "--device", "cpu", "--out", str(out)])
        == 0
    )
    model = load_model("msdeaot-small", weights=out / "weights.safetensors", device="cpu")
    assert model.preset.name == "msdeaot-small"
