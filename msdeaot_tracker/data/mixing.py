"""Training batches from datasets with masks: which frames of which video, which objects, put together from whom.

Sample n follows from (seed, n) alone, in any worker and on any machine that has the same data.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from ..images import VOID
from ..types import InputError
from .augmentation import Augmentation, MaskedClip, clip_of_still, clip_of_video, paste
from .batches import Batch
from .datasets.masked_videos import VideoSet, object_ids, read_frame
from .procedural.clip import generate_clip
from .procedural.config import ClipConfig
from .procedural.scene import Props

logger = logging.getLogger(__name__)

_ATTEMPTS = 100  # clips of a dataset drawn for a sample before giving up
_MAX_IDS = 100  # objects of a clip that are told apart before some are chosen
_MAX_WORKERS = 512


@dataclass(frozen=True)
class Part:
    """A dataset in the mix.

    weight: share of the samples, relative to the other parts'; None: `repeat` times the number of videos.
    """

    videos: VideoSet
    max_gap: int = 3  # frames that have masks, from one frame of a clip to the next
    merge: float = 0.3  # probability that the objects of another sample are pasted into a sample
    repeat: float = 1.0
    weight: float | None = None

    @property
    def name(self) -> str:
        return self.videos.name

    @property
    def share(self) -> float:
        return self.repeat * len(self.videos.names) if self.weight is None else self.weight


@dataclass(frozen=True)
class DrawnPart:
    """Clips that this project draws, as a part of a mix.

    clips: what is drawn; height, width and frames are the mix's. props: objects and backgrounds; None: painted ones.
    """

    name: str
    share: float
    clips: ClipConfig = ClipConfig()
    props: Props | None = None

    def draw(self, rng: np.random.Generator, size: int, frames: int) -> MaskedClip:
        config = replace(self.clips, height=size, width=size, frames=frames)
        clip = generate_clip(int(rng.integers(2**40)), config, self.props)
        backwards = slice(None, None, -1 if rng.random() < 0.5 else 1)
        return MaskedClip(clip.frames[backwards], clip.labels[backwards])


@dataclass(frozen=True)
class MixConfig:
    batch_size: int = 2
    size: int = 465  # pixels, both sides of a clip
    frames: int = 5  # per clip
    max_objects: int = 10  # per clip; of more, some are drawn by chance
    min_pixels: int = 100  # an object with fewer on the first frame is background (AOT recipe)
    growing: tuple[tuple[float, int, int], ...] = ()  # from this share of the items on, other `size` and `frames`
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        if min(self.batch_size, self.size, self.min_pixels) < 1 or self.frames < 2 or not 1 <= self.max_objects <= 100:
            raise InputError(f"{self}: clips have two frames or more and 1 to 100 objects; all sizes are positive")

    def at(self, progress: float) -> MixConfig:
        """As it is after that share of the items, in [0, 1)."""
        reached = [(size, frames) for start, size, frames in self.growing if start <= progress]
        return replace(self, size=reached[-1][0], frames=reached[-1][1]) if reached else self


class Sample(NamedTuple):
    """labels: 0 background, 1..n objects of the first frame in random order, 255 void. origin: what it is made of."""

    clip: MaskedClip
    origin: str


class MixedBatches(Dataset[list[Batch]]):
    """Item i is a list of one batch: samples i * batch_size and those that follow.

    Labels keep 255 where the dataset does not say what is there: no loss is to be taken on such pixels, and they are no
    object. A video that cannot be used (a broken file, no object on the first frame) is replaced by another of its
    dataset, with a warning that names it and counted in `skipped` where it is a file's fault.
    InputError, from an item: so many in a row that the dataset must be broken.
    """

    def __init__(self, parts: Sequence[Part | DrawnPart], config: MixConfig, items: int, seed: int):
        for part in parts:
            if isinstance(part, DrawnPart):
                continue
            if part.max_gap < 1 or not 0 <= part.merge <= 1 or not part.share >= 0:
                raise InputError(f"{part}: max_gap is from 1, merge from 0 to 1, repeat and weight not negative")
        if len({not isinstance(part, DrawnPart) and part.weight is None for part in parts}) > 1:
            raise InputError("give every dataset of a mix a weight, or none of them")
        shares = np.array([part.share for part in parts], float)
        if not shares.sum() > 0:
            raise InputError("a mix needs a dataset with a share above 0")
        self._parts, self._shares = tuple(parts), shares / shares.sum()
        self._config, self._items, self._seed = config, items, seed
        # in shared memory, a place for each worker; the main process has the first
        self._skipped = torch.zeros(_MAX_WORKERS + 1, dtype=torch.int64).share_memory_()
        self._named: set[str] = set()

    def __len__(self) -> int:
        return self._items

    def __getitem__(self, index: int) -> list[Batch]:
        if not 0 <= index < self._items:
            raise IndexError(index)
        first, config = index * self._config.batch_size, self._config.at(index / self._items)
        clips = [self.sample(first + i, config).clip for i in range(config.batch_size)]
        frames, labels = (np.stack(parts) for parts in zip(*clips, strict=True))
        return [(torch.from_numpy(frames).permute(0, 1, 4, 2, 3).contiguous(), torch.from_numpy(labels))]

    @property
    def skipped(self) -> int:
        """How often a broken file was drawn, by all workers of this data."""
        return int(self._skipped.sum())

    def sample(self, number: int, config: MixConfig | None = None) -> Sample:
        """Sample `number` of this seed, whichever batch it is in. config: its settings, if not the data's first."""
        rng, config = np.random.Generator(np.random.PCG64([self._seed, number])), config or self._config
        part = self._draw_part(rng)
        sample = self._draw(rng, part, config)
        if isinstance(part, DrawnPart) or rng.random() >= part.merge:
            return sample
        other = self._draw(rng, self._draw_part(rng), config)
        merged = paste(rng, sample.clip, other.clip, offset=self._config.max_objects)
        chosen = self._choose_objects(rng, merged)  # there are some: those in front are seen as before
        return Sample(chosen, f"{sample.origin} + {other.origin}")

    def _draw_part(self, rng: np.random.Generator) -> Part | DrawnPart:
        return self._parts[rng.choice(len(self._parts), p=self._shares)]

    def _draw(self, rng: np.random.Generator, part: Part | DrawnPart, config: MixConfig) -> Sample:
        if isinstance(part, DrawnPart):
            return self._draw_clip(rng, part, config)
        videos, last = part.videos, ""
        for _ in range(_ATTEMPTS):
            name = videos.names[rng.integers(len(videos.names))]
            try:
                clip = self._make_clip(rng, part, name, config)
            except InputError as error:
                last = f"{name}: {error}"
                self._report(videos.name, last)
                continue
            chosen = self._choose_objects(rng, clip) if clip else None
            if chosen:
                return Sample(chosen, f"{videos.name}: {name}")
            last = f"{name}: no object of {self._config.min_pixels} pixels on the first frame"
        raise InputError(f"{videos.name}: {_ATTEMPTS} clips of it in a row are of no use; the last: {last}")

    def _draw_clip(self, rng: np.random.Generator, part: DrawnPart, config: MixConfig) -> Sample:
        for _ in range(_ATTEMPTS):
            chosen = self._choose_objects(rng, part.draw(rng, config.size, config.frames))
            if chosen:
                return Sample(chosen, part.name)
        raise InputError(f"{part.name}: {_ATTEMPTS} clips in a row show no object on the first frame")

    def _make_clip(self, rng: np.random.Generator, part: Part, name: str, config: MixConfig) -> MaskedClip | None:
        """None: the first frame shows no object. InputError: a file that is missing or broken."""
        frames = part.videos.frames(name)
        order = [0]
        if not part.videos.stills:
            order = choose_frames(rng, len(frames), config.frames, part.max_gap).tolist()
            order = order[::-1] if rng.random() < config.augmentation.reverse else order
        loaded = {index: read_frame(frames[index]) for index in dict.fromkeys(order)}
        images, labels = zip(*(loaded[index] for index in order), strict=True)
        sizes = sorted({image.shape for image in images})
        if len(sizes) > 1:
            raise InputError(f"frames of different sizes: {' and '.join(f'{w}x{h}' for h, w, _ in sizes)}")
        small = _number_objects(rng, labels)
        if not ((small[0] > 0) & (small[0] != VOID)).any():
            return None
        if part.videos.stills:
            return clip_of_still(rng, images[0], small[0], config.frames, config.size, config.augmentation)
        return clip_of_video(rng, images, small, config.size, config.augmentation)

    def _choose_objects(self, rng: np.random.Generator, clip: MaskedClip) -> MaskedClip | None:
        """At most `max_objects` of the objects on the first frame become 1..n, by chance; None: there are none."""
        counts = np.bincount(clip.labels[0].ravel(), minlength=256)
        shown = [i for i in range(1, VOID) if counts[i] >= self._config.min_pixels]
        if not shown:
            return None
        table = np.zeros(256, np.uint8)
        table[VOID] = VOID
        chosen = rng.permutation(shown)[: self._config.max_objects]
        table[chosen] = np.arange(1, len(chosen) + 1)
        return MaskedClip(clip.frames, table[clip.labels])

    def _report(self, dataset: str, problem: str) -> None:
        worker = get_worker_info()
        self._skipped[worker.id + 1 if worker else 0] += 1
        if problem not in self._named:
            self._named.add(problem)
            logger.warning("%s: skipped: %s", dataset, problem)


def choose_frames(rng: np.random.Generator, count: int, length: int, max_gap: int) -> np.ndarray:
    """`length` of `count` frames, rising, by steps of 1 to max_gap, which is less where the video is short.

    A video of fewer frames is run through to and fro. InputError: of fewer than two.
    """
    if count < 2:
        raise InputError(f"{count} frame{'s' * (count != 1)} with a mask; a video needs two")
    largest = min(max_gap, (count - 1) // (length - 1))
    if largest < 1:
        there_and_back = np.concatenate([np.arange(count), np.arange(count - 2, 0, -1)])
        return there_and_back[(rng.integers(len(there_and_back)) + np.arange(length)) % len(there_and_back)]
    steps = rng.integers(1, largest + 1, length - 1)
    start = rng.integers(count - steps.sum())
    return start + np.concatenate([[0], steps.cumsum()])


def _number_objects(rng: np.random.Generator, labels: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Labels of a clip, of any ids -> uint8, the objects from 1."""
    ids = np.sort(rng.permutation(object_ids(labels))[:_MAX_IDS].astype(int))
    table = np.zeros(1 + max(VOID, *(int(each.max()) for each in labels)), np.uint8)
    table[VOID] = VOID
    table[ids] = np.arange(1, len(ids) + 1)
    return [table[each] for each in labels]
