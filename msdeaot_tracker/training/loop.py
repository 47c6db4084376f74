"""The training loop: resumable bit for bit, on one device or several processes, with averaged weights."""

from __future__ import annotations

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
import torch
from torch import Tensor, nn

from ..checkpoints.state_dicts import read_pickle
from ..types import CheckpointError, TrackerError
from .config import LoopConfig
from .observers import ClipView, Observer, StepReport
from .parameters import AveragedWeights, freeze, parameter_groups
from .saving import cannot_write, write_state
from .sharing import share_out
from .sources import Source

if TYPE_CHECKING:
    from .engine import Fabric

logger = logging.getLogger(__name__)

STATE, WEIGHTS = "state.pt", "weights.safetensors"
_SPLIT = ("batch_size", "micro_batch", "processes")


class Place(NamedTuple):
    """Of a micro-batch in the run."""

    progress: float  # step / steps, in [0, 1)
    seed: int  # for what is drawn while it is computed
    first: int  # number in the run of its first sample


class Loop(ABC):
    """Trains `model` in place; everything it writes goes to `folder`. A subclass says by which loss.

    A step averages the gradients of n micro-batches: one process with n of them and n processes with one each do the
    same (sharing.Share). A micro-batch's loss may depend on the weights, the batch, its place and torch's generator,
    which is seeded before each, and on nothing else: only so does a run that was cut off end as it would have.
    """

    def __init__(
        self,
        model: nn.Module,
        config: LoopConfig,
        folder: Path,
        source: Source,
        *,
        fabric: Fabric,
        observers: Sequence[Observer] = (),
    ):
        """
        fabric:    from engine.make_fabric, with the config's precision; its processes are running.
        observers: of process 0; the others have none.

        InputError: a batch that cannot be shared out, or a part to freeze that is none.
        """
        self._share = share_out(config, fabric.world_size, fabric.global_rank)
        self._model, self._config, self._folder, self._source = model, config, folder, source
        self._fabric = fabric
        self._observers = tuple(observers) if fabric.is_global_zero else ()
        freeze(model, config.frozen)
        if config.compile:
            for part in self._compiled():
                part.compile()
        self._optimizer = torch.optim.AdamW(parameter_groups(model, config), lr=0.0)
        self._runner, self._stepper = fabric.setup(_Runner(model), self._optimizer)
        self._averaged = AveragedWeights(model, config.steps)
        self._step = 0
        model.train()

    @abstractmethod
    def _loss(self, batch: Any, place: Place) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The loss, a mean over the samples of a batch on the device, and what is logged of it.

        Called under the run's precision.
        """

    @abstractmethod
    def _write(self, path: Path) -> None:
        """The model's weights as a file of their own. CheckpointError: cannot be written."""

    @abstractmethod
    def _compiled(self) -> Iterable[nn.Module]:
        """The modules that are compiled, each for itself, if the settings say so."""

    _clip: Callable[[], ClipView] | None = None  # of the first sample of the step that was just made

    def run(self, seconds: float = math.inf) -> Path:
        """Train to the last step -> the file with the averaged weights. A run that was cut off goes on where it was.

        seconds: after so many the run is saved and stops; it goes on like one that was cut off.

        CheckpointError: the folder holds a run with other settings. TrackerError: a loss or gradient that is no
        number (`replay.replay` looks into it), or a file that cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        if self._step == self._config.steps and self._fabric.is_global_zero:
            self._save_weights()  # it may have been killed between the last state and the weights
        started, peak = time.perf_counter(), 0
        try:
            pinned = self._fabric.device.type == "cuda"
            for batches in self._share.read(self._source, self._config, self._step, pin_memory=pinned):
                loss, notes, rate = self._train_step(batches)
                self._step += 1
                spent = time.perf_counter() - started
                if self._observers:
                    peak = max(peak, self._memory())
                    self._tell(loss, notes, rate, spent, peak)
                over = seconds < math.inf and self._fabric.broadcast(spent > seconds)
                if over or self._step % self._config.save_every == 0 or self._step == self._config.steps:
                    self._save()
                if over:
                    break
        finally:
            for observer in self._observers:
                observer.close()
        self._fabric.barrier()
        return self._folder / WEIGHTS

    def accumulate(self, batches: Mapping[int, Any]) -> tuple[dict[int, Tensor], dict[str, Tensor], Tensor]:
        """Gradients of the current step, from micro-batches by their numbers.

        -> each one's loss; means of the notes, the loss among them; the averaged gradient's norm, not yet clipped.
        The last two are those of all processes.
        """
        self._clip = None
        self._stepper.zero_grad(set_to_none=True)
        losses: dict[int, Tensor] = {}
        sums: dict[str, Tensor] = {}
        for number, batch in batches.items():
            place = self._place(number)
            torch.manual_seed(place.seed)
            with self._fabric.no_backward_sync(self._runner, enabled=len(losses) < len(batches) - 1):
                loss, notes = self._runner(partial(self._loss, self._fabric.to_device(batch), place))
                self._fabric.backward(loss / len(batches))
            losses[number] = loss.detach()
            for key, value in {"loss": losses[number], **notes}.items():
                sums[key] = sums.get(key, 0) + torch.as_tensor(value, dtype=torch.float32, device=loss.device)
        norm = self._fabric.clip_gradients(
            self._runner, self._stepper, max_norm=self._config.gradient_clip, error_if_nonfinite=False
        )
        means = self._fabric.all_reduce(torch.stack([*sums.values()]) / len(batches), reduce_op="mean")
        return losses, dict(zip(sums, means, strict=True)), norm

    def _train_step(self, batches: Mapping[int, Any]) -> tuple[float, dict[str, float], float]:
        """This process's micro-batches -> the whole step's loss and notes, and its learning rate."""
        schedule, progress = self._config.schedule, self._step / self._config.steps
        for group in self._optimizer.param_groups:
            group["lr"] = schedule.learning_rate_at(progress, group["rate"])
        losses, means, norm = self.accumulate(batches)
        *values, norm = torch.stack([*means.values(), norm]).tolist()
        notes = dict(zip(means, values, strict=True))
        loss = notes.pop("loss")
        if not math.isfinite(loss) or not math.isfinite(norm):
            self._stop(batches, losses, loss, norm)
        self._stepper.step()
        self._averaged.update(self._model, self._step)
        return loss, notes, schedule.learning_rate_at(progress)

    def _place(self, micro_batch: int) -> Place:
        number = self._step * self._share.count + micro_batch
        seed = self._config.seed * 1_000_003 + number
        return Place(self._step / self._config.steps, seed, number * self._share.micro_batch)

    def _tell(self, loss: float, notes: Mapping[str, float], rate: float, seconds: float, memory: int) -> None:
        report = StepReport(
            self._step,
            self._config.steps,
            loss,
            rate,
            self._config.batch_size,
            seconds,
            memory,
            notes,
            self._model,
            self._lend_averaged,
            self._clip,
        )
        for observer in self._observers:
            measured = observer.step(report)
            if measured:
                report = replace(report, measured={**report.measured, **measured})

    @contextmanager
    def _lend_averaged(self) -> Iterator[nn.Module]:
        live = {key: tensor.clone() for key, tensor in self._model.state_dict().items()}
        self._model.load_state_dict(self._averaged.state)
        try:
            yield self._model
        finally:
            self._model.load_state_dict(live)

    def _memory(self) -> int:
        device = self._fabric.device
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated(device)
        return psutil.Process().memory_info().rss

    def _settings(self) -> dict[str, Any]:
        """What a run's numbers follow from, beside the weights it began with."""
        config = replace(self._config, workers=0, micro_batch=self._share.micro_batch)
        data = {**asdict(self._source.config), "about": self._source.about, "batch_size": None}
        return {**asdict(config), "processes": self._fabric.world_size, "data": data}

    def _snapshot(self) -> dict[str, Any]:
        return {"step": self._step, "model": self._model.state_dict(), "optimizer": self._optimizer.state_dict()}

    def _save(self) -> None:
        if not self._fabric.is_global_zero:
            return
        state = {**self._snapshot(), "settings": self._settings(), "averaged": self._averaged.state}
        write_state(self._folder / STATE, state)
        self._save_weights()

    def _save_weights(self) -> None:
        with self._lend_averaged():
            try:
                self._write(self._folder / WEIGHTS)
            except CheckpointError as error:
                raise cannot_write(self._folder / WEIGHTS, error) from error

    def _resume(self) -> None:
        path = self._folder / STATE
        if path.exists():
            state = read_pickle(path)
            try:
                _check_settings(path, state["settings"], self._settings())
                self.restore(state)
                averaged = state["averaged"].items()
                self._averaged.state = {key: tensor.to(self._fabric.device) for key, tensor in averaged}
            except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                raise CheckpointError(f"{path} is not the state of such a run: {error}") from error
            logger.info("going on from step %d of %s", self._step, path)
        first = self._fabric.broadcast(self._step)
        if self._step != first:
            raise CheckpointError(
                f"process {self._fabric.global_rank} finds step {self._step} in {self._folder}, the first one {first}: "
                "all machines need one folder"
            )

    def restore(self, state: Mapping[str, Any]) -> None:
        """Weights, optimizer and step as `_snapshot` gave them."""
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step = state["step"]

    def _stop(self, batches: Mapping[int, Any], losses: Mapping[int, Tensor], loss: float, norm: float) -> None:
        """In all processes at once. The first with a loss that is no number writes its micro-batches down."""
        broken = torch.zeros(self._share.processes)
        broken[self._share.rank] = not all(torch.isfinite(each) for each in losses.values())
        flags = self._fabric.all_reduce(broken, reduce_op="sum").tolist()
        path = self._folder / f"replay-{self._step}.pt"
        if self._fabric.global_rank == flags.index(max(flags)):
            self._write_replay(path, batches)
        self._fabric.barrier()
        what = f"the loss became {loss}" if max(flags) else f"the norm of the gradient became {norm}"
        raise TrackerError(f"{what} at step {self._step}; {path} has what it came from; the last save is intact")

    def _write_replay(self, path: Path, batches: Mapping[int, Any]) -> None:
        """What `replay.replay` needs; of the state before the step, statistics of batch norms have moved already."""
        preset = getattr(self._model, "preset", None)
        content = {"kind": type(self).__name__, "preset": None if preset is None else asdict(preset)}
        micro_batches = {number: tuple(batch) for number, batch in batches.items()}
        write_state(path, {**content, **self._snapshot(), "settings": self._settings(), "micro_batches": micro_batches})


class _Runner(nn.Module):
    """What the engine wraps: its precision and its averaging of gradients are about what runs inside `forward`."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], Any]) -> Any:
        return compute()


def _check_settings(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if any(found[key] != wanted[key] for key in _SPLIT):
        there, here = (", ".join(f"{key} {each[key]}" for key in _SPLIT) for each in (found, wanted))
        raise CheckpointError(f"{path} was made with {there}; with {here} the run would not be the same one")
    others = [key for key in wanted if key != "steps" and found[key] != wanted[key]]
    if others:
        there, here = (", ".join(f"{key} {each[key]}" for key in others) for each in (found, wanted))
        raise CheckpointError(f"{path} was made with other settings: {there}, not {here}; choose another folder")
