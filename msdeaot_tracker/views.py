"""Where the network looks on a frame: a rectangle and the size it is scaled to, there and back; and what comes next."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .config import TrackerConfig, WindowConfig
from .geometry import hull, network_size
from .types import Box, MapSize, Region

_OUTSIDE = (124, 116, 104)  # RGB of what lies beyond the image: ImageNet's mean, as in training (data.augmentation)
_RETURN = 3  # frames after which a search looks again where the objects were last seen
_SMALLEST = 16  # network pixels, the side of a cell of the coarsest map: what is smaller than that is hardly seen


@dataclass(frozen=True)
class View:
    """A rectangle of an image, which may reach beyond it, and the size at which the network sees that.

    Pixel column j of the image spans [j, j + 1), and so does column j of the network's picture.
    """

    left: int  # pixels of the image, as the next three
    top: int
    width: int
    height: int
    size: MapSize  # the network's rows and columns
    frame: MapSize  # height and width of the image
    align_corners: bool  # of logits on their way back

    @property
    def rectangle(self) -> Box:
        return Box(self.left, self.top, self.width, self.height)

    @property
    def scale(self) -> float:
        """Network pixels per pixel of the image, along the longer side."""
        return max(self.size) / max(self.width, self.height)

    @property
    def inside(self) -> Region:
        """Rows and columns of the image that the rectangle covers."""
        sides = (self.top, self.height, self.frame[0]), (self.left, self.width, self.frame[1])
        rows, columns = (slice(min(max(a, 0), end), min(max(a + length, 0), end)) for a, length, end in sides)
        return rows, columns

    def is_moved(self, other: View | None) -> bool:
        """Whether it is the other one somewhere else, or where it was: of two such views the maps' cells are alike."""
        return other is not None and (self.width, self.height, self.size) == (other.width, other.height, other.size)

    def image(self, image: np.ndarray) -> Tensor:
        """uint8 [H, W, 3] -> float32 [1, 3, rows, columns] in [0, 1] (cubic, so values may overshoot a little)."""
        scaled = np.divide(self._cut(image, _OUTSIDE), 255, dtype=np.float32)  # at once: large frames are large
        if scaled.shape[:2] != self.size:
            scaled = cv2.resize(scaled, self.size[::-1], interpolation=cv2.INTER_CUBIC)
        return torch.from_numpy(scaled).permute(2, 0, 1)[None]

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """int32 [H, W] -> int32 [rows, columns], the nearest pixel's id; 0 beyond the image."""
        rows, columns = (_nearest(*lengths) for lengths in zip((self.height, self.width), self.size, strict=True))
        return self._cut(labels, 0).take(rows, axis=0).take(columns, axis=1)

    def to_network(self, box: Box) -> Box:
        """From pixels of the image to network pixels."""
        down, across = self.size[0] / self.height, self.size[1] / self.width
        return Box((box.x - self.left) * across, (box.y - self.top) * down, box.w * across, box.h * down)

    def to_image(self, box: Box) -> Box:
        """From network pixels to pixels of the image."""
        down, across = self.height / self.size[0], self.width / self.size[1]
        return Box(box.x * across + self.left, box.y * down + self.top, box.w * across, box.h * down)

    def _cut(self, pixels: np.ndarray, outside: int | tuple[int, int, int]) -> np.ndarray:
        """The rectangle of [H, W, ...], filled up where it reaches beyond the image."""
        rows, columns = self.inside
        part = pixels[rows, columns]
        above, before = rows.start - self.top, columns.start - self.left
        below, after = self.height - above - part.shape[0], self.width - before - part.shape[1]
        if not any((above, below, before, after)):
            return part
        return cv2.copyMakeBorder(part, above, below, before, after, cv2.BORDER_CONSTANT, value=outside)


@lru_cache(maxsize=32)
def _nearest(pixels: int, cells: int) -> np.ndarray:
    """int64 [cells]: of so many pixels in a row those that torch's nearest enlargement to this length shows."""
    places = torch.arange(pixels, dtype=torch.float32)[None, None]
    return F.interpolate(places, cells, mode="nearest")[0, 0].long().numpy()


@dataclass(frozen=True)
class Scenery:
    """What views of a video are made with: the size of its frames, and the settings."""

    frame: MapSize
    settings: TrackerConfig
    align_corners: bool

    @cached_property
    def full(self) -> View:
        """The whole frame."""
        edges = {"long_edge": self.settings.long_edge, "short_edge": self.settings.short_edge}
        size = network_size(*self.frame, **edges, align_corners=self.align_corners)
        return View(0, 0, self.frame[1], self.frame[0], size, self.frame, self.align_corners)

    def window(self, around: Box, side: float) -> View:
        """A square in the middle of which `around` lies; the whole frame if that is seen as closely."""
        edge = self.settings.window.edge
        size = network_size(edge, edge, long_edge=edge, short_edge=0, align_corners=self.align_corners)
        pixels = max(1, round(side))
        left, top = round(around.x + around.w / 2 - pixels / 2), round(around.y + around.h / 2 - pixels / 2)
        view = View(left, top, pixels, pixels, size, self.frame, self.align_corners)
        return view if view.scale > self.full.scale else self.full


@dataclass(frozen=True)
class Sight:
    """What is known of a group of objects when the next view of them is chosen."""

    boxes: tuple[Box, ...]  # of each object, where it was last seen well, in pixels
    missing: int = 0  # frames since any of them was seen well; 0: on the latest frame
    previous: View | None = None  # where the network looked for them last


Policy = Callable[[Sight, Scenery], View]


def look_at_all(sight: Sight, scenery: Scenery) -> View:
    """The full frame, as all trackers of the AOT family do."""
    return scenery.full


def follow(sight: Sight, scenery: Scenery) -> View:
    """A window whose centre is that of the last boxes. Its size stays until the objects have grown or shrunk by far."""
    window = scenery.settings.window
    side = window_side(sight.boxes, window)
    before = sight.previous
    if before is not None and before != scenery.full and max(side / before.width, before.width / side) < window.resize:
        side = before.width
    return scenery.window(hull(sight.boxes), side)


def choose(sight: Sight, scenery: Scenery) -> View:
    """The full frame for objects that are large enough on it, else a window; where they are missing, `search`."""
    window = scenery.settings.window
    if sight.missing >= window.patience:
        return search(sight, scenery)
    smallest = min((box.w * box.h) ** 0.5 for box in sight.boxes) * scenery.full.scale
    stays_full = sight.previous == scenery.full
    limit = window.below / window.hysteresis if stays_full else window.below * window.hysteresis
    if sight.previous is None:
        limit = window.below
    return scenery.full if smallest >= limit else follow(sight, scenery)


def search(sight: Sight, scenery: Scenery) -> View:
    """A wider window where the objects were last seen; then the full frame in turn with parts of it, as wide as that.

    Among them comes that window again and again: what went behind something, or over the border, often returns there.
    """
    window = scenery.settings.window
    near = searched(sight.boxes, scenery)
    places = [scenery.full, *tiles(near.width, scenery)] if near != scenery.full else [near]
    turn, later = divmod(sight.missing, _RETURN)
    if sight.missing < 2 * window.patience or (not later and len(places) > 1):
        return near
    return places[(sight.missing - turn) % len(places)]


def searched(boxes: tuple[Box, ...], scenery: Scenery) -> View:
    """The window in which objects that were last seen there are looked for."""
    return scenery.window(hull(boxes), window_side(boxes, scenery.settings.window) * scenery.settings.window.growth)


def tiles(side: float, scenery: Scenery) -> list[View]:
    """Windows of this side, or of a larger one if they were too many, that overlap by a quarter and cover the frame."""
    height, width = scenery.frame
    while scenery.window(Box(0, 0, width, height), side) != scenery.full:
        ys, xs = (_centres(length, side) for length in (height, width))
        if len(ys) * len(xs) <= scenery.settings.window.tiles:
            return [scenery.window(Box(x, y, 0, 0), side) for y in ys for x in xs]
        side *= 1.25
    return []


def _centres(length: float, side: float) -> list[float]:
    """Of intervals as long as `side`, evenly over [0, length]."""
    count = max(1, math.ceil((length - side / 4) / (0.75 * side)))
    if count == 1:
        return [length / 2]
    return [side / 2 + i * (length - side) / (count - 1) for i in range(count)]


POLICIES: dict[str, Policy] = {"full": look_at_all, "follow": follow, "auto": choose}


def window_side(boxes: tuple[Box, ...], window: WindowConfig) -> float:
    """Side in pixels of the square that shows these boxes and their surroundings.

    Of one box `reach` sides of a square of its area, at least `room` times its longer side, and no closer than `zoom`.
    Of several what holds them all, with the surroundings of the one that needs most of them.
    """
    own = [max(window.reach * (box.w * box.h) ** 0.5, window.room * max(box.w, box.h)) for box in boxes]
    around = max(side - max(box.w, box.h) for side, box in zip(own, boxes, strict=True))
    all_of_them = hull(boxes)
    return max(*own, max(all_of_them.w, all_of_them.h) + around, window.edge / window.zoom)


def why_unseen(mask: np.ndarray, view: View) -> str | None:
    """What to tell of an object, bool [H, W], none of whose pixels is left at the view's size; None: nothing."""
    if not mask.any() or view.labels(mask.astype(np.int32)).any():
        return None
    return f"so thin that none of its {int(mask.sum())} pixels is left at {view.size[1]}x{view.size[0]}: it is not seen"


def why_too_small(box: Box, view: View) -> str | None:
    """What to tell of an object that the network will hardly see in this view; None: nothing."""
    seen = view.to_network(box)
    if (seen.w * seen.h) ** 0.5 >= _SMALLEST:
        return None
    return (
        f"{box.w:g}x{box.h:g} pixels, {seen.w:.1f}x{seen.h:.1f} as the network sees it, less than one {_SMALLEST}x"
        f"{_SMALLEST} cell of its map: it will hardly be followed"
    )
