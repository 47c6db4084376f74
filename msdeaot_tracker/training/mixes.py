"""What a recipe is trained on, before the folders are known: datasets by their names, and what is drawn beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..data.cut_outs import Photographs
from ..data.datasets.catalogue import find_dataset, open_dataset
from ..data.datasets.masked_videos import VideoSet, held_out, hold_out
from ..data.mixing import DrawnPart, MixConfig, Part
from ..data.procedural.config import ClipConfig
from ..types import InputError
from .crops import CropConfig
from .sources import CropSource, MixedSource


@dataclass(frozen=True)
class Drawn:
    """Clips that this project draws, beside a mix's datasets."""

    weight: float
    clips: ClipConfig


@dataclass(frozen=True)
class Mix:
    """Datasets of the catalogue, in shares of their numbers of videos times their `repeat` there (AOT recipe).

    weights: of the datasets, in their order, instead of those shares; 0: for cut-outs and backgrounds alone.
    collage: with weights; clips of objects cut out of the datasets of stills, over those or pictures without masks.
    painted: with weights; procedural clips.
    hold_out: a tenth of the stills and the last fifth of each video are kept for validation.
    crops: not clips are drawn, but crops around boxes.
    """

    datasets: tuple[str, ...]
    config: MixConfig = field(default_factory=MixConfig)
    merge_stills: float = 1.0  # probability that the objects of a second sample are pasted in (AOT recipe)
    merge_videos: float = 0.3
    weights: tuple[float, ...] | None = None
    collage: Drawn | None = None
    painted: Drawn | None = None
    hold_out: bool = False
    crops: CropConfig | None = None

    @property
    def about(self) -> str:
        drawn = [name for name in ("collage", "painted") if getattr(self, name)]
        return f"{', '.join([*self.datasets, *drawn])}; {self.samples}"

    @property
    def samples(self) -> str:
        if self.crops is not None:
            return f"crops of {self.crops.size}x{self.crops.size}"
        return f"{self.config.frames} frames of {self.config.size}x{self.config.size}"

    def open(self, folders: Mapping[str, Path]) -> MixedSource | CropSource:
        """`folders`: of each dataset by its name. InputError: names every dataset that is missing or not whole."""
        parts, problems = [], []
        for name in self.datasets:
            try:
                parts.append(self.open_part(name, folders))
            except InputError as error:
                problems.append(f"{name}: {error}")
        if problems:
            raise InputError(f"{len(problems)} of {len(self.datasets)} datasets cannot be used: " + "; ".join(problems))
        parts = (*parts, *self._drawn(parts))
        return MixedSource(parts, self.config) if self.crops is None else CropSource(parts, self.crops)

    def open_held_out(self, folders: Mapping[str, Path]) -> tuple[list[VideoSet], Photographs | None]:
        """What `hold_out` keeps from training: the ends of the videos, and the stills as props of a collage.

        InputError: a dataset is missing or not whole.
        """
        parts = [replace(self, hold_out=False).open_part(name, folders) for name in self.datasets]
        parts = [replace(part, videos=held_out(part.videos)) for part in parts]
        return [part.videos for part in parts if not part.videos.stills], self._props(parts) if self.collage else None

    def _drawn(self, parts: Sequence[Part]) -> Iterator[DrawnPart]:
        if self.painted is not None:
            yield DrawnPart("painted", self.painted.weight, self.painted.clips)
        if self.collage is not None:
            yield DrawnPart("collage", self.collage.weight, self.collage.clips, self._props(parts))

    def _props(self, parts: Sequence[Part]) -> Photographs:
        grounds = next((part.videos for part in parts if not part.videos.masked), None)
        stills = [part for part in parts if part.videos.stills and part.videos.masked]
        return Photographs(tuple(part.videos for part in stills), tuple(part.share for part in stills), grounds)

    def open_part(self, name: str, folders: Mapping[str, Path]) -> Part:
        """One of them. InputError: missing or not whole."""
        info = find_dataset(name)
        if name not in folders:
            raise InputError(f"no folder given (--data {name}=DIR); it is from {info.source} ({info.terms})")
        videos = open_dataset(name, folders[name])
        if self.hold_out:
            videos = hold_out(videos)
        weight = None if self.weights is None else self.weights[self.datasets.index(name)]
        merge = self.merge_stills if videos.stills else self.merge_videos
        return Part(videos, info.max_gap, merge, info.repeat, weight)
