"""Looking, in the middle of a run, at how well the averaged weights do what they are for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from ..types import InputError
from .observers import StepReport


class Validation:
    """Measures the averaged weights every so many steps and after the last; the run goes on as if it had not.

    measure: from a model in evaluation mode to numbers by name, which are logged as validation_<name>.
    """

    def __init__(self, measure: Callable[[nn.Module], Mapping[str, float]], every: int):
        if every < 1:
            raise InputError(f"validation every {every} steps: at least every step")
        self._measure, self._every = measure, every

    def step(self, report: StepReport) -> Mapping[str, float]:
        if report.step % self._every and report.step != report.steps:
            return {}
        with report.averaged() as model, _evaluating(model):
            return {f"validation_{name}": value for name, value in self._measure(model).items()}

    def close(self) -> None:
        pass


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards its modules' modes and torch's generators are as they were."""
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
