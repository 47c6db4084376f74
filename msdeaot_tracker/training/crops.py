"""Training batches from boxes to masks: crops around boxes on pictures, with the truth."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..data.datasets.masked_videos import object_ids, read_frame
from ..data.mixing import DrawnPart, Part
from ..geometry import mask_to_box
from ..images import VOID
from ..initializers.box_crop import CROP, GREY, crop_side, into_crop, warp
from ..types import Box, InputError

logger = logging.getLogger(__name__)

_ATTEMPTS = 100  # pictures drawn for a crop before giving up


class CropBatch(NamedTuple):
    crops: Tensor  # uint8 [N, 3, S, S] RGB
    labels: Tensor  # uint8 [N, S, S]: 1 object, 0 not, 255 not known
    sides: Tensor  # float32 [N, 2], width and height of the box as shares of the crop's side


@dataclass(frozen=True)
class CropConfig:
    batch_size: int = 16  # crops
    size: int = CROP  # pixels, both sides of a crop
    drawn: int = 336  # pixels, both sides of a drawn picture
    min_pixels: int = 60  # an object with fewer is not cut out
    turn: float = 12.0  # degrees, standard deviation
    stretch: float = 0.12  # logarithm of the aspect, standard deviation
    cut: float = 0.12  # probability that a border of the picture cuts the object
    coarse: float = 0.3  # probability that the crop has fewer pixels than it is shown with
    compressed: float = 0.3  # probability of JPEG


class CropBatches(Dataset[list[CropBatch]]):
    """Item i is a list of one batch: samples i * batch_size and those that follow, each from (seed, number) alone.

    A file that cannot be used is replaced by another of its dataset, with a warning that names it.
    InputError, from an item: so many in a row that the dataset must be broken.
    """

    def __init__(self, parts: Sequence[Part | DrawnPart], config: CropConfig, items: int, seed: int):
        shares = np.array([part.share for part in parts], float)
        if not shares.sum() > 0:
            raise InputError("crops need a dataset with a share above 0")
        self._parts, self._shares = tuple(parts), shares / shares.sum()
        self._config, self._items, self._seed = config, items, seed

    def __len__(self) -> int:
        return self._items

    def __getitem__(self, index: int) -> list[CropBatch]:
        first = index * self._config.batch_size
        crops, labels, sides = zip(*(self.sample(first + i) for i in range(self._config.batch_size)), strict=True)
        pictures = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
        return [CropBatch(pictures, torch.from_numpy(np.stack(labels)), torch.from_numpy(np.stack(sides)))]

    def sample(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of a crop: uint8 [S, S, 3], uint8 [S, S], float32 [2], as in a batch."""
        rng = np.random.Generator(np.random.PCG64([self._seed, number]))
        part = self._parts[rng.choice(len(self._parts), p=self._shares)]
        for _ in range(_ATTEMPTS):
            image, labels = self._picture(rng, part)
            ids = [i for i in object_ids([labels]) if (labels == i).sum() >= self._config.min_pixels]
            if ids:
                return cut_crop(rng, image, labels, ids[rng.integers(len(ids))], self._config)
        least = self._config.min_pixels
        raise InputError(f"{part.name}: {_ATTEMPTS} pictures in a row show no object of {least} pixels")

    def _picture(self, rng: np.random.Generator, part: Part | DrawnPart) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [H, W, 3] and labels [H, W]."""
        if isinstance(part, DrawnPart):
            clip = part.draw(rng, self._config.drawn, part.clips.frames)
            frame = rng.integers(len(clip.frames))
            return clip.frames[frame], clip.labels[frame]
        for _ in range(_ATTEMPTS):
            name = part.videos.names[rng.integers(len(part.videos.names))]
            try:
                frames = part.videos.frames(name)
                return read_frame(frames[rng.integers(len(frames))])
            except InputError as error:
                last = f"{part.name}: {name}: {error}"
                logger.warning("skipped: %s", last)
        raise InputError(f"{_ATTEMPTS} pictures in a row cannot be read; the last: {last}")


def cut_crop(
    rng: np.random.Generator, image: np.ndarray, labels: np.ndarray, object_id: int, config: CropConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Around one object, whose box is drawn as people do; turned, stretched, mirrored, recoloured by chance."""
    if rng.random() < config.cut:
        window = _window_that_cuts(rng, mask_to_box(labels == object_id), labels.shape)
        if (labels[window] == object_id).sum() >= config.min_pixels:
            image, labels = image[window], labels[window]
    truth = labels == object_id
    turned = _random_map(rng, config)
    box = drawn_box(rng, _box_under(turned, truth))
    matrix = into_crop(box, config.size) @ np.vstack([turned, [0, 0, 1]])
    size = (config.size, config.size)
    crop = warp(image, matrix, *size, GREY)
    share = warp(truth.astype(np.float32), matrix, *size, 0.0)
    target = (share > 0.5).astype(np.uint8)
    if object_id != VOID and (labels == VOID).any():
        target[warp((labels == VOID).astype(np.float32), matrix, *size, 0.0) > 0.5] = VOID
    sides = np.array([box.w, box.h], np.float32) / crop_side(box)
    crop = _seen_worse(rng, crop, config)
    crop[cv2.warpAffine(np.ones(truth.shape, np.uint8), matrix, size, flags=cv2.INTER_NEAREST) == 0] = GREY
    return crop, target, sides.astype(np.float32)


def drawn_box(rng: np.random.Generator, tight: Box) -> Box:
    """As people draw it: half to 2 % a side, a third to 8 %, others up to 30 % too large in all, or shifted by 10 %."""
    kind = rng.random()
    if kind < 0.5:
        moves = rng.uniform(-0.02, 0.02, 4)
    elif kind < 0.8:
        moves = rng.uniform(-0.08, 0.08, 4)
    elif kind < 0.92:
        moves = rng.uniform(0, 0.15, 4) * [-1, -1, 1, 1]
    else:
        moves = np.tile(rng.uniform(-0.1, 0.1, 2), 2)
    x, y, w, h = tight
    left, top, right, bottom = np.array([x, y, x + w, y + h]) + moves * [w, h, w, h]
    return Box(left, top, right - left, bottom - top)


def _window_that_cuts(rng: np.random.Generator, box: Box, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Of a picture: all but what lies beyond a line through the object, on one side or two."""
    bounds = [0, 0, shape[1], shape[0]]
    for side in rng.permutation(4)[: rng.integers(1, 3)]:
        start, length = (box.x, box.w) if side % 2 == 0 else (box.y, box.h)
        within = rng.uniform(0.03, 0.45)
        bounds[side] = round(start + length * (within if side < 2 else 1 - within))
    left, top, right, bottom = bounds
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def _random_map(rng: np.random.Generator, config: CropConfig) -> np.ndarray:
    """float64 [2, 3], of pixel indices."""
    angle = np.deg2rad(rng.normal(0, config.turn)) if rng.random() < 0.6 else 0.0
    aspect = np.exp(0.5 * rng.normal(0, config.stretch))
    mirrored = -1 if rng.random() < 0.5 else 1
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([rotation @ np.diag([mirrored * aspect, 1 / aspect]), np.zeros(2)])


def _box_under(matrix: np.ndarray, mask: np.ndarray) -> Box:
    """The rectangle of a mask's pixels [H, W] where `matrix` takes their centres, in pixels."""
    rows, columns = np.nonzero(mask)
    hull = cv2.convexHull(np.stack([columns, rows], axis=1).astype(np.int32))[:, 0]
    moved = hull @ matrix[:, :2].T + matrix[:, 2]
    (left, top), (right, bottom) = moved.min(axis=0), moved.max(axis=0) + 1
    return Box(left, top, right - left, bottom - top)


def _seen_worse(rng: np.random.Generator, crop: np.ndarray, config: CropConfig) -> np.ndarray:
    """Other colours, and as of a small, noisy, blurred or compressed picture."""
    crop = cv2.LUT(crop, _colours(rng))
    if rng.random() < 0.06:
        crop = np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    if rng.random() < config.coarse:
        small = int(config.size * np.exp(rng.uniform(np.log(0.1), np.log(0.7))))
        crop = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
    if rng.random() < config.compressed:
        quality = int(rng.integers(25, 90))
        encoded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        crop = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if rng.random() < 0.15:
        noise = rng.normal(0, rng.uniform(2, 12), crop.shape)
        crop = np.clip(crop + noise, 0, 255).astype(np.uint8)
    if len(crop) != config.size:
        crop = cv2.resize(crop, (config.size, config.size), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.15:
        crop = cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.5, 2.0))
    return np.ascontiguousarray(crop)


def _colours(rng: np.random.Generator) -> np.ndarray:
    """uint8 [1, 256, 3], by old grey value and channel the new one: other contrast, brightness and white balance."""
    values = np.linspace(0, 1, 256)[:, None] ** np.exp(rng.normal(0, 0.25))
    gain = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.05, 3))
    return np.clip(255 * (gain * values + rng.normal(0, 0.05)), 0, 255).astype(np.uint8)[None]
