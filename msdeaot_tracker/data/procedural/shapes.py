"""Outlines and articulated bodies: what a procedural object is made of before it moves.

An outline is float32 [OUTLINE_POINTS, 2] (x, y) around the origin, of about unit mean radius until it is scaled.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .textures import Colour, nearby_colour, paint, random_colour, sample_field

OUTLINE_POINTS = 48
_TURN = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
_WAVES = np.arange(2, 8)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1)
_HEAP = np.clip(90 * (1.2 - np.hypot(*np.mgrid[-1:1:48j, -1:1:48j])), 0, 90).astype(np.uint8)  # high in the middle


@dataclass(frozen=True)
class Part:
    """A textured piece that turns about a joint of its parent; the root's parent is None. Lengths in canvas pixels.

    outline, turned: the silhouette from the front and after half a turn about the vertical axis (equal: rigid).
    skin:    uint8 [h, w, 4], opaque RGBA; its centre lies on the part's origin.
    joint:   (x, y, z) in the parent's frame, z towards the camera; angle: rest direction in radians.
    swing:   radians, with `rate` (radians per unit of time) and `phase`.
    hole:    an outline cut out of the part.
    """

    outline: np.ndarray
    turned: np.ndarray
    skin: np.ndarray
    parent: int | None = None
    joint: tuple[float, float, float] = (0.0, 0.0, 0.0)
    angle: float = 0.0
    swing: float = 0.0
    rate: float = 0.0
    phase: float = 0.0
    hole: np.ndarray | None = None


def _resample(points: np.ndarray) -> np.ndarray:
    """OUTLINE_POINTS points at equal distances along a closed polygon."""
    closed = np.concatenate([points, points[:1]])
    length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.linspace(0, length[-1], OUTLINE_POINTS, endpoint=False)
    return np.stack([np.interp(at, length, closed[:, axis]) for axis in (0, 1)], axis=1)


def _blob(rng: np.random.Generator) -> np.ndarray:
    heights = rng.uniform(0.05, 0.5) * rng.normal(0, 1, len(_WAVES)) / _WAVES
    waves = np.cos(_WAVES[:, None] * _TURN + rng.uniform(0, 2 * np.pi, (len(_WAVES), 1)))
    radius = 1 + heights @ waves
    return np.clip(radius, 0.25, 2.0)[:, None] * _CIRCLE


def _superellipse(rng: np.random.Generator) -> np.ndarray:
    """From a diamond over an ellipse to a rectangle."""
    power = 2 / rng.choice([1.3, 2.0, 2.0, 3.0, 8.0])
    return np.sign(_CIRCLE) * np.abs(_CIRCLE) ** power


def _polygon(rng: np.random.Generator) -> np.ndarray:
    corners = int(rng.integers(3, 9))
    angles = 2 * np.pi * (np.arange(corners) + rng.uniform(-0.35, 0.35, corners)) / corners
    radius = rng.uniform(0.55, 1.4, corners)
    return _resample(np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None])


def _star(rng: np.random.Generator) -> np.ndarray:
    arms, depth = int(rng.integers(3, 8)), rng.uniform(0.2, 0.6)
    return (1 + depth * np.cos(arms * _TURN))[:, None] * _CIRCLE


def _crescent(rng: np.random.Generator) -> np.ndarray:
    """A thick bent line: crescents, bananas, snakes."""
    half = OUTLINE_POINTS // 2
    along = np.linspace(-1, 1, half)
    bend, ripple = rng.uniform(-1.5, 1.5), rng.uniform(0, 0.3)
    spine = np.stack([1.5 * along, bend * (along**2 - 0.4) + ripple * np.sin(4 * along)], axis=1)
    width = rng.uniform(0.25, 0.6) * np.sqrt(1.02 - along**2)
    side = np.stack([np.zeros(half), width], axis=1)
    return np.concatenate([spine + side, (spine - side)[::-1]])


def _cloud(rng: np.random.Generator) -> np.ndarray:
    """The largest piece of a thresholded texture: irregular outlines."""
    field = cv2.blur(sample_field(rng, 48, 48, (0.8, 2.5)), (7, 7))
    heap = cv2.add(cv2.multiply(field, 0.7), _HEAP)
    inside = cv2.threshold(heap, float(heap.mean()), 1, cv2.THRESH_BINARY)[1]
    pieces, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = max(pieces, key=cv2.contourArea).reshape(-1, 2)
    return _resample(points.astype(np.float64)) if len(points) >= 12 else _blob(rng)


_OUTLINES = (_blob, _blob, _superellipse, _superellipse, _polygon, _star, _crescent, _cloud)


def random_outline(rng: np.random.Generator, elongation: float = 0.35) -> np.ndarray:
    """An outline about the origin whose area equals that of the unit circle, stretched and turned at random."""
    points = _OUTLINES[rng.integers(len(_OUTLINES))](rng)
    points = points * np.exp(rng.normal(0, elongation) * np.array([0.5, -0.5]))
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.6 else 0.0
    cos, sin = np.cos(angle), np.sin(angle)
    points = points @ np.array([[cos, sin], [-sin, cos]])
    points = points - points.mean(axis=0)
    area = max(abs(cv2.contourArea(points.astype(np.float32))), 0.3)
    return (points * np.sqrt(np.pi / area)).astype(np.float32)


def _limb_outline(rng: np.random.Generator, length: float, width: float) -> np.ndarray:
    """A tapered capsule along +x from the joint; its end may thicken to a hand, a head or a tail."""
    half = OUTLINE_POINTS // 2
    along = np.linspace(0, 1, half)
    profile = width * (1 - rng.uniform(0, 0.8) * along) * np.sqrt(np.clip(1.02 - (2 * along - 1) ** 8, 0, 1))
    if rng.random() < 0.35:
        profile += width * rng.uniform(0.3, 1.6) * np.exp(-(((along - 0.85) / 0.12) ** 2))
    bend = rng.normal(0, 0.12) * length * along**2
    upper = np.stack([length * along - 0.15 * width, bend + profile], axis=1)
    lower = np.stack([length * along - 0.15 * width, bend - profile], axis=1)
    return np.concatenate([upper, lower[::-1]]).astype(np.float32)


def _skin(rng: np.random.Generator, outline: np.ndarray, base: Colour, widen: float = 1.0) -> np.ndarray:
    """A surface large enough for `outline` about its centre, with a few patches and marks painted on."""
    reach = np.abs(outline).max(axis=0)
    width, height = (int(2 * r) + 4 for r in (reach[0] * widen, reach[1]))
    skin = paint(rng, height, width, base)
    for _ in range(int(rng.integers(0, 4)) if rng.random() < 0.5 else 0):
        size = rng.uniform(0.12, 0.5) * reach.min()
        patch = size * random_outline(rng) + rng.uniform(0, 1, 2) * (width, height)
        colour = random_colour(rng) if rng.random() < 0.4 else nearby_colour(rng, base, 40)
        _fill(skin, patch, colour.tolist())
    return cv2.cvtColor(skin, cv2.COLOR_RGB2RGBA)


def _fill(image: np.ndarray, points: np.ndarray, colour) -> None:
    """Fill a polygon given in pixel coordinates with 1/16 pixel precision, anti-aliased."""
    cv2.fillPoly(image, [np.round(points * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)


def fill_mask(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """The polygon's coverage: uint8 [height, width], 0..255."""
    mask = np.zeros((height, width), np.uint8)
    _fill(mask, points, 255)
    return mask


def make_parts(rng: np.random.Generator, radius: float, base: Colour, limbs: int, turns: bool) -> tuple[Part, ...]:
    """A body of mean radius `radius` canvas pixels and `limbs` limbs, heads and chains of segments, around `base`.

    turns: the body has another silhouette behind, and a skin wider than what is seen at once.
    """
    thin = limbs > 0 and rng.random() < 0.2
    body = radius * (0.35 if thin else 1.0) * random_outline(rng)
    turned = body
    if turns:
        other = np.abs(body).max() / 1.3 * random_outline(rng)
        turned = (body + rng.uniform(0.2, 0.8) * (_aligned(body, other) - body)).astype(np.float32)
    hole = None
    if rng.random() < 0.08:
        hole = 0.35 * radius * random_outline(rng) + rng.uniform(-0.25, 0.25, 2) * radius
    skin = _skin(rng, np.maximum(np.abs(body), np.abs(turned)), base, 1.8 if turns else 1.0)
    parts = [Part(body, turned, skin, hole=hole)]
    rate, swing = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9)
    for _ in range(limbs):
        colour = nearby_colour(rng, base, 22) if rng.random() < 0.6 else random_colour(rng)
        where = body[rng.integers(OUTLINE_POINTS)]
        outward = float(np.arctan2(where[1], where[0]) + rng.normal(0, 0.4))
        length = radius * rng.uniform(0.5, 1.6) * (1.3 if thin else 1.0)
        width = max(0.9, radius * rng.uniform(0.05, 0.16) if thin else radius * rng.uniform(0.1, 0.4))
        depth = float(rng.choice([-1, 1]) * rng.uniform(0.1, 0.7) * radius)
        parent, joint, angle = 0, (float(0.8 * where[0]), float(0.8 * where[1]), depth), outward
        for _ in range(int(rng.integers(1, 4))):
            outline = _limb_outline(rng, length, width)
            parts.append(
                Part(
                    outline, outline, _skin(rng, outline, colour), parent, joint, angle,
                    swing * rng.uniform(0.3, 1.2), rate * rng.choice([0.5, 1.0, 1.0]), rng.uniform(0, 2 * np.pi),
                )
            )  # fmt: skip
            parent, joint, angle = len(parts) - 1, (0.9 * length, 0.0, 0.0), float(rng.normal(0, 0.4))
            length, width = 0.8 * length, max(0.9, 0.75 * width)
            if rng.random() < 0.45:
                colour = nearby_colour(rng, base, 30)
    return tuple(parts)


def make_block(rng: np.random.Generator, radius: float, base: Colour) -> tuple[Part, ...]:
    """A round or boxy body that covers the circle of `radius` canvas pixels about its centre."""
    corner = rng.choice([2.0, 2.6, 6.0])
    outline = np.sign(_CIRCLE) * np.abs(_CIRCLE) ** (2 / corner)
    outline = (radius * outline * (1.0, rng.uniform(1.0, 1.6))).astype(np.float32)
    return (Part(outline, outline, _skin(rng, outline, base)),)


def _aligned(reference: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """`outline` with its points in the order (start and direction) that lies nearest to `reference`."""
    candidates = []
    for points in (outline, outline[::-1]):
        start = np.argmin(np.abs(np.arctan2(*points.T[::-1]) - np.arctan2(reference[0, 1], reference[0, 0])))
        candidates.append(np.roll(points, -start, axis=0))
    return min(candidates, key=lambda points: float(np.abs(points - reference).sum()))
