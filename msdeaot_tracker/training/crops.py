"""Training batches for networks of Alpha-Refine's form: crops around boxes on procedural clips, with their truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..data.procedural import ClipConfig, generate_clip
from ..geometry import mask_to_box
from ..initializers.alpha_refine import cut_out, search_region
from ..initializers.alpha_refine_net import CROP
from ..types import Box

Pair = list[tuple[np.ndarray, np.ndarray]]  # two crops with masks, uint8 [256, 256, 4], and corners, float32 [4]


class CropBatch(NamedTuple):
    crops: Tensor  # uint8 [N, 3, 256, 256]
    masks: Tensor  # uint8 [N, 256, 256], share of each pixel that is object, 255 = all
    corners: Tensor  # float32 [N, 4], x1, y1, x2, y2 of the object's visible pixels, in pixels of the crop
    references: Tensor  # int64 [N], the crop of the batch that shows what is looked for: mostly the crop itself


@dataclass(frozen=True)
class CropConfig:
    batch_size: int = 16  # crops; even
    pairs_per_clip: int = 6  # of crops; each goes to another batch
    min_pixels: int = 80  # an object with fewer on a frame is not cut out there
    searched: float = 0.25  # share of the pairs that are one object, looked for in a rough box
    clips: ClipConfig = ClipConfig(
        height=288, width=384, frames=2, min_objects=2, max_objects=5, object_size=(0.1, 0.6)
    )


class CropBatches(Dataset[list[CropBatch]]):
    """Item i is `pairs_per_clip` batches, each with a pair of each of the same clips.

    A pair follows from the seed and the number of its clip alone, however clips are shared out between batches.
    """

    def __init__(self, config: CropConfig, items: int, seed: int):
        self._config, self._items, self._seed = config, items, seed

    def __len__(self) -> int:
        return self._items

    def __getitem__(self, index: int) -> list[CropBatch]:
        count = self._config.batch_size // 2
        by_clip = [self._pairs(self._seed + index * count + i) for i in range(count)]
        return [_as_batch(pairs) for pairs in zip(*by_clip, strict=True)]

    def _pairs(self, number: int) -> list[tuple[bool, Pair]]:
        """Whether each is one object that is searched, and the pair."""
        config, clip = self._config, generate_clip(number, self._config.clips)
        rng = np.random.Generator(np.random.PCG64([self._seed, number]))
        pairs = []
        for _ in range(config.pairs_per_clip):
            searched = rng.random() < config.searched
            pairs.append((searched, cut_pair(rng, clip.frames, clip.labels, searched, config.min_pixels)))
        return pairs


def _as_batch(pairs: Sequence[tuple[bool, Pair]]) -> CropBatch:
    crops, references = [], []
    for searched, pair in pairs:
        references += [len(crops), len(crops) + (not searched)]
        crops += pair
    pictures, corners = (np.stack(parts) for parts in zip(*crops, strict=True))
    pictures = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    return CropBatch(
        pictures[:, :3].contiguous(),
        pictures[:, 3].contiguous(),
        torch.from_numpy(corners),
        torch.tensor(references),
    )


def cut_pair(rng: np.random.Generator, frames: np.ndarray, labels: np.ndarray, searched: bool, min_pixels: int) -> Pair:
    """Two objects of a clip's first and last frame -> twice uint8 [256, 256, 4] (RGB, mask) and float32 [4] (corners).

    searched: it is one object, on both frames if it is seen on both, and the second box is a rough one, as a tracker
              predicts it. Otherwise both boxes are as people draw them.
    """
    seen = np.stack([np.bincount(x.ravel(), minlength=256) for x in (labels[0], labels[-1])]) >= min_pixels
    seen[:, 0] = False
    shown = np.argwhere(seen)  # frame (0 first, 1 last), label
    if not len(shown):
        shown = np.array([[0, labels[0].max()]])
    first, second = shown[rng.integers(len(shown), size=2)]
    if searched:
        second = first[0] ^ seen[:, first[1]].all(), first[1]
    mirrored, upside_down = rng.random(2) < (0.5, 0.2)
    colours = _colours(rng)
    pair = []
    for (frame, label), draw in ((first, drawn_box), (second, rough_box if searched else drawn_box)):
        truth = labels[-frame] == label
        tight = mask_to_box(truth)
        box = draw(rng, tight)
        region = search_region(box)
        crop = cut_out(np.dstack([cv2.LUT(frames[-frame], colours), 255 * truth.astype(np.uint8)]), region)
        left, top = box.x - box.w / 2, box.y - box.h / 2  # as in `box_in_image`
        corners = np.array([tight.x, tight.y, tight.x + tight.w, tight.y + tight.h])
        corners = (corners - [left, top, left, top]) * CROP / [region.w, region.h, region.w, region.h]
        if mirrored:
            crop, corners = crop[:, ::-1], CROP * np.array([1, 0, 1, 0]) + corners[[2, 1, 0, 3]] * [-1, 1, -1, 1]
        if upside_down:
            crop, corners = crop[::-1], CROP * np.array([0, 1, 0, 1]) + corners[[0, 3, 2, 1]] * [1, -1, 1, -1]
        pair.append((np.ascontiguousarray(crop), np.clip(corners, 0, CROP).astype(np.float32)))
    return pair


def drawn_box(rng: np.random.Generator, tight: Box) -> Box:
    """As people draw it: half of the boxes to 2 % a side, most others to 10 %, some up to 25 % too large in all."""
    kind = rng.random()
    if kind < 0.5:
        moves = rng.uniform(-0.02, 0.02, 4)
    elif kind < 0.85:
        moves = rng.uniform(-0.1, 0.1, 4)
    else:
        moves = rng.uniform(0, 0.125, 4) * [-1, -1, 1, 1]
    x, y, w, h = tight
    left, top, right, bottom = np.array([x, y, x + w, y + h]) + moves * [w, h, w, h]
    return Box(left, top, right - left, bottom - top)


def rough_box(rng: np.random.Generator, tight: Box) -> Box:
    """As a tracker predicts it: its centre up to 20 % of a side off, its sides 0.75 to 1.33 times as long."""
    x, y, w, h = tight
    new_w, new_h = np.exp(rng.uniform(-0.288, 0.288, 2)) * (w, h)
    across, down = rng.uniform(-0.2, 0.2, 2) * (w, h)
    return Box(x + (w - new_w) / 2 + across, y + (h - new_h) / 2 + down, new_w, new_h)


def _colours(rng: np.random.Generator) -> np.ndarray:
    """uint8 [1, 256, 3], by old grey value and channel the new one: other contrast, brightness and white balance."""
    values = np.linspace(0, 1, 256)[:, None] ** np.exp(rng.normal(0, 0.25))
    gain = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.05, 3))
    return np.clip(255 * (gain * values + rng.normal(0, 0.05)), 0, 255).astype(np.uint8)[None]
