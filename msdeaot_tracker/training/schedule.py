"""What changes over a training run, as functions of progress in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """AOT's schedule: linear warm-up, polynomial decay, hard-pixel ramp; and this loop's clip-length curriculum."""

    learning_rate: float = 5e-4
    final_learning_rate: float = 1e-5
    warm_up: float = 0.03  # fraction of the run
    warm_up_from: float | None = None  # the rate it starts at (AOT: the final one); None: 1 % of the highest
    decay_power: float = 0.9
    hard_fraction: float = 0.15  # of the pixels, that the cross-entropy is taken of in the end
    hard_ramp: float = 0.5  # fraction of the run over which it is reached
    auxiliary: float = 0.15  # fraction of the run over which the reference frame's own loss fades out
    true_masks: float = 0.15  # fraction of the run in which memory is fed the truth instead of predictions
    lengths: tuple[tuple[float, int], ...] = ((0.0, 3), (0.5, 4), (0.8, 5))  # from this progress on, frames per clip

    def learning_rate_at(self, progress: float, share: float = 1.0) -> float:
        """share: how much of the distance to the final rate is kept; AOT's encoder learns with 0.1 of it."""
        if progress < self.warm_up and self.warm_up_from is not None:
            rate = self.warm_up_from + (self.learning_rate - self.warm_up_from) * progress / self.warm_up
        elif progress < self.warm_up:
            rate = self.learning_rate * max(progress / self.warm_up, 0.01)
        else:
            left = 1 - (progress - self.warm_up) / (1 - self.warm_up)
            rate = self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * left**self.decay_power
        return rate - (1 - share) * (rate - self.final_learning_rate)

    def hard_fraction_at(self, progress: float) -> float:
        return max(self.hard_fraction, 1 - (1 - self.hard_fraction) * _share(progress, self.hard_ramp))

    def auxiliary_at(self, progress: float) -> float:
        return 1 - _share(progress, self.auxiliary)

    def length_at(self, progress: float) -> int:
        return max((start, length) for start, length in self.lengths if start <= progress)[1]


def _share(progress: float, span: float) -> float:
    """How much of the first `span` of the run is over."""
    return min(progress / span, 1.0) if span > 0 else 1.0
