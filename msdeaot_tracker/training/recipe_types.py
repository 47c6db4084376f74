"""What a recipe is: model, data, schedule, and where it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..config import find_preset
from ..data.catalogue import find_dataset, open_dataset
from ..data.mixing import MixConfig, Part
from ..types import InputError
from .config import LoopConfig
from .sources import CropSource, MixedSource, Source

SCRATCH, IMAGENET = "scratch", "imagenet"
INITIALIZER = "ar-small"  # trained by the same loop, but no preset


@dataclass(frozen=True)
class Mix:
    """Datasets of the catalogue, in shares of their numbers of videos times their `repeat` there (AOT recipe)."""

    datasets: tuple[str, ...]
    config: MixConfig = field(default_factory=MixConfig)
    merge_stills: float = 1.0  # probability that the objects of a second sample are pasted in (AOT recipe)
    merge_videos: float = 0.3

    @property
    def about(self) -> str:
        return f"{', '.join(self.datasets)}; {self.config.frames} frames of {self.config.size}x{self.config.size}"

    def open(self, folders: Mapping[str, Path]) -> MixedSource:
        """`folders`: of each dataset by its name. InputError: names every dataset that is missing or not whole."""
        parts, problems = [], []
        for name in self.datasets:
            try:
                parts.append(self.open_part(name, folders))
            except InputError as error:
                problems.append(f"{name}: {error}")
        if problems:
            raise InputError(f"{len(problems)} of {len(self.datasets)} datasets cannot be used: " + "; ".join(problems))
        return MixedSource(tuple(parts), self.config)

    def open_part(self, name: str, folders: Mapping[str, Path]) -> Part:
        """One of them. InputError: missing or not whole."""
        info = find_dataset(name)
        if name not in folders:
            raise InputError(f"no folder given (--data {name}=DIR); it is from {info.source} ({info.terms})")
        videos = open_dataset(name, folders[name])
        return Part(videos, info.max_gap, self.merge_stills if videos.stills else self.merge_videos, info.repeat)


@dataclass(frozen=True)
class Recipe:
    """A run.

    preset: the model's, or INITIALIZER. start: SCRATCH, IMAGENET (its encoder), or the recipe whose weights it needs.
    ours: which of its settings stand neither in the report nor in the public AOT recipe.
    """

    name: str
    about: str
    preset: str
    config: LoopConfig
    data: Source | Mix
    start: str = SCRATCH
    devices: int = 1
    ours: str = ""

    def with_size(self, size: int) -> Recipe:
        """Frames of size x size. InputError: not of the form the model takes, or this recipe has one size only."""
        if isinstance(self.data, CropSource):
            raise InputError(f"{self.name} has no size of frames")
        return replace(self, data=replace(self.data, config=replace(self.data.config, size=checked_size(self, size))))


def checked_size(recipe: Recipe, size: int) -> int:
    preset = find_preset(recipe.preset)
    offset = 1 if preset.model.align_corners else 0
    if size < 16 or size % 16 != offset:
        form, near = ("16k+1", max(size // 16, 1) * 16 + 1) if offset else ("16k", max(size // 16, 1) * 16)
        raise InputError(f"frames of {size}x{size}: {preset.name} takes sides of the form {form}, as {near}")
    return size
