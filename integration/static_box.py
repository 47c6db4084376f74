"""The baseline that answers with the initial region for ever, as a vot-toolkit tracker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from msdeaot_tracker import read_image

from .requirements import require_trax
from .trax_server import BoxTuple, Target, one_line, prepare_output, serve


@dataclass(frozen=True)
class StaticResult:
    masks: Mapping[int, np.ndarray]
    boxes: Mapping[int, BoxTuple | None]
    scores: Mapping[int, float]


class StaticTracker:
    """Every object stays where it was given."""

    def __init__(self) -> None:
        self._masks: dict[int, np.ndarray] = {}

    def initialize(self, image: np.ndarray, targets: Mapping[int, Target]) -> StaticResult:
        self._masks = {}
        return self.track(image, targets)

    def track(self, image: np.ndarray, targets: Mapping[int, Target] | None = None) -> StaticResult:
        for object_id, target in (targets or {}).items():
            self._masks[object_id] = target if isinstance(target, np.ndarray) else _fill(target, image.shape[:2])
        # No boxes: the server then repeats the last rectangle it knows, which is the one given.
        return StaticResult(self._masks, dict.fromkeys(self._masks), dict.fromkeys(self._masks, 1.0))


def _fill(box: BoxTuple, size: tuple[int, int]) -> np.ndarray:
    """bool [H, W], true inside the box rounded to whole pixels."""
    mask = np.zeros(size, bool)
    x, y, w, h = box
    mask[max(round(y), 0) : max(round(y + h), 0), max(round(x), 0) : max(round(x + w), 0)] = True
    return mask


def run() -> None:
    prepare_output()
    try:
        require_trax()
    except ImportError as error:
        raise SystemExit(one_line(error)) from error
    serve(StaticTracker(), read_image, multi_object=True)


if __name__ == "__main__":
    run()
