"""Clips to train on from pictures and videos with masks: how they are moved, cut out and recoloured.

Everything is drawn from the numpy Generator that is passed in, so a clip can be drawn again. The work is OpenCV's: on
a core it takes a tenth to a thirtieth of the time of torchvision's transforms, which would be most of a clip's time.
Image and labels go through the same map, labels by the nearest pixel. Labels are uint8: 0 background, 255 void.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from ..geometry import mask_to_box
from ..images import VOID
from ..types import InputError

FILL = (124, 116, 104)  # RGB outside a picture: ImageNet's mean, as in the AOT recipe; its label is background
_GREY = np.array([0.299, 0.587, 0.114])
_KNOTS = 4  # of the thin-plate spline, along a side
_COARSE = 31  # points along a side where the spline is evaluated, knots among them; in between it is interpolated


class MaskedClip(NamedTuple):
    """frames: uint8 [T, S, S, 3] RGB. labels: uint8 [T, S, S]."""

    frames: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Augmentation:
    """How much. Ranges of colour are the AOT recipe's second set; the others are this project's choice."""

    zoom: float = 1.6  # of a cut-out, at most; it is as high as the picture at least
    aspect: float = 1.25  # of a cut-out, at most
    flip: float = 0.5  # probability
    reverse: float = 0.5  # probability that a video runs backwards
    recolour: float = 0.8  # probability
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1  # turns
    grey: float = 0.05  # probability, of those that are recoloured
    blur: float = 0.2  # probability
    blur_sigma: tuple[float, float] = (0.3, 2.0)  # pixels
    flicker: float = 0.25  # of the colours of a still from frame to frame, relative to the ranges above
    # motion of a still in the course of a clip: standard deviations where it ends
    rotation: float = 12.0  # degrees
    shift: float = 0.1  # sides of the cut-out
    scale: float = 0.12  # logarithm
    shear: float = 0.08
    bend: float = 0.04  # of the spline's knots, sides of the cut-out
    vigour: tuple[float, float] = (0.3, 1.6)  # factor on all of them, one per clip

    def __post_init__(self) -> None:
        if self.zoom < 1 or self.aspect < 1:
            raise InputError(f"zoom={self.zoom:g}, aspect={self.aspect:g}: from 1")


def clip_of_video(
    rng: np.random.Generator, images: Sequence[np.ndarray], labels: Sequence[np.ndarray], size: int, how: Augmentation
) -> MaskedClip:
    """A square cut-out of the frames of a video, the same in all of them.

    images: uint8 [H, W, 3], labels: uint8 [H, W], all of one size; the first labels show an object.
    """
    left, top, right, bottom = _cut_out(rng, labels[0], how)
    window = np.s_[top:bottom, left:right]
    smaller = (bottom - top) * (right - left) > size * size
    smooth = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    frames = [cv2.resize(image[window], (size, size), interpolation=smooth) for image in images]
    truth = [cv2.resize(each[window], (size, size), interpolation=cv2.INTER_NEAREST_EXACT) for each in labels]
    return _finish(rng, frames, truth, how, flicker=0.0)


def clip_of_still(
    rng: np.random.Generator, image: np.ndarray, labels: np.ndarray, length: int, size: int, how: Augmentation
) -> MaskedClip:
    """A picture [H, W, 3] with labels uint8 [H, W] set in motion: affine, and bent by a thin-plate spline."""
    left, top, right, bottom = _cut_out(rng, labels, how)
    centre = np.array([left + right - 1, top + bottom - 1]) / 2
    half = np.array([right - left, bottom - top]) / 2
    if (factor := half.max() * 2 / size) > 2:  # else every other pixel would be left out
        scale = 2 / factor
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        labels = cv2.resize(labels, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        centre, half = (centre + 0.5) * scale - 0.5, half * scale
    frames, truth = [], []
    for positions in _motion(rng, length, size, how):
        x, y = (np.float32(centre[axis] + half[axis] * positions[axis]) for axis in (0, 1))
        frames.append(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=FILL))
        truth.append(cv2.remap(labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0))
    return _finish(rng, frames, truth, how, how.flicker)


def paste(rng: np.random.Generator, clip: MaskedClip, other: MaskedClip, offset: int) -> MaskedClip:
    """The objects of `other` in `clip`, a third of the time behind its objects, with `offset` added to their ids."""
    objects = (other.labels > 0) & (other.labels != VOID)
    if rng.random() < 1 / 3:
        objects &= clip.labels == 0
    frames = clip.frames.copy()
    for frame, pasted, inside in zip(frames, other.frames, objects, strict=True):
        weight = cv2.GaussianBlur(inside.astype(np.float32), (3, 3), 0)  # no edge is sharper than the pictures are
        frame[:] = cv2.blendLinear(pasted, frame, weight, 1 - weight)
    return MaskedClip(frames, np.where(objects, other.labels + np.uint8(offset), clip.labels))


def _cut_out(rng: np.random.Generator, labels: np.ndarray, how: Augmentation) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a rectangle inside the picture; of an object, drawn by chance, as much as fits."""
    height, width = labels.shape
    side = min(height, width) * how.zoom ** -rng.random()
    aspect = how.aspect ** rng.uniform(-1, 1)
    columns, rows = min(max(round(side * aspect), 1), width), min(max(round(side / aspect), 1), height)
    ids = [i for i in np.unique(labels) if i not in (0, VOID)]
    box = mask_to_box(labels == ids[rng.integers(len(ids))])
    left = _place(rng, box.x, box.x + box.w, columns, width)
    top = _place(rng, box.y, box.y + box.h, rows, height)
    return left, top, left + columns, top + rows


def _place(rng: np.random.Generator, start: float, end: float, length: int, limit: int) -> int:
    """Where an interval of that length begins in [0, limit]: it holds [start, end], or lies within if it is shorter."""
    low, high = sorted((int(start), int(end) - length))
    return int(rng.integers(max(low, 0), min(high, limit - length) + 1))


def _motion(rng: np.random.Generator, length: int, size: int, how: Augmentation) -> list[np.ndarray]:
    """Per frame float32 [2, size, size]: where each pixel comes from, x and y, in [-1, 1] across the cut-out."""
    vigour = np.exp(rng.uniform(*np.log(how.vigour)))
    turn, shear, zoom = (
        vigour * amount * _path(rng, length, 1)[:, 0] for amount in (np.radians(how.rotation), how.shear, how.scale)
    )
    shift = vigour * 2 * how.shift * _path(rng, length, 2)
    bend = vigour * 2 * how.bend * (_path(rng, length, 2 * _KNOTS**2) + 0.5 * rng.normal(size=2 * _KNOTS**2))
    pixel = np.linspace(-1, 1, _COARSE)
    grid = np.stack(np.meshgrid(pixel, pixel)).reshape(2, -1)
    maps = []
    for t in range(length):
        cosine, sine = np.cos(turn[t]), np.sin(turn[t])
        matrix = np.exp(zoom[t]) * np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[1, shear[t]], [0, 1]])
        coarse = matrix @ grid + shift[t][:, None] + bend[t].reshape(2, -1) @ _spline_basis()
        maps.append([_enlarge(axis.reshape(_COARSE, _COARSE), size) for axis in coarse])
    return [np.stack(each) for each in maps]


def _path(rng: np.random.Generator, length: int, dimensions: int) -> np.ndarray:
    """[T, D] from 0 to about a standard normal: a steady drift that strays a little."""
    steps = rng.normal(size=dimensions) + 0.7 * rng.normal(size=(length - 1, dimensions))
    return np.concatenate([np.zeros((1, dimensions)), steps.cumsum(axis=0)]) / max(length - 1, 1)


def _enlarge(coarse: np.ndarray, size: int) -> np.ndarray:
    """From _COARSE points, the outer ones on the corners, to pixels: float32 [size, size]."""
    at = ((np.arange(size) + 0.5) / size * (_COARSE - 1)).astype(np.float32)
    x, y = np.meshgrid(at, at)
    return cv2.remap(coarse.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


@cache
def _spline_basis() -> np.ndarray:
    """[knots, points]: displacement of the coarse grid's points per displacement of each knot.

    The thin-plate spline through the knots (Bookstein 1989): U(r) = r^2 log r^2 and an affine part.
    """
    line = np.linspace(-1, 1, _KNOTS)
    knots = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    line = np.linspace(-1, 1, _COARSE)
    points = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)

    def terms(at: np.ndarray) -> np.ndarray:
        squared = ((at[:, None] - knots) ** 2).sum(axis=-1)
        radial = squared * np.log(np.where(squared > 0, squared, 1))
        return np.concatenate([radial, np.ones((len(at), 1)), at], axis=1)

    system = np.zeros((len(knots) + 3, len(knots) + 3))
    system[: len(knots)] = terms(knots)
    system[len(knots) :, : len(knots)] = terms(knots)[:, len(knots) :].T
    weights = np.linalg.solve(system, np.eye(len(knots) + 3)[:, : len(knots)])
    return (terms(points) @ weights).T


def _finish(
    rng: np.random.Generator,
    frames: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    how: Augmentation,
    flicker: float,
) -> MaskedClip:
    """Mirrored, blurred and recoloured, all frames alike but for the flicker."""
    flipped, blurred, recoloured = (rng.random() < share for share in (how.flip, how.blur, how.recolour))
    sigma, base = rng.uniform(*how.blur_sigma), _colours(rng, frames[0], how, 1.0)
    if rng.random() < how.grey:
        base[:3] = _GREY @ base[:3]
    finished = np.empty((len(frames), *frames[0].shape), np.uint8)
    for target, frame in zip(finished, frames, strict=True):
        if recoloured:
            frame = cv2.transform(frame, (base @ _colours(rng, frame, how, flicker))[:3])
        if blurred:
            frame = cv2.GaussianBlur(frame, (0, 0), sigma)
        target[:] = frame[:, ::-1] if flipped else frame
    truth = np.stack(labels)
    return MaskedClip(finished, np.ascontiguousarray(truth[:, :, ::-1]) if flipped else truth)


def _colours(rng: np.random.Generator, image: np.ndarray, how: Augmentation, amount: float) -> np.ndarray:
    """[4, 4]: brightness, contrast, saturation and hue, by at most that share of their ranges, as one map of RGB 1."""
    brightness, contrast, saturation = (
        1 + amount * most * rng.uniform(-1, 1) for most in (how.brightness, how.contrast, how.saturation)
    )
    turn = 2 * np.pi * amount * how.hue * rng.uniform(-1, 1)
    grey = np.tile(_GREY, (3, 1))
    matrix = np.eye(4)
    matrix[:3, :3] = brightness * contrast * (grey + saturation * (_hue_rotation(turn) - grey))
    mean = brightness * float(_GREY @ image.reshape(-1, 3)[::16].mean(axis=0))
    matrix[:3, 3] = (1 - contrast) * mean
    return matrix


def _hue_rotation(angle: float) -> np.ndarray:
    """[3, 3]: RGB turned by that angle (radians) in the plane of I and Q, which leaves the grey value as it is."""
    to_yiq = np.array([_GREY, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.linalg.inv(to_yiq) @ np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ to_yiq
