"""Where the samples of a run come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from torch.utils.data import Dataset

from ..data.batches import BatchConfig, ProceduralBatches
from ..data.mixing import DrawnPart, MixConfig, MixedBatches, Part
from ..types import InputError
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
        shares = sum(part.share for part in self.parts)
        mix = ", ".join(f"{part.name} {part.share / shares:.0%}" for part in self.parts)
        return f"{mix}; {self.config.frames} frames of {self.config.size}x{self.config.size}"

    def open(self, micro_batch: int, items: int, seed: int) -> MixedBatches:
        return MixedBatches(self.parts, replace(self.config, batch_size=micro_batch), items, seed)


@dataclass(frozen=True)
class CropSource:
    """Crops of procedural clips for networks of Alpha-Refine's form; a sample is a crop, and they come in pairs."""

    config: CropConfig = field(default_factory=CropConfig)

    @property
    def per_item(self) -> int:
        return self.config.pairs_per_clip

    @property
    def about(self) -> str:
        return "pairs of crops of procedural clips"

    def open(self, micro_batch: int, items: int, seed: int) -> CropBatches:
        if micro_batch % 2:
            raise InputError(f"{micro_batch} crops at once: they come in pairs, so an even number is needed")
        return CropBatches(replace(self.config, batch_size=micro_batch), items, seed)
