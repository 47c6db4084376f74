"""Where the samples of a run come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch.utils.data import Dataset

from ..data.batches import BatchConfig, ProceduralBatches
from ..data.mixing import DrawnPart, MixConfig, MixedBatches, Part
from .crops import CropBatches, CropConfig


class Source(Protocol):
    """A sample follows from the seed and its number alone, so the size of a micro-batch does not change the samples."""

    @property
    def per_item(self) -> int:
        """Micro-batches that an item holds: it serves as many steps."""

    @property
    def about(self) -> str:
        """What it is, in a line."""

    @property
    def config(self) -> Any:
        """Its settings, a frozen dataclass."""

    def open(self, micro_batch: int, items: int, seed: int) -> Dataset[list[Any]]:
        """`items` lists of `per_item` micro-batches of that many samples each. InputError: it has no such batches."""


@dataclass(frozen=True)
class ProceduralSource:
    """Clips drawn by this project. The batch size of the settings is not used: the run has its own."""

    config: BatchConfig = field(default_factory=BatchConfig)

    @property
    def per_item(self) -> int:
        return self.config.samples_per_clip

    @property
    def about(self) -> str:
        return f"procedural clips, {self.config.frames} frames of {self.config.size}x{self.config.size}"

    def open(self, micro_batch: int, items: int, seed: int) -> ProceduralBatches:
        return ProceduralBatches(replace(self.config, batch_size=micro_batch), items, seed)


@dataclass(frozen=True)
class MixedSource:
    """Datasets with masks, and drawn clips. The batch size of the settings is not used: the run has its own."""

    parts: tuple[Part | DrawnPart, ...]
    config: MixConfig = field(default_factory=MixConfig)

    @property
    def per_item(self) -> int:
        return 1

    @property
    def about(self) -> str:
        return f"{_shares(self.parts)}; {self.config.frames} frames of {self.config.size}x{self.config.size}"

    def open(self, micro_batch: int, items: int, seed: int) -> MixedBatches:
        return MixedBatches(self.parts, replace(self.config, batch_size=micro_batch), items, seed)


@dataclass(frozen=True)
class CropSource:
    """Crops around boxes, of datasets with masks and of drawn pictures; a sample is a crop."""

    parts: tuple[Part | DrawnPart, ...]
    config: CropConfig = field(default_factory=CropConfig)

    @property
    def per_item(self) -> int:
        return 1

    @property
    def about(self) -> str:
        return f"crops of {_shares(self.parts)}; {self.config.size}x{self.config.size}"

    def open(self, micro_batch: int, items: int, seed: int) -> CropBatches:
        return CropBatches(self.parts, replace(self.config, batch_size=micro_batch), items, seed)


def _shares(parts: Sequence[Part | DrawnPart]) -> str:
    total = sum(part.share for part in parts)
    return ", ".join(f"{part.name} {part.share / total:.0%}" for part in parts)
