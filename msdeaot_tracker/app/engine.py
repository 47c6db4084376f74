"""What all sessions compute with: one model, one initializer, one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..types import MaskEstimate

if TYPE_CHECKING:
    from ..targets import Target
    from ..tracker import Tracker

Estimate: TypeAlias = "Callable[[np.ndarray, Target], MaskEstimate]"


@dataclass(frozen=True)
class Engine:
    """lock: whoever computes holds it, for a frame at a time: users take turns.

    estimate: the mask that an object's target makes on an image [H, W, 3].
    """

    new_tracker: Callable[[], Tracker]
    estimate: Estimate
    lock: threading.Lock


def make_engine(tracker: Tracker) -> Engine:
    """With that tracker's model, initializer and settings. InputError: the initializer takes no clicks."""
    tracker.check_takes_points()
    return Engine(tracker.another, lambda image, target: tracker.estimate(image, target)[1], threading.Lock())
