"""The training loop on one device: what it computes, what it writes, and how it goes on after it was cut off."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from msdeaot_tracker import CheckpointError, InputError, TrackerError
from msdeaot_tracker.checkpoints import load_state
from msdeaot_tracker.config import MemoryConfig, ModelConfig, Preset, Stage, TrackerConfig
from msdeaot_tracker.data.batches import BatchConfig
from msdeaot_tracker.data.mixing import DrawnPart
from msdeaot_tracker.data.procedural.clip import ClipConfig
from msdeaot_tracker.initializers.lite_net import BoxToMaskNet
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.training.box_to_mask import BoxToMaskConfig, BoxToMaskTrainer
from msdeaot_tracker.training.config import TrainConfig
from msdeaot_tracker.training.crops import CropConfig
from msdeaot_tracker.training.engine import make_fabric
from msdeaot_tracker.training.observers import Charts, CsvLog, ProgressBar
from msdeaot_tracker.training.replay import replay
from msdeaot_tracker.training.schedule import Schedule
from msdeaot_tracker.training.sharing import share_out
from msdeaot_tracker.training.sources import CropSource, ProceduralSource
from msdeaot_tracker.training.tracking import Trainer

MEMORY = MemoryConfig(long_term_gap=2, long_term_max=2)
TINY = Preset(
    "tiny",
    ModelConfig(
        "resnet_small",
        (Stage(16, 1, 16, drop_path=0.0), Stage(8, 1, 16, memory_stride=2, drop_path=0.0)),
        window=2,
        dropout=0.0,
    ),
    MEMORY,
    TrackerConfig(long_edge=97),
)
LEARNING = replace(TINY, model=replace(TINY.model, frozen_batch_norm=False, dropout=0.1))
SOURCE = ProceduralSource(BatchConfig(size=49, frames=3, margin=15, spare_frames=1, samples_per_clip=2))
QUICK = TrainConfig(
    steps=4,
    batch_size=2,
    workers=0,
    save_every=2,
    precision="32-true",
    memory=MEMORY,
    schedule=Schedule(lengths=((0.0, 3),)),
)
CROPS = CropSource(
    (DrawnPart("painted", 1.0, ClipConfig(frames=1, object_size=(0.3, 0.6))),), CropConfig(size=49, drawn=64)
)


def tiny(preset: Preset = TINY, seed: int = 0) -> MSDeAOT:
    torch.manual_seed(seed)
    return MSDeAOT(preset)


def tracking(folder: Path, *observers, preset: Preset = LEARNING, source=SOURCE, **settings) -> Trainer:
    config = replace(QUICK, **settings)
    fabric = make_fabric("cpu", precision=config.precision)
    return Trainer(tiny(preset), config, folder, source, fabric=fabric, observers=observers)


def box_to_mask(folder: Path, *observers, **settings) -> BoxToMaskTrainer:
    torch.manual_seed(0)
    config = replace(BoxToMaskConfig(batch_size=4, workers=0, precision="32-true", save_every=2, steps=4), **settings)
    return BoxToMaskTrainer(BoxToMaskNet(), config, folder, CROPS, fabric=make_fabric("cpu"), observers=observers)


LOOPS = {"tracking": tracking, "box-to-mask": box_to_mask}


def state_of(folder: Path) -> dict:
    return torch.load(folder / "state.pt", weights_only=True)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "log.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def same(one: dict, two: dict) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


class At:
    """Does something once a step is done."""

    def __init__(self, step: int, act):
        self.step_number, self.act = step, act

    def step(self, report):
        return self.act(report) if report.step == self.step_number else None

    def close(self) -> None:
        pass


# ---------------------------------------------------------------- batches


def test_batches_follow_from_the_seed():
    one, two, other = (SOURCE.open(2, 3, seed)[1] for seed in (4, 4, 5))
    assert len(one) == 2 and one[0][0].shape == (2, 3, 3, 49, 49) and one[0][1].shape == (2, 3, 49, 49)
    assert all(torch.equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True))
    assert not torch.equal(one[0][0], other[0][0])


def test_the_first_frame_of_every_sample_shows_objects_numbered_from_one():
    for batch in SOURCE.open(2, 3, 11)[2]:
        for labels in batch[1]:
            first = set(labels[0].unique().tolist()) - {0}
            assert first == set(range(1, len(first) + 1)) and first
            assert set(labels.unique().tolist()) - {0} <= first


@pytest.mark.parametrize("source", [SOURCE, CROPS], ids=["clips", "crops"])
def test_a_sample_is_the_same_in_every_process_and_micro_batch_and_after_a_resume(source):
    """Samples in the order of their numbers in the run, from step 3 on, however they are shared out."""

    def samples(processes: int, micro: int) -> torch.Tensor:
        config = replace(QUICK, steps=7, batch_size=8, micro_batch=micro)
        shares = [share_out(config, processes, rank) for rank in range(processes)]
        steps = zip(*(share.read(source, config, 3, pin_memory=False) for share in shares), strict=True)
        merged = [{j: batch for of_rank in step for j, batch in of_rank.items()} for step in steps]
        assert len(merged) == 4 and all(sorted(step) == list(range(8 // micro)) for step in merged)
        return torch.cat([step[j][1] for step in merged for j in sorted(step)])

    expected = samples(1, 8)
    assert torch.equal(samples(1, 2), expected) and torch.equal(samples(2, 4), expected)
    assert torch.equal(samples(2, 2), expected)
    assert len(torch.unique(expected.flatten(1), dim=0)) == len(expected) == 32


@pytest.mark.parametrize(("size", "micro", "processes"), [(6, None, 4), (6, 4, 1), (6, 3, 4), (6, 0, 1), (0, None, 1)])
def test_batches_that_do_not_add_up(size, micro, processes):
    with pytest.raises(InputError, match=f"batch of {size}.*{processes} processes"):
        share_out(replace(QUICK, batch_size=size, micro_batch=micro), processes, 0)


# ---------------------------------------------------------------- steps


def test_training_lowers_the_loss_on_what_it_sees(tmp_path):
    schedule = Schedule(learning_rate=2e-3, hard_fraction=1.0, lengths=((0.0, 3),))
    trainer = tracking(tmp_path, steps=1000, schedule=schedule)
    batch = SOURCE.open(2, 1, 3)[0][0]
    losses = []
    for trainer._step in range(200, 260):
        losses.append(trainer._train_step({0: batch})[0])
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_micro_batches_add_up_to_the_batch(tmp_path):
    """Gradients too: after some steps the weights are the same. Batch norms stand still, nothing is dropped."""
    for micro in (4, 2, 1):
        tracking(
            tmp_path / str(micro), CsvLog(tmp_path / str(micro), 1), preset=TINY, batch_size=4, micro_batch=micro
        ).run()
    expected = [float(row["loss"]) for row in rows_of(tmp_path / "4")]
    for micro in (2, 1):
        assert [float(row["loss"]) for row in rows_of(tmp_path / str(micro))] == pytest.approx(expected, rel=1e-4)


def test_weights_that_are_written_are_the_averaged_ones(tmp_path):
    weights = tracking(tmp_path, steps=40).run(seconds=0)
    found = tiny(LEARNING, seed=1)
    load_state(found, weights)
    state = state_of(tmp_path)
    assert same(found.state_dict(), state["averaged"]) and not same(state["averaged"], state["model"])


def test_what_observers_are_told(tmp_path):
    seen = []

    def look(report):
        live = {key: value.clone() for key, value in report.model.state_dict().items()}
        with report.averaged() as model:
            assert model is report.model and not same(live, dict(model.state_dict()))
        assert same(live, dict(report.model.state_dict()))
        seen.append((report, report.clip()))
        return {"found": 0.25}

    tracking(
        tmp_path, At(3, look), CsvLog(tmp_path), At(3, lambda report: seen.append(report.measured)), steps=12
    ).run()
    (report, clip), measured = seen
    assert (report.step, report.steps, report.samples, report.notes) == (3, 12, 2, {"frames": 3.0})
    assert report.memory > 1e7 and report.seconds > 0 and report.learning_rate > 0
    batch = SOURCE.open(2, 6, 0)[1][0]  # the third step takes the first entry of the second item
    assert torch.equal(clip.frames, batch[0][0]) and torch.equal(clip.labels, batch[1][0])
    assert clip.predicted.shape == clip.labels.shape and clip.predicted.dtype == torch.uint8
    assert measured == {"found": 0.25}
    rows = rows_of(tmp_path)
    assert [(row["step"], row["found"]) for row in rows] == [("3", "0.25"), ("12", "")]


@pytest.mark.skipif("MSDEAOT_TEST_COMPILE" not in os.environ, reason="takes minutes; set MSDEAOT_TEST_COMPILE=1")
def test_compiled_modules_give_the_same_loss(tmp_path):
    batch = SOURCE.open(2, 1, 3)[0][0]
    plain, compiled = (
        tracking(tmp_path, preset=TINY, compile=chosen)._train_step({0: batch}) for chosen in (False, True)
    )
    assert compiled[0] == pytest.approx(plain[0], rel=1e-4)


# ---------------------------------------------------------------- going on


def train_until_killed(kind: str, folder: str, at: int, settings: dict, threads: int) -> None:
    torch.set_num_threads(threads)
    kill = At(at, lambda _: os.kill(os.getpid(), signal.SIGKILL))
    LOOPS[kind](Path(folder), CsvLog(Path(folder), 1), kill, **settings).run()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(
    ("kind", "at", "settings"),
    [("tracking", 13, {"steps": 20, "save_every": 10}), ("box-to-mask", 3, {"steps": 4})],
)
def test_a_run_that_was_killed_ends_with_the_same_weights_and_log(tmp_path, kind, at, settings):
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    call = f"train_until_killed({kind!r}, {str(cut)!r}, {at}, {settings!r}, {torch.get_num_threads()})"
    command = [sys.executable, "-c", f"import test_training; test_training.{call}"]
    killed = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [int(row["step"]) for row in rows_of(cut)] == list(range(1, at + 1))
    assert state_of(cut)["step"] < at
    for folder in (whole, cut):
        LOOPS[kind](folder, CsvLog(folder, 1), **settings).run()
    for part in ("model", "averaged"):
        assert same(state_of(whole)[part], state_of(cut)[part])
    assert same(*(load_file(folder / "weights.safetensors") for folder in (whole, cut)))  # metadata have no order
    without_seconds = [[{**row, "seconds": ""} for row in rows_of(folder)] for folder in (whole, cut)]
    assert without_seconds[0] == without_seconds[1] and len(without_seconds[0]) == settings["steps"]


def test_a_run_out_of_time_is_saved_and_goes_on(tmp_path):
    tracking(tmp_path / "cut", save_every=100).run(seconds=0)
    assert state_of(tmp_path / "cut")["step"] == 1
    for name in ("cut", "whole"):
        tracking(tmp_path / name, save_every=100).run()
    assert same(state_of(tmp_path / "cut")["model"], state_of(tmp_path / "whole")["model"])


def test_a_finished_run_is_left_alone(tmp_path):
    before, state = load_file(tracking(tmp_path).run()), (tmp_path / "state.pt").read_bytes()
    after = load_file(tracking(tmp_path).run())
    assert before.keys() == after.keys() and all(torch.equal(tensor, after[key]) for key, tensor in before.items())
    assert (tmp_path / "state.pt").read_bytes() == state


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seed": 1}, "other settings: seed 0, not seed 1"),
        ({"micro_batch": 1}, "micro_batch 2, processes 1; with batch_size 2, micro_batch 1, processes 1"),
        ({"source": replace(SOURCE, config=replace(SOURCE.config, margin=16))}, "margin"),
        ({"preset": replace(LEARNING, model=replace(LEARNING.model, objects=4))}, "size mismatch"),
    ],
)
def test_a_run_does_not_go_on_as_another(tmp_path, settings, words):
    tracking(tmp_path, steps=2).run()
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(CheckpointError, match=words):
        tracking(tmp_path, **settings).run()
    assert (tmp_path / "state.pt").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"PK\3\4 half of it", None], ids=["empty", "torn", "of something else"])
def test_a_damaged_state(tmp_path, content):
    if content is None:
        torch.save({"step": 3}, tmp_path / "state.pt")
    else:
        (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state\.pt"):
        tracking(tmp_path).run()


# ---------------------------------------------------------------- what goes wrong


def test_a_full_disk_leaves_the_last_save_intact(tmp_path):
    """A limit to the size of files: writing fails in the middle, as on a full disk."""
    resource = pytest.importorskip("resource", reason="limits of processes are POSIX's")
    tracking(tmp_path, steps=2).run()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    try:
        with pytest.raises(TrackerError, match=r"cannot write .*state\.pt: .*MB are free there"):
            tracking(tmp_path).run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    tracking(tmp_path).run()
    assert state_of(tmp_path)["step"] == 4


def test_weights_that_cannot_be_written_name_the_room_that_is_left(tmp_path):
    (tmp_path / "weights.safetensors").mkdir()
    with pytest.raises(TrackerError, match=r"cannot write .*weights\.safetensors: .*MB are free there"):
        tracking(tmp_path).run()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", LOOPS)
def test_a_loss_that_is_no_number_can_be_computed_again(tmp_path, kind):
    """From the file alone; and with the number mended, it is the loss of the step as it would have been."""
    make, key = LOOPS[kind], {"tracking": "decoder.output.bias", "box-to-mask": "output.bias"}[kind]

    kept = []

    def spoil(report):
        with torch.no_grad():
            value = report.model.get_parameter(key)
            kept.append(value.clone())
            value[0] = float("inf")

    make(tmp_path, CsvLog(tmp_path, 1), steps=3).run()
    expected = float(rows_of(tmp_path)[2]["loss"])
    broken = tmp_path / "broken"
    with pytest.raises(TrackerError, match=r"loss became (nan|inf) at step 2; .*replay-2\.pt"):
        make(broken, At(2, spoil), steps=3, save_every=100).run()
    assert [path.name for path in broken.iterdir()] == ["replay-2.pt"]
    assert not np.isfinite(replay(broken / "replay-2.pt", "cpu").losses[0])
    content = torch.load(broken / "replay-2.pt", weights_only=True)
    content["model"][key] = kept[0]
    torch.save(content, broken / "mended.pt")
    mended = replay(broken / "mended.pt", "cpu")
    assert mended.step == 2 and mended.losses[0] == pytest.approx(expected, rel=1e-5) and 0 < mended.gradient_norm < 1e3


def test_a_gradient_that_is_no_number_stops_the_run_before_it_reaches_the_weights(tmp_path):
    trainer = tracking(tmp_path)
    trainer._model.decoder.output.bias.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrackerError, match=r"norm of the gradient became (nan|inf) at step 0; .*replay-0\.pt"):
        trainer.run()
    assert np.isfinite(replay(tmp_path / "replay-0.pt", "cpu").losses[0])


def test_a_file_that_is_no_replay(tmp_path):
    tracking(tmp_path, steps=1).run()
    with pytest.raises(CheckpointError, match=r"state\.pt is not a step to replay"):
        replay(tmp_path / "state.pt", "cpu")
    with pytest.raises(CheckpointError, match="cannot read"):
        replay(tmp_path / "none.pt", "cpu")


@pytest.mark.parametrize("settings", [{"devices": 0}, {"nodes": 0}])
def test_devices_that_are_not_there(settings):
    with pytest.raises(InputError, match="at least one"):
        make_fabric("cpu", **settings)
    with pytest.raises(InputError, match="tpu"):
        make_fabric("tpu")


def test_torchrun_with_another_number_of_processes(monkeypatch):
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "GROUP_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
    with pytest.raises(InputError, match=r"one of 4 processes.*2 devices on 1 machine"):
        make_fabric("cpu", devices=2)


# ---------------------------------------------------------------- observers


def test_charts_show_every_step_once(tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with pytest.raises(KeyboardInterrupt):
        tracking(tmp_path, Charts(tmp_path, 1), At(3, lambda _: (_ for _ in ()).throw(KeyboardInterrupt))).run()
    charts = Charts(tmp_path, 1)
    charts.add_picture("clip", np.zeros((8, 8, 3), np.uint8), 3)
    tracking(tmp_path, charts).run()
    found = loader.EventAccumulator(str(tmp_path / "charts")).Reload()
    assert [event.step for event in found.Scalars("loss")] == [1, 2, 3, 4]
    assert {"learning_rate", "frames", "memory_gb"} <= set(found.Tags()["scalars"])
    assert [event.step for event in found.Images("clip")] == [3]


def test_charts_without_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"msdeaot-tracker\[train\]"):
        Charts(tmp_path)


def test_the_progress_bar_tells_speed_and_memory(tmp_path, capsys):
    tracking(tmp_path, ProgressBar(), steps=2).run()
    last = capsys.readouterr().err.split("\r")[-1]
    assert "2/2" in last and "loss=" in last and "samples/s=" in last and "GB" in last


def test_workers_start_after_opencv_has_used_its_threads():
    """In a process of its own: a worker that inherits them waits for ever."""
    code = """
import cv2, numpy as np
from msdeaot_tracker.data.batches import BatchConfig
from msdeaot_tracker.training.config import TrainConfig
from msdeaot_tracker.training.sharing import share_out
from msdeaot_tracker.training.sources import ProceduralSource
cv2.setNumThreads(2)
picture, places = np.zeros((2000, 2000, 3), np.uint8), np.random.rand(2000, 2000).astype(np.float32) * 2000
cv2.remap(picture, places, places, cv2.INTER_LINEAR)
config = TrainConfig(steps=1, batch_size=1, workers=1)
source = ProceduralSource(BatchConfig(size=33, frames=2, samples_per_clip=1))
print(len(list(share_out(config, 1, 0).read(source, config, 0, pin_memory=False))), cv2.getNumThreads())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.stdout.split() == ["1", "2"], ran.stderr
