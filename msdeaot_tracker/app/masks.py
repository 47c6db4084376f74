"""What was tracked, frame by frame: masks on disk, boxes and scores in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..files import whole_file
from ..images import read_mask, write_mask
from ..types import Box, FrameResult


class Tracked(NamedTuple):
    """Of one frame, by object id."""

    boxes: Mapping[int, Box | None]
    scores: Mapping[int, float]
    sources: Mapping[int, str]  # of masks that were not propagated
    seconds: float  # that tracking it took


class MaskStore:
    """Indexed PNGs in a folder, one for each frame that was tracked; a later pass over a frame replaces it."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._tracked: dict[int, Tracked] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._tracked

    def __len__(self) -> int:
        return len(self._tracked)

    @property
    def indices(self) -> list[int]:
        return sorted(self._tracked)

    def write(self, index: int, result: FrameResult, seconds: float) -> None:
        with whole_file(self._path(index)) as partial:
            write_mask(partial, result.labels)
        sources = {i: estimate.source for i, estimate in result.estimates.items()}
        self._tracked[index] = Tracked(dict(result.boxes), dict(result.scores), sources, seconds)

    def labels(self, index: int, object_ids: Collection[int], size: tuple[int, int]) -> np.ndarray:
        """int32 [H, W] of these objects alone; zeros where the frame was not tracked."""
        if index not in self._tracked:
            return np.zeros(size, np.int32)
        labels = read_mask(self._path(index))
        return np.where(np.isin(labels, list(object_ids)), labels, 0).astype(np.int32)

    def tracked(self, index: int) -> Tracked:
        return self._tracked.get(index, Tracked({}, {}, {}, 0.0))

    def _path(self, index: int) -> Path:
        return self._folder / f"{index:08d}.png"
