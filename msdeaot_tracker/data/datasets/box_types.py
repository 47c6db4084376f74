"""A sequence whose truth is one box per frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Anchor(NamedTuple):
    """Where a run of a multi-start evaluation begins: forward to the last frame, or backward to the first."""

    frame: int
    backward: bool


class Interaction(NamedTuple):
    """A hand touches the object from frame `start` to frame `end`, both included."""

    start: int
    end: int
    hand: int  # 0 left, 1 right, 2 both


@dataclass(frozen=True, eq=False)
class BoxSequence:
    """One object's boxes through one video.

    frames:   paths in order; empty where there are none that fit the truth (scoring needs none). They are not opened.
    boxes:    float64 [N, 4], x,y,w,h in pixels; a row of NaN: the object is not to be seen. Empty, when the truth
              cannot be read.
    anchors, interactions: of the multi-start and hand-object protocols, all of them within the sequence.
    fps:      None: not known, so nothing can be run in real time.
    problems: what is wrong with the files, and what was left out for it; each names the file and, where it has one,
              the line.
    """

    name: str
    frames: tuple[Path, ...]
    boxes: np.ndarray
    anchors: tuple[Anchor, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    fps: float | None = 30.0
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def visible(self) -> np.ndarray:
        """bool [N]."""
        return ~np.isnan(self.boxes).any(axis=1)
