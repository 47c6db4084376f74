"""Procedural video that no training sees: whole sequences of a fixed set, in memory or in DAVIS' folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...images import write_image, write_mask
from ...types import InputError
from .clip import Clip, generate_clip
from .config import ClipConfig
from .scene import Props

HELD_OUT_SEED = 2**41  # training counts the seeds of its clips up from its own, which is small
_CALM = {"max_distractors": 1, "absence_probability": 0.0, "vigour": (0.3, 1.0), "object_size": (0.15, 0.7)}
_TINY = {  # 14 to 36 pixels in 1280x720
    "max_objects": 1,
    "object_size": (0.02, 0.05),
    "min_area": 0.0001,
    "min_visibility": 0.8,
    "screen_probability": 0.0,
    "camouflage_probability": 0.1,
    "defocus_probability": 0.0,
}
KINDS = {  # of each, what its sequences are in turn
    "mixed": {
        "one": {"max_objects": 1},
        "two": {"min_objects": 2, "max_objects": 2},
        "distractors": {"max_objects": 1, "max_distractors": 6},
        "absence": {"max_objects": 2, "absence_probability": 1.0},
    },
    "small": {  # objects that a network sees badly on the whole frame
        "tiny": _TINY,
        "fast": {**_TINY, "speed": 0.05, "vigour": (0.8, 1.2)},
        "leaving": {**_TINY, "absence_probability": 1.0},
    },
}


@dataclass(frozen=True)
class ProceduralSequence:
    """A clip where a `mask_sequences.Sequence` is read from disk: the same frames, objects and truth."""

    name: str
    clip: Clip

    def __len__(self) -> int:
        return len(self.clip.frames)

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3] RGB."""
        return self.clip.frames[index]

    def masks(self, index: int) -> dict[int, np.ndarray]:
        """The truth: bool [H, W] by object id, empty where the object is absent."""
        labels = self.clip.labels[index]
        return {object_id: labels == object_id for object_id in range(1, self.clip.visibility.shape[1] + 1)}


@dataclass(frozen=True)
class HeldOut:
    """The first `count` sequences of a seed, drawn anew each time they are gone through, so one is held at a time.

    size: width and height in pixels. props: objects and backgrounds; None: painted ones.

    InputError: no sequences, one frame, a negative seed, sizes that no clip has, no such kind.
    """

    count: int = 16
    frames: int = 36
    size: tuple[int, int] = (480, 270)
    seed: int = HELD_OUT_SEED
    kind: str = "mixed"  # one of KINDS
    props: Props | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or self.frames < 2 or self.seed < 0:
            values = f"count {self.count}, frames {self.frames}, seed {self.seed}"
            raise InputError(f"{values}: at least one sequence of two frames, and no negative seed")
        if self.kind not in KINDS:
            raise InputError(f"kind {self.kind!r} is none of {', '.join(KINDS)}")
        try:
            for changes in KINDS[self.kind].values():
                self._config(changes)
        except ValueError as error:
            raise InputError(str(error)) from None

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[ProceduralSequence]:
        for number in range(self.count):
            name, changes = list(KINDS[self.kind].items())[number % len(KINDS[self.kind])]
            clip = generate_clip(self.seed + number, self._config(changes), self.props)
            yield ProceduralSequence(f"{number:03d}-{name}", clip)

    def _config(self, changes: Mapping[str, Any]) -> ClipConfig:
        width, height = self.size
        return ClipConfig(height=height, width=width, frames=self.frames, **{**_CALM, **changes})


def write_sequence(root: Path, sequence: ProceduralSequence) -> None:
    """As `write_frames`."""
    write_frames(root, sequence.name, list(zip(sequence.clip.frames, sequence.clip.labels, strict=True)))


def write_frames(root: Path, name: str, frames: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """JPEGImages/<name>, as PNGs, so that a tracker sees what it sees in memory; and Annotations/<name>.

    frames: pictures uint8 [H, W, 3] RGB and object ids [H, W]. Of a sequence that cannot be written nothing is left.
    """
    parents = [root / folder for folder in ("JPEGImages", "Annotations")]
    for parent in parents:
        parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=root, prefix=".part-") as unfinished:
        halves = [Path(unfinished, parent.name) for parent in parents]
        for half in halves:
            half.mkdir()
        for index, (picture, labels) in enumerate(frames):
            write_image(halves[0] / f"{index:05d}.png", picture)
            write_mask(halves[1] / f"{index:05d}.png", labels)
        for half, parent in zip(halves, parents, strict=True):
            half.rename(parent / name)
