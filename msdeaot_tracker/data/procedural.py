"""Procedural video: textured, deforming objects over moving backgrounds, with the truth known to the pixel.

>>> clip = generate_clip(7, ClipConfig(height=240, width=320, frames=60, max_objects=1))
>>> clip.frames.shape, clip.labels.shape
((60, 240, 320, 3), (60, 240, 320))
"""

import numbers
from dataclasses import dataclass, fields
from functools import cached_property

import cv2
import numpy as np

from msdeaot_tracker.data.drawing import draw_frame
from msdeaot_tracker.data.scene import Scene, make_scene
from msdeaot_tracker.types import Box

_ATTEMPTS = 50  # scenes drawn before giving up on one whose objects are visible in the first frame
_LIMITS = {
    "height": (32, 4096), "width": (32, 4096), "frames": (1, 100_000),
    "min_objects": (1, 255), "max_objects": (1, 255), "max_distractors": (0, 255), "background_shapes": (0, 10_000),
    "vigour": (0.0, 10.0), "object_size": (0.02, 1.5), "speed": (0.0, 1.0), "min_area": (0.0, 0.5),
    "min_visibility": (0.0, 1.0), "deformation": (0.0, 0.5), "shake": (0.0, 0.2), "noise": (0.0, 100.0),
    "jpeg_quality": (1, 100),
}  # fmt: skip


@dataclass(frozen=True)
class ClipConfig:
    """What clips are drawn from. Pairs are (low, high) ranges; lengths in short sides are shares of min(height, width).

    Raises ValueError naming the field and its value when one makes no sense.
    """

    height: int = 192  # pixels
    width: int = 192  # pixels
    frames: int = 3
    min_objects: int = 1  # tracked objects visible in the first frame
    max_objects: int = 4
    max_distractors: int = 3  # objects that are not labelled; a third of them are copies of a tracked one
    object_size: tuple[float, float] = (0.1, 0.75)  # diameter, short sides; log-uniform
    min_area: float = 0.0015  # visible in the first frame, share of the image
    min_visibility: float = 0.25  # visible in the first frame, share of the object
    articulated_probability: float = 0.5  # objects with limbs
    turning_probability: float = 0.5  # objects that turn about their own axis and show another side
    companion_probability: float = 0.3  # objects that touch and follow another one
    camouflage_probability: float = 0.4  # things coloured like the background or a neighbour
    vigour: tuple[float, float] = (0.25, 1.7)  # units of motion time per frame; log-uniform, one per clip
    speed: float = 0.04  # median speed, short sides per unit of motion time
    deformation: float = 0.07  # largest non-rigid displacement, share of the object's diameter
    shake: float = 0.008  # hand-held camera jitter, short sides (standard deviation), in a third of the clips
    absence_probability: float = 0.08  # tracked objects that leave the image or are covered for a while
    occluder_probability: float = 0.35  # clips with things passing in front
    screen_probability: float = 0.08  # clips seen through a fence or foliage
    background_shapes: int = 45  # at most
    blurred_background_probability: float = 0.3
    shadow_probability: float = 0.35
    lighting_probability: float = 0.4  # clips whose illumination changes
    motion_blur_probability: float = 0.35
    defocus_probability: float = 0.2
    noise: tuple[float, float] = (0.0, 9.0)  # grey values, standard deviation
    jpeg_probability: float = 0.5
    jpeg_quality: tuple[int, int] = (30, 95)

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            low, high = _LIMITS.get(field.name, (0.0, 1.0))
            pair, whole = field.type not in (int, float), field.type in (int, tuple[int, int])
            ends = value if pair else (value,)
            if not isinstance(ends, tuple) or len(ends) != 1 + pair:
                raise ValueError(f"{field.name}={value!r}: expected a pair (low, high)")
            kind = numbers.Integral if whole else numbers.Real
            if any(isinstance(end, bool) or not isinstance(end, kind) or not low <= end <= high for end in ends):
                what = "an integer" if whole else "a number"
                raise ValueError(f"{field.name}={value!r}: expected {what} in [{low}, {high}]")
            if ends[0] > ends[-1]:
                raise ValueError(f"{field.name}={value!r}: low exceeds high")
        if self.vigour[0] <= 0:
            raise ValueError(f"vigour={self.vigour!r}: must be positive")
        if self.min_objects > self.max_objects:
            raise ValueError(f"min_objects={self.min_objects} exceeds max_objects={self.max_objects}")


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


def generate_clip(seed: int, config: ClipConfig = ClipConfig()) -> Clip:
    """Draw a clip. The same seed and configuration give the same clip (for given versions of numpy and OpenCV).

    Every object is visible in the first frame; there are config.min_objects to config.max_objects of them.

    Raises:
        ValueError: negative seed, or no such scene could be drawn (say, many large objects in a small image).
    """
    if seed < 0:
        raise ValueError(f"seed={seed}: must not be negative")
    for attempt in range(_ATTEMPTS):
        rng = np.random.Generator(np.random.PCG64([seed, attempt]))
        scene = make_scene(rng, config)
        _, labels, areas = draw_frame(scene, 0)
        kept = _visible_objects(labels, areas, config)
        if len(kept) >= config.min_objects:
            return _film(rng, scene.tracking(kept), config)
    raise ValueError(f"seed={seed}: no scene of {config.min_objects} visible objects in {_ATTEMPTS} attempts: {config}")


def _visible_objects(labels: np.ndarray, areas: np.ndarray, config: ClipConfig) -> list[int]:
    """The labels whose objects are seen well enough to start tracking on."""
    visible = np.bincount(labels.ravel(), minlength=len(areas) + 1)[1:]
    enough = (visible >= config.min_area * labels.size) & (visible >= config.min_visibility * areas) & (visible > 0)
    return [int(index) + 1 for index in np.flatnonzero(enough)]


def _film(rng: np.random.Generator, scene: Scene, config: ClipConfig) -> Clip:
    count = scene.object_count
    frames = np.empty((config.frames, config.height, config.width, 3), np.uint8)
    labels = np.empty((config.frames, config.height, config.width), np.uint8)
    visibility = np.zeros((config.frames, count), np.float32)
    for index in range(config.frames):
        drawn, labels[index], areas = draw_frame(scene, index)
        frames[index] = scene.camera.expose(rng, drawn, index)
        visible = np.bincount(labels[index].ravel(), minlength=count + 1)[1:]
        visibility[index] = visible / np.maximum(areas, 1)
    return Clip(frames, labels, visibility)
