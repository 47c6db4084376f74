"""Training batches cut from procedural clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .procedural.clip import ClipConfig, generate_clip

# frames uint8 [B, T, 3, S, S] and labels uint8 [B, T, S, S], objects 1..n of the first frame
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class BatchConfig:
    batch_size: int = 4
    size: int = 161  # pixels, both sides of a crop
    frames: int = 5  # per sample
    margin: int = 31  # pixels; clips are generated this much larger than the crop
    spare_frames: int = 2  # clips are generated this much longer than a sample
    samples_per_clip: int = 3  # crops taken from each generated clip
    min_pixels: int = 40  # an object with fewer in the first frame of a sample is background there
    absence: float = 0.2  # probability that an object leaves or is covered for a while: the model must learn silence


class ProceduralBatches(Dataset[list[Batch]]):
    """Item i is `samples_per_clip` batches from the same clips, differently cut.

    A sample follows from the seed and the number of its clip alone, so however clips are shared out between batches and
    processes, the samples are the same.
    """

    def __init__(self, config: BatchConfig, items: int, seed: int, clips: ClipConfig | None = None):
        self._config, self._items, self._seed = config, items, seed
        side = config.size + config.margin
        self._clips = clips or ClipConfig(
            height=side, width=side, frames=config.frames + config.spare_frames, absence_probability=config.absence
        )

    def __len__(self) -> int:
        return self._items

    def __getitem__(self, index: int) -> list[Batch]:
        config = self._config
        first = self._seed + index * config.batch_size
        by_clip = [self._samples(first + i) for i in range(config.batch_size)]
        batches = []
        for samples in zip(*by_clip, strict=True):
            frames, labels = (np.stack(parts) for parts in zip(*samples, strict=True))
            batches.append((torch.from_numpy(frames).permute(0, 1, 4, 2, 3).contiguous(), torch.from_numpy(labels)))
        return batches

    def _samples(self, number: int) -> list[tuple[np.ndarray, np.ndarray]]:
        clip = generate_clip(number, self._clips)
        rng = np.random.Generator(np.random.PCG64([self._seed, number]))
        return [cut_sample(rng, clip.frames, clip.labels, self._config) for _ in range(self._config.samples_per_clip)]


def cut_sample(
    rng: np.random.Generator, frames: np.ndarray, labels: np.ndarray, config: BatchConfig
) -> tuple[np.ndarray, np.ndarray]:
    """A crop of a clip in space and time, perhaps mirrored and reversed, whose first frame shows an object."""
    for _ in range(20):
        start = rng.integers(len(frames) - config.frames + 1)
        top, left = rng.integers(config.margin + 1, size=2)
        time = slice(start, start + config.frames)
        window = (time, slice(top, top + config.size), slice(left, left + config.size))
        seen, truth = frames[window], labels[window]
        if rng.random() < 0.5:
            seen, truth = seen[::-1], truth[::-1]
        if rng.random() < 0.5:
            seen, truth = seen[:, :, ::-1], truth[:, :, ::-1]
        renamed = _rename(truth, config.min_pixels)
        if renamed[0].any():
            break
    return np.ascontiguousarray(seen), renamed


def _rename(labels: np.ndarray, min_pixels: int) -> np.ndarray:
    """The objects that the first frame shows become 1..n, the others background."""
    counts = np.bincount(labels[0].ravel(), minlength=256)
    shown = [k for k in range(1, 256) if counts[k] >= min_pixels]
    table = np.zeros(256, np.uint8)
    table[shown] = np.arange(1, len(shown) + 1)
    return table[labels]
