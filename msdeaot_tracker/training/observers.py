"""Who watches a training run: the log, the charts, the progress bar."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor, nn
from tqdm import tqdm

from .saving import write_whole

LOG = "log.csv"
_CHARTS = "charts"


class ClipView(NamedTuple):
    """The first sample of a step. frames: uint8 [T, 3, H, W]. labels, predicted: uint8 [T, H, W]; on the CPU."""

    frames: Tensor
    labels: Tensor
    predicted: Tensor


@dataclass(frozen=True)
class StepReport:
    step: int  # finished steps, so from 1
    steps: int  # of the whole run
    loss: float  # mean over all samples of the step
    learning_rate: float
    samples: int  # per step
    seconds: float  # since the run began, or went on
    memory: int  # bytes, the most so far: of the device, or of the process where that is the CPU
    notes: Mapping[str, float | int | str]  # what the loss says of itself, the same keys at every step
    model: nn.Module  # as it is trained
    averaged: Callable[[], AbstractContextManager[nn.Module]]  # `model`, with the averaged weights while it is lent
    clip: Callable[[], ClipView] | None = None
    measured: Mapping[str, float] = field(default_factory=dict)  # what the observers before this one returned


class Observer(Protocol):
    def step(self, report: StepReport) -> Mapping[str, float] | None:
        """After every step; what it measured, by name, is told to the observers that follow."""

    def close(self) -> None:
        """At the end of the run, whatever ended it."""


class CsvLog:
    """Every n-th step, the last, and each at which something was measured, as a row of a file.

    A run that goes on writes on: rows of steps that are done again are taken off.
    """

    def __init__(self, folder: Path, every: int = 20):
        self._path, self._every = folder / LOG, every
        self._columns: list[str] | None = None

    def step(self, report: StepReport) -> None:
        if self._columns is None:
            self._begin(report)
        if report.step % self._every and report.step != report.steps and not report.measured:
            return
        row = {
            "step": report.step,
            "loss": f"{report.loss:.6g}",
            "learning_rate": f"{report.learning_rate:.3g}",
            **{key: _text(value) for key, value in report.notes.items()},
            "seconds": f"{report.seconds:.1f}",
            **{key: _text(value) for key, value in report.measured.items()},
        }
        if new := [key for key in row if key not in self._columns]:
            self._write([*self._columns, *new], self._rows())
        with open(self._path, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def close(self) -> None:
        """The file is closed after every row."""

    def _begin(self, report: StepReport) -> None:
        rows = [row for row in self._rows() if row["step"].isdecimal() and int(row["step"]) < report.step]
        columns = ["step", "loss", "learning_rate", *report.notes, "seconds"]
        self._write(list(dict.fromkeys([*columns, *(key for row in rows for key in row)])), rows)

    def _rows(self) -> list[dict[str, str]]:
        if not self._path.exists():
            return []
        with open(self._path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file, restval=""))

    def _write(self, columns: list[str], rows: Sequence[Mapping[str, str]]) -> None:
        self._columns = columns
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, columns, restval="", extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
        write_whole(self._path, text.getvalue().encode())


class Charts:
    """For TensorBoard, in the folder's `charts`; ImportError: it is not installed."""

    def __init__(self, folder: Path, every: int = 20):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError('charts need tensorboard: pip install "msdeaot-tracker[train]"') from error
        self._make, self._folder, self._every = SummaryWriter, folder / _CHARTS, every
        self._writer: Any = None

    def step(self, report: StepReport) -> None:
        shown: dict[str, Any] = dict(report.measured)
        if report.step % self._every == 0 or report.step == report.steps:
            shown |= {"loss": report.loss, "learning_rate": report.learning_rate, "memory_gb": report.memory / 1e9}
            shown |= {key: value for key, value in report.notes.items() if not isinstance(value, str)}
        for key, value in shown.items():
            self._open(report.step).add_scalar(key, value, report.step)

    def add_picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """uint8 [H, W, 3]."""
        self._open(step).add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _open(self, step: int) -> Any:
        if self._writer is None:  # what an earlier run wrote of this step and later ones is not shown
            self._writer = self._make(self._folder, purge_step=step)
        return self._writer


class ProgressBar:
    """On stderr: steps, time left, loss, samples per second, memory."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._before = 0

    def step(self, report: StepReport) -> None:
        if self._bar is None:
            self._before = report.step - 1
            self._bar = tqdm(total=report.steps, initial=self._before, unit="step", smoothing=0.02)
        speed = report.samples * (report.step - self._before) / report.seconds
        shown = {"loss": f"{report.loss:.3f}", "samples/s": f"{speed:.1f}", "memory": f"{report.memory / 1e9:.1f} GB"}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _text(value: float | int | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
