"""Two processes on the CPU do what one does; and what goes wrong in one of them is told."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import QUICK, SOURCE, rows_of, state_of, tiny

from msdeaot_tracker import CheckpointError, TrackerError
from msdeaot_tracker.training.config import TrainConfig
from msdeaot_tracker.training.engine import Fabric, launch, make_fabric
from msdeaot_tracker.training.observers import CsvLog
from msdeaot_tracker.training.replay import replay
from msdeaot_tracker.training.tracking import Trainer

# The identity embedding is without a part in most losses, which the averaging of gradients has to cope with.
CONFIG = replace(QUICK, steps=6, save_every=6, batch_size=4, micro_batch=1, freeze_identity=True)


def train(fabric: Fabric, config: TrainConfig, folder: Path, spoilt: int | None = None) -> Path:
    trainer = Trainer(tiny(), config, folder, SOURCE, fabric=fabric, observers=[CsvLog(folder, 1)])
    if fabric.global_rank == spoilt:
        with torch.no_grad():
            trainer._model.decoder.output.bias[1] = float("inf")
    return trainer.run()


def in_processes(count: int, *args) -> Path:
    return launch(make_fabric("cpu", devices=count, precision="32-true"), train, *args)


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """Of two processes, two micro-batches of a sample each a step."""
    return in_processes(2, CONFIG, tmp_path_factory.mktemp("together")).parent


@pytest.mark.parametrize("micro_batch", [1, 4])
def test_two_processes_do_what_one_does(together, tmp_path, micro_batch):
    """Losses and weights, after steps with a true loss for each parameter; what is left is the order of sums."""
    alone = in_processes(1, replace(CONFIG, micro_batch=micro_batch), tmp_path).parent
    losses = [[float(row["loss"]) for row in rows_of(folder)] for folder in (alone, together)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and len(losses[0]) == 6
    before = tiny().state_dict()
    one, two = (state_of(folder)["model"] for folder in (alone, together))
    moved = torch.cat([(one[key] - before[key]).flatten() for key in one if before[key].is_floating_point()])
    apart = torch.cat([(one[key] - two[key]).flatten() for key in one if before[key].is_floating_point()])
    assert apart.norm() < 1e-2 * moved.norm()


def test_a_run_of_two_processes_is_not_gone_on_with_by_one(together):
    before = (together / "state.pt").read_bytes()
    words = "micro_batch 1, processes 2; with batch_size 4, micro_batch 1, processes 1"
    with pytest.raises(CheckpointError, match=words):
        in_processes(1, replace(CONFIG, steps=8), together)
    assert (together / "state.pt").read_bytes() == before


def test_a_loss_that_is_no_number_in_one_process_stops_all(tmp_path):
    with pytest.raises(TrackerError, match=r"loss became (nan|inf) at step 0; .*replay-0\.pt"):
        in_processes(2, CONFIG, tmp_path, 1)
    found = replay(tmp_path / "replay-0.pt", "cpu").losses
    assert set(found) == {1, 3} and not np.isfinite([*found.values()]).all()  # the micro-batches of process 1


def sleep_for_ever(fabric: Fabric, folder: Path) -> None:
    (folder / str(fabric.global_rank)).touch()
    time.sleep(600)


def test_an_interrupt_of_the_first_process_ends_the_others(tmp_path):
    """What `kill` sends goes to one process alone, where Ctrl-C in a terminal goes to all."""

    def interrupt_once_all_run() -> None:
        while len([*tmp_path.iterdir()]) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)

    def interrupt(number, frame):
        raise KeyboardInterrupt

    usual = signal.signal(signal.SIGTERM, interrupt)
    threading.Thread(target=interrupt_once_all_run, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            launch(make_fabric("cpu", devices=2, precision="32-true"), sleep_for_ever, tmp_path)
        for process in multiprocessing.active_children():
            process.join(20)
        assert not multiprocessing.active_children()
    finally:
        signal.signal(signal.SIGTERM, usual)
