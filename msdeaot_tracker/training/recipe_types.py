"""What a recipe is: model, data, schedule, and where it starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..config import find_preset
from ..data.mixing import MixConfig
from ..types import InputError
from .config import LoopConfig
from .crops import CropConfig
from .mixes import Mix
from .sources import Source

SCRATCH, IMAGENET = "scratch", "imagenet"
INITIALIZER = "lite"  # trained by the same loop, but no preset


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
        if crops_of(self) is not None:
            raise InputError(f"{self.name} has no size of frames")
        config, changes = self.data.config, {"size": checked_size(self, size)}
        if isinstance(config, MixConfig) and size != config.size:  # which then stays, whatever it would grow to
            changes["growing"] = tuple((start, size, frames) for start, _, frames in config.growing)
        return replace(self, data=replace(self.data, config=replace(config, **changes)))


def crops_of(recipe: Recipe) -> CropConfig | None:
    """Of a recipe that trains on crops."""
    return recipe.data.crops if isinstance(recipe.data, Mix) else None


def checked_size(recipe: Recipe, size: int) -> int:
    preset = find_preset(recipe.preset)
    offset = 1 if preset.model.align_corners else 0
    if size < 16 or size % 16 != offset:
        form, near = ("16k+1", max(size // 16, 1) * 16 + 1) if offset else ("16k", max(size // 16, 1) * 16)
        raise InputError(f"frames of {size}x{size}: {preset.name} takes sides of the form {form}, as {near}")
    return size
