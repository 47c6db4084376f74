"""What a comparison with reference numbers found."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

LABEL_SHARE = 2e-4  # of a frame's pixels may differ (always one), where the two best logits are closer than NEAR_TIE
NEAR_TIE = 1e-3


@dataclass(frozen=True)
class Tolerance:
    """Absolute, float32 on a CPU."""

    logits: float
    inner: float


@dataclass
class Report:
    """What the comparison with one file found."""

    tolerance: Tolerance
    logits: float = 0.0
    inner: float = 0.0
    inner_name: str = "-"
    label_mismatches: int = 0
    label_pixels: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        verdict = "ok" if not self.problems else "FAILED: " + "; ".join(self.problems)
        return (
            f"logits {self.logits:.1e} (<= {self.tolerance.logits:.0e})  "
            f"inner {self.inner:.1e} (<= {self.tolerance.inner:.0e}) at {self.inner_name}  "
            f"labels {self.label_mismatches} of {self.label_pixels} px  {verdict}"
        )

    def compare_logits(self, name: str, found: Tensor, wanted: np.ndarray) -> None:
        difference = self._difference(name, found.numpy(), wanted, self.tolerance.logits)
        self.logits = max(self.logits, difference)

    def compare_inner(self, prefix: str, values: dict[str, np.ndarray], golden: np.lib.npyio.NpzFile) -> None:
        for name in golden.files:
            if not name.startswith(prefix) or name == "f0_logits":
                continue
            if name.removeprefix(prefix) not in values:
                self.problems.append(f"{name} has no counterpart")
                continue
            difference = self._difference(name, values[name.removeprefix(prefix)], golden[name], self.tolerance.inner)
            if difference >= self.inner:
                self.inner, self.inner_name = difference, name

    def compare_labels(self, name: str, logits: Tensor, wanted: np.ndarray) -> None:
        """logits [C, h, w] of ours, label map [h, w] of the file."""
        best = logits.topk(2, dim=0).values
        wrong = logits.argmax(dim=0).numpy() != wanted
        self.label_mismatches += int(wrong.sum())
        self.label_pixels += wrong.size
        if wrong.sum() > max(1, LABEL_SHARE * wrong.size):
            self.problems.append(f"{name}: {wrong.sum()} of {wrong.size} labels differ")
        elif (wrong & ((best[0] - best[1]).numpy() >= NEAR_TIE)).any():
            self.problems.append(f"{name}: a label differs where the logits are not close")

    def require(self, name: str, found: object, wanted: object) -> None:
        if found != wanted:
            self.problems.append(f"{name} is {found}, expected {wanted}")

    def _difference(self, name: str, found: np.ndarray, wanted: np.ndarray, limit: float) -> float:
        if found.shape != wanted.shape:
            self.problems.append(f"{name} has shape {found.shape}, expected {wanted.shape}")
            return float("inf")
        differences = np.abs(found - wanted)
        largest = float(differences.max())
        if not (differences <= limit).all():  # also true of NaN
            self.problems.append(f"{name} differs by {largest:.1e}")
        return largest
