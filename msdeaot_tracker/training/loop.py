"""A plain training loop on one device: resumable, with averaged weights and a CSV of what happened."""

from __future__ import annotations

import csv
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from ..checkpoints import save_checkpoint
from ..config import MemoryConfig
from ..data.batches import BatchConfig, ProceduralBatches
from ..models import MSDeAOT
from ..types import CheckpointError, TrackerError
from .losses import segmentation_loss
from .rollout import rollout
from .schedule import AveragedWeights, Schedule, parameter_groups

logger = logging.getLogger(__name__)

_STATE, _WEIGHTS, _LOG = "state.pt", "weights.safetensors", "log.csv"


@dataclass(frozen=True)
class LoopConfig:
    steps: int = 10_000
    seed: int = 0
    workers: int = 1  # processes that make batches
    weight_decay: float = 0.05
    gradient_clip: float = 5.0  # largest norm
    half_precision: bool = True  # bfloat16 autocast
    save_every: int = 500  # steps
    schedule: Schedule = Schedule()


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    loss_stride: int = 2  # the loss is taken on every n-th pixel of rows and columns
    memory: MemoryConfig = field(default_factory=lambda: MemoryConfig(long_term_gap=2, long_term_max=None))
    batches: BatchConfig = BatchConfig()


class Loop(ABC):
    """Trains `model` in place; everything it writes goes to `folder`. A subclass says from what, and by which loss.

    A step may depend on the weights, the batch, the progress and torch's generator, which is seeded before each, and on
    nothing else: only so does a run that was cut off end as it would have.
    """

    columns: tuple[str, ...] = ()  # of the log, beside step, loss, learning rate and seconds

    def __init__(self, model: nn.Module, config: LoopConfig, folder: Path):
        self._model, self._config, self._folder = model, config, folder
        self._device = next(model.parameters()).device
        self._optimizer = torch.optim.AdamW(parameter_groups(model, config.weight_decay), lr=0.0)
        self._averaged = AveragedWeights(model, config.steps)
        self._step = 0

    @abstractmethod
    def _dataset(self) -> tuple[Dataset[list[Any]], int]:
        """Items of equally many batches, at least for all steps; and how many batches that is."""

    @abstractmethod
    def _loss(self, batch: Any, progress: float) -> tuple[Tensor, tuple[str | int, ...]]:
        """The loss of a batch on the CPU, and what is logged in `columns`."""

    @abstractmethod
    def _write(self, path: Path) -> None:
        """The model's weights as a file of their own."""

    def run(self) -> Path:
        """Train to the last step -> the file with the averaged weights. A run that was cut off goes on where it was."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        self._model.train()
        with (
            open(self._folder / _LOG, "a", newline="", encoding="utf-8") as log,
            tqdm(total=self._config.steps, initial=self._step, unit="step", smoothing=0.02) as bar,
        ):
            table = csv.writer(log)
            if log.tell() == 0:
                table.writerow(["step", "loss", "learning_rate", *self.columns, "seconds"])
            started = time.perf_counter()
            for batch in self._batches():
                loss, rate, notes = self._train_step(*batch)
                self._step += 1
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                if self._step % 20 == 0 or self._step == self._config.steps:
                    seconds = time.perf_counter() - started
                    table.writerow([self._step, f"{loss:.4f}", f"{rate:.3g}", *notes, f"{seconds:.1f}"])
                if self._step % self._config.save_every == 0 or self._step == self._config.steps:
                    self._save()
                    log.flush()
        return self._folder / _WEIGHTS

    def _train_step(self, *batch: Tensor) -> tuple[float, float, tuple[str | int, ...]]:
        config, progress = self._config, self._step / self._config.steps
        torch.manual_seed(config.seed * 1_000_003 + self._step)  # so that a resumed run draws what it would have drawn
        rate = config.schedule.learning_rate_at(progress)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss, notes = self._loss(batch, progress)
        if not torch.isfinite(loss):
            raise TrackerError(
                f"the loss became {loss.item()} at step {self._step}; the state of the last save is intact"
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), config.gradient_clip)
        self._optimizer.step()
        self._averaged.update(self._model, self._step)
        return loss.item(), rate, notes

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.half_precision)

    def _batches(self) -> Iterator[tuple[Tensor, ...]]:
        """From the current step on; the same for a given seed, however often the run was cut off."""
        config = self._config
        data, per_item = self._dataset()
        skipped, within = divmod(self._step, per_item)
        loader = DataLoader(
            Subset(data, range(skipped, len(data))),
            batch_size=None,
            num_workers=config.workers,
            prefetch_factor=4 if config.workers else None,
        )
        step = self._step
        for batches in loader:
            for batch in batches[within:]:
                if step < config.steps:
                    yield batch
                step += 1
            within = 0

    def _save(self) -> None:
        state = {
            "step": self._step,
            "config": asdict(replace(self._config, workers=0)),
            "model": self._model.state_dict(),
            "averaged": self._averaged.state,
            "optimizer": self._optimizer.state_dict(),
        }
        temporary = self._folder / (_STATE + ".part")
        torch.save(state, temporary)
        os.replace(temporary, self._folder / _STATE)
        live = {key: tensor.clone() for key, tensor in self._model.state_dict().items()}
        self._model.load_state_dict(self._averaged.state)
        self._write(self._folder / _WEIGHTS)
        self._model.load_state_dict(live)

    def _resume(self) -> None:
        path = self._folder / _STATE
        if not path.exists():
            return
        state = torch.load(path, map_location=self._device, weights_only=True)
        found = {**state["config"], "steps": self._config.steps}
        if found != asdict(replace(self._config, workers=0)):
            raise CheckpointError(f"{path} was made with other settings: {state['config']}; choose another folder")
        self._model.load_state_dict(state["model"])
        self._averaged.state = state["averaged"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._step = state["step"]
        logger.info("going on from step %d of %s", self._step, path)


class Trainer(Loop):
    """Trains an MSDeAOT to track."""

    columns = ("frames",)
    _model: MSDeAOT
    _config: TrainConfig

    def _dataset(self) -> tuple[ProceduralBatches, int]:
        config, per_item = self._config, self._config.batches.samples_per_clip
        return ProceduralBatches(config.batches, -(-config.steps // per_item), config.seed), per_item

    def _loss(self, batch: tuple[Tensor, Tensor], progress: float) -> tuple[Tensor, tuple[int]]:
        config, schedule = self._config, self._config.schedule
        length = schedule.length_at(progress)
        frames, labels = (part[:, :length].to(self._device) for part in batch)
        frames, labels = frames.float() / 255, labels.long()
        slots = torch.stack([torch.randperm(self._model.preset.model.objects) for _ in labels])
        channels = F.pad(slots + 1, (1, 0)).to(self._device)  # the background stays in channel 0
        with self._autocast():
            logits = rollout(
                self._model, frames, labels, config.memory, channels=channels, true_masks=progress < schedule.true_masks
            )
        hard_fraction, auxiliary = schedule.hard_fraction_at(progress), schedule.auxiliary_at(progress)
        return self._over_frames(logits, labels, hard_fraction, auxiliary), (length,)

    def _over_frames(self, logits: Tensor, labels: Tensor, hard_fraction: float, auxiliary: float) -> Tensor:
        """Mean over the propagated frames, plus the reference frame's own decoding while that is weighted."""
        stride = self._config.loss_stride
        labels = labels[:, :, ::stride, ::stride]
        first = 0 if auxiliary > 0 else 1
        size, align = labels.shape[-2:], self._model.preset.model.align_corners
        losses = []
        for t in range(first, labels.shape[1]):
            enlarged = F.interpolate(logits[:, t], size, mode="bilinear", align_corners=align)
            losses.append(segmentation_loss(enlarged, labels[:, t], hard_fraction) * (auxiliary if t == 0 else 1.0))
        return torch.stack(losses).sum() / (labels.shape[1] - 1)

    def _write(self, path: Path) -> None:
        save_checkpoint(path, self._model)
