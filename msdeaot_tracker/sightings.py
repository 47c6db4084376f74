"""What is known of an object from frame to frame: where it is, where it goes, and whether it is the object at all."""

from __future__ import annotations

from typing import NamedTuple

from .config import WindowConfig
from .geometry import shifted, towards
from .types import Box, MapSize

_USUAL, _RECENT = 0.02, 0.3  # shares of the latest frame in an object's usual score, and in that of late


class Sureness(NamedTuple):
    """How sure the network is of an object, as its scores from 0 to 1."""

    usual: float
    recent: float

    def after(self, score: float, missing: bool) -> Sureness:
        """Of one that is missing each score stands for itself: it is of what was found somewhere else."""
        if missing:
            return Sureness(self.usual, score)
        return Sureness(self.usual + _USUAL * (score - self.usual), self.recent + _RECENT * (score - self.recent))


class Sighting(NamedTuple):
    box: Box  # where an object was last seen well, in pixels, of its usual size; it may reach beyond the image
    age: int = 0  # frames since then
    step: tuple[float, float] = (0.0, 0.0)  # pixels that it then moved each frame, to the right and down
    sureness: Sureness | None = None  # None: not tracked yet
    found: Box | None = None  # where on the latest frame something was that may be it, of its usual size

    def after(self, frames: int, size: MapSize) -> Box:
        """Where it is so many frames later if it moves on, though not out of an image of this height and width."""
        across, down = self.step
        return shifted(self.box, frames * across, frames * down, *size)

    def next(self, patience: int, size: MapSize) -> Box:
        """Where to look for it on the next frame; the longer it is missing, the less is its way known."""
        if self.found is not None:
            return Sighting(self.found, step=self.step).after(1, size)
        return self.after(min(self.age + 1, patience), size)

    def noted(self, box: Box | None, score: float | None, window: WindowConfig) -> Sighting:
        """Of the next frame, on which the object is at `box`, or nowhere; score: None where it was given.

        It counts as seen if it is of much its usual size and the network as sure of it as usual; what it is less sure
        of is followed for some frames, and counts as missing. One that was missing for long has to be seen twice in a
        row: until then it may be something else, and its way is not known.
        """
        missing = self.age >= window.patience
        whole = box is not None and is_alike(box, self.box, window.resize)
        if box is None or not (whole or (not missing and is_alike(box, self.box, window.change))):
            return self._replace(age=self.age + 1, found=None)
        sureness, doubtful = self.sureness, False
        if score is not None:
            sureness = (sureness or Sureness(score, score)).after(score, missing)
            doubtful = sureness.recent < window.trust * sureness.usual
            if score < window.score or (missing and doubtful):
                return self._replace(age=self.age + 1, found=None, sureness=sureness)
        now, followed = towards(self.box, box, window.adapt), self.found is not None or not self.age
        step = self._step_to(now, window.inertia, whole) if followed else (0.0, 0.0)
        if doubtful or (missing and not followed):
            return Sighting(self.box, self.age + 1, step, sureness, found=now)
        return Sighting(now, step=step, sureness=sureness)

    def _step_to(self, now: Box, inertia: float, whole: bool) -> tuple[float, float]:
        """whole: of its size, so its middle is known."""
        before, after = ((box.x + box.w / 2, box.y + box.h / 2) for box in (self.found or self.box, now))
        moved = [b - a if whole else 0.0 for a, b in zip(before, after, strict=True)]
        across, down = (inertia * old + (1 - inertia) * new for old, new in zip(self.step, moved, strict=True))
        return across, down


def is_alike(one: Box, other: Box, change: float) -> bool:
    """Of much the same area: what is left of an object behind a cover is not, nor what a leak makes of it."""
    ratio = one.w * one.h / (other.w * other.h)
    return 1 / change <= ratio <= change
