"""Procedural video: textured, deforming objects over moving backgrounds, with the truth known to the pixel.

>>> clip = generate_clip(7, ClipConfig(height=240, width=320, frames=60, max_objects=1))
>>> clip.frames.shape, clip.labels.shape
((60, 240, 320, 3), (60, 240, 320))
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from ...types import Box
from .config import DEFAULT_CONFIG, ClipConfig
from .drawing import Drawing, draw_frame
from .scene import Props, Scene, make_scene

_ATTEMPTS = 50  # scenes drawn before giving up on one whose objects are visible in the first frame


@dataclass(frozen=True)
class Clip:
    """A video with its truth. T frames, n objects; object k of the labels is column k - 1 of the rest.

    frames:     uint8 [T, H, W, 3] RGB
    labels:     uint8 [T, H, W], 0 = background, k = visible pixels of object k
    visibility: float32 [T, n], visible share of the object's whole area, inside and outside the image
    """

    frames: np.ndarray
    labels: np.ndarray
    visibility: np.ndarray

    @cached_property
    def boxes(self) -> list[list[Box | None]]:
        """[T][n]: the smallest upright rectangle of each object's visible pixels, None where it has none."""
        return [[_tight_box(labels == k + 1) for k in range(self.visibility.shape[1])] for labels in self.labels]


def _tight_box(mask: np.ndarray) -> Box | None:
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return Box(x, y, width, height) if width else None


def generate_clip(seed: int, config: ClipConfig = DEFAULT_CONFIG, props: Props | None = None) -> Clip:
    """Draw a clip. The same seed and configuration give the same clip (for given versions of numpy and OpenCV).

    props: objects and backgrounds; None: painted ones.

    Every object is visible in the first frame; there are config.min_objects to config.max_objects of them.

    Raises:
        ValueError: negative seed, or no such scene could be drawn (say, many large objects in a small image).
    """
    if seed < 0:
        raise ValueError(f"seed={seed}: must not be negative")
    for attempt in range(_ATTEMPTS):
        rng = np.random.Generator(np.random.PCG64([seed, attempt]))
        scene = make_scene(rng, config, props)
        frame, labels, areas = draw_frame(scene, 0)
        kept = _visible_objects(labels, areas, config)
        if len(kept) >= config.min_objects:
            renumber = np.zeros(256, np.uint8)
            renumber[kept] = np.arange(1, len(kept) + 1)
            first = frame, renumber[labels], areas[np.array(kept) - 1]
            return _film(rng, scene.tracking(kept), first, config)
    raise ValueError(f"seed={seed}: no scene of {config.min_objects} visible objects in {_ATTEMPTS} attempts: {config}")


def _visible_objects(labels: np.ndarray, areas: np.ndarray, config: ClipConfig) -> list[int]:
    """The labels whose objects are seen well enough to start tracking on."""
    visible = np.bincount(labels.ravel(), minlength=len(areas) + 1)[1:]
    enough = (visible >= config.min_area * labels.size) & (visible >= config.min_visibility * areas) & (visible > 0)
    return [int(index) + 1 for index in np.flatnonzero(enough)]


def _film(rng: np.random.Generator, scene: Scene, first: Drawing, config: ClipConfig) -> Clip:
    """Draw and record every frame; `first` is frame 0 as already drawn."""
    count = len(first[2])
    frames = np.empty((config.frames, config.height, config.width, 3), np.uint8)
    labels = np.empty((config.frames, config.height, config.width), np.uint8)
    visibility = np.zeros((config.frames, count), np.float32)
    for index in range(config.frames):
        drawn, labels[index], areas = draw_frame(scene, index) if index else first
        frames[index] = scene.camera.expose(rng, drawn, index)
        visible = np.bincount(labels[index].ravel(), minlength=count + 1)[1:]
        visibility[index] = visible / np.maximum(areas, 1)
    return Clip(frames, labels, visibility)
