"""Objects cut out of stills, and photographs behind them: props for clips that are put together of real pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..geometry import mask_to_box
from ..images import VOID, read_image
from ..types import InputError
from .datasets.masked_videos import VideoSet, read_frame
from .procedural.sprites import Bending, random_modes

_ATTEMPTS = 50  # pictures looked at for an object before giving up
_SMALLEST = 14  # pixels; shorter sides show too little to be enlarged
_NARROWEST = 0.35  # share of its width that an object keeps when it is turned
_ENLARGED = 2.5  # at most
_GROUND = (0.6, 1.0)  # part of a picture's shorter side that becomes a background


@dataclass(frozen=True, kw_only=True)
class CutOut(Bending):
    """An object as a flat picture: uint8 [canvas, canvas, 4], (R, G, B, coverage), premultiplied, zero outside."""

    picture: np.ndarray
    extent: float

    @property
    def canvas(self) -> int:
        return len(self.picture)

    def draw(self, time: float, turn: float) -> np.ndarray:
        """Turned by `turn` radians about its vertical axis it is narrower, and from behind mirrored."""
        share = float(np.cos(turn))
        if share > 0.99:
            return self.picture
        across = np.copysign(max(abs(share), _NARROWEST), share)
        matrix = np.array([[across, 0, (1 - across) * self.canvas / 2], [0, 1, 0]])
        return cv2.warpAffine(self.picture, matrix, (self.canvas, self.canvas), flags=cv2.INTER_LINEAR)


@dataclass(frozen=True)
class Photographs:
    """Props from data sets of stills.

    stills:  with masks: objects, and as often as `crowded` says backgrounds, whose own objects nobody tracks.
    shares:  how often each of them is drawn from, relative to the others.
    grounds: without masks, for backgrounds alone; None: there are none.
    """

    stills: Sequence[VideoSet]
    shares: Sequence[float]
    grounds: VideoSet | None
    crowded: float = 0.4

    def __post_init__(self) -> None:
        if not self.stills or len(self.stills) != len(self.shares) or not min(self.shares) > 0:
            raise InputError("cut-outs need stills with masks, each with a share above 0")

    def figure(self, rng: np.random.Generator, diameter: float, deformation: float) -> CutOut:
        """InputError: one picture after the other shows no object of use."""
        for _ in range(_ATTEMPTS):
            videos = self._draw_set(rng)
            name = videos.names[rng.integers(len(videos.names))]
            try:
                image, labels = read_frame(videos.frames(name)[0])
            except InputError:
                continue
            found = _crop_object(rng, image, labels)
            if found is not None:
                return make_cut_out(rng, *found, diameter, deformation)
        raise InputError(f"{_ATTEMPTS} pictures in a row show no object of {_SMALLEST} pixels")

    def background(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """A part of a picture, as large as asked for. InputError: as for `figure`."""
        for _ in range(_ATTEMPTS):
            crowded = self.grounds is None or rng.random() < self.crowded
            videos = self._draw_set(rng) if crowded else self.grounds
            name = videos.names[rng.integers(len(videos.names))]
            try:
                image = read_image(videos.frames(name)[0].image)
            except InputError:
                continue
            return _recoloured(rng, _part(rng, image, height, width))
        raise InputError(f"{_ATTEMPTS} pictures in a row cannot be read")

    def _draw_set(self, rng: np.random.Generator) -> VideoSet:
        shares = np.array(self.shares, float)
        return self.stills[rng.choice(len(self.stills), p=shares / shares.sum())]


def make_cut_out(
    rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, diameter: float, deformation: float
) -> CutOut:
    """image: uint8 [h, w, 3], mask: bool [h, w], both of the object alone; diameter: its longer side in pixels."""
    scale = min(diameter / max(mask.shape), _ENLARGED)
    columns, rows = (max(round(side * scale), 3) for side in mask.shape[::-1])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    coverage = cv2.resize(mask.astype(np.uint8) * 255, (columns, rows), interpolation=how)
    if scale >= 1:
        coverage = cv2.GaussianBlur(coverage, (0, 0), 0.7 * scale)
    colour = cv2.resize(image, (columns, rows), interpolation=how)
    if rng.random() < 0.5:
        colour, coverage = colour[:, ::-1], coverage[:, ::-1]
    weight = cv2.cvtColor(np.ascontiguousarray(coverage), cv2.COLOR_GRAY2RGB)
    colour = cv2.multiply(_recoloured(rng, np.ascontiguousarray(colour)), weight, scale=1 / 255)
    side = int(np.ceil(np.hypot(columns, rows))) + 4
    picture = np.zeros((side, side, 4), np.uint8)
    top, left = (side - rows) // 2, (side - columns) // 2
    picture[top : top + rows, left : left + columns] = np.dstack([colour, coverage])
    modes = random_modes(rng, deformation * diameter)
    rates, phases = rng.uniform(0.15, 0.9, len(modes)), rng.uniform(0, 2 * np.pi, len(modes))
    return CutOut(picture=picture, extent=side / 2, modes=modes, rates=rates, phases=phases)


def _crop_object(
    rng: np.random.Generator, image: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """One object by chance, with nothing around it; None: none is large enough."""
    ids = [i for i in np.unique(labels) if i not in (0, VOID)] or [i for i in np.unique(labels) if i]
    for object_id in rng.permutation(ids):
        mask = labels == object_id
        box = mask_to_box(mask)
        if min(box.w, box.h) >= _SMALLEST:
            window = np.s_[box.y : box.y + box.h, box.x : box.x + box.w]
            return image[window], mask[window]
    return None


def _part(rng: np.random.Generator, image: np.ndarray, height: int, width: int) -> np.ndarray:
    """A rectangle of the asked proportions, by chance, brought to that size."""
    rows, columns = image.shape[:2]
    largest = min(rows / height, columns / width)
    scale = largest * rng.uniform(*_GROUND)
    high, wide = min(max(int(height * scale), 2), rows), min(max(int(width * scale), 2), columns)
    top, left = rng.integers(rows - high + 1), rng.integers(columns - wide + 1)
    found = image[top : top + high, left : left + wide]
    found = cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC)
    return np.ascontiguousarray(found[:, ::-1]) if rng.random() < 0.5 else found


def _recoloured(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Brighter or darker, of more or less contrast, and tinted; the same all over."""
    if rng.random() < 0.3:
        return image
    gain = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.06, 3))
    return cv2.transform(image, np.column_stack([np.diag(gain), np.full(3, rng.normal(0, 10))]))
