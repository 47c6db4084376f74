"""Sprites: drawing an articulated, turning, deforming object, first on its own canvas, then into the image.

Colours are premultiplied by coverage: a canvas or patch is uint8 [h, w, 4], (R, G, B, coverage), zero outside.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .shapes import Part, fill_mask, make_block, make_parts
from .textures import Colour

SHORTEST_LIMB = 0.3  # a limb that points at the camera keeps this much of its length
_GRID = 4  # nodes per side of a deformation field


@dataclass(frozen=True, kw_only=True)
class Bending:
    """How an object bends. Lengths in canvas pixels.

    modes: float32 [K, 4, 4, 2], displacement (x, y) fields; rates and phases [K] in radians (per unit of time).
    """

    modes: np.ndarray
    rates: np.ndarray
    phases: np.ndarray

    def displacement(self, time: float) -> np.ndarray:
        """Non-rigid displacement at `time`: float32 [4, 4, 2], canvas pixels (x, y)."""
        weights = np.sin(self.rates * time + self.phases).astype(np.float32)
        return np.tensordot(weights, self.modes, axes=1)


@dataclass(frozen=True, kw_only=True)
class Sprite(Bending):
    """An object that can be drawn at any time. Lengths in canvas pixels, angles in radians.

    parts:     the root first, parents before children.
    canvas:    side of the square canvas; the root's origin is its centre.
    extent:    radius of a circle about the centre that holds every part in every pose.
    shading:   0 = flat, 1 = rims fall to black.
    """

    parts: tuple[Part, ...]
    canvas: int
    extent: float
    turns: bool
    shading: float

    def draw(self, time: float, turn: float) -> np.ndarray:
        """The object at `time`, turned by `turn` radians about its vertical axis: uint8 [canvas, canvas, 4]."""
        canvas = np.zeros((self.canvas, self.canvas, 4), np.uint8)
        poses, depths = self._poses(time, turn)
        order = sorted(range(len(self.parts)), key=lambda i: depths[i] if i else 0.0)
        for index in order:
            self._draw_part(canvas, self.parts[index], poses[index], turn)
        if self.shading > 0:
            coverage = canvas[..., 3]
            width = max(3, int(self.extent * 0.35) | 1)
            inner = cv2.blur(coverage, (width, width), borderType=cv2.BORDER_CONSTANT)
            gain = cv2.LUT(inner, self._gains)
            shaded = cv2.multiply(canvas, cv2.merge((gain, gain, gain, np.full_like(gain, 255))), scale=1 / 255)
            return shaded
        return canvas

    @property
    def _gains(self) -> np.ndarray:
        """Rim shading as a gain (0..255) per blurred coverage: uint8 [256]."""
        ramp = np.clip((np.arange(256) / 255 - 0.3) / 0.7, 0, 1)
        return (255 * (1 - self.shading * (1 - ramp))).astype(np.uint8)

    def _poses(self, time: float, turn: float) -> tuple[list[np.ndarray], list[float]]:
        """Per part: the matrix [2, 3] from its frame to the canvas, and its depth towards the camera."""
        centre = self.canvas / 2
        poses, depths = [np.array([[1.0, 0.0, centre], [0.0, 1.0, centre]])], [0.0]
        cos_turn, sin_turn = np.cos(turn), np.sin(turn)
        for part in self.parts[1:]:
            angle = part.angle + part.swing * np.sin(part.rate * time + part.phase)
            (x, y, z), depth, stretch = part.joint, depths[part.parent], 1.0
            if part.parent == 0:
                ahead, down, lean = np.cos(angle), np.sin(angle), 0.4 * np.sign(z)
                ahead = ahead * cos_turn + lean * sin_turn
                angle, stretch = np.arctan2(down, ahead), max(SHORTEST_LIMB, min(1.0, np.hypot(ahead, down)))
                x, depth = x * cos_turn + z * sin_turn, z * cos_turn - x * sin_turn
            cos, sin = np.cos(angle), np.sin(angle)
            local = np.array([[cos * stretch, -sin, x], [sin * stretch, cos, y], [0, 0, 1]])
            poses.append(poses[part.parent] @ local)
            depths.append(float(depth))
        return poses, depths

    def _draw_part(self, canvas: np.ndarray, part: Part, pose: np.ndarray, turn: float) -> None:
        points = part.outline
        if part.turned is not part.outline:
            points = points + (part.turned - points) * np.float32(0.5 - 0.5 * np.cos(turn))
        points = points @ pose[:, :2].T + pose[:, 2]
        low = np.maximum(np.floor(points.min(axis=0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 2, self.canvas)
        width, height = (int(side) for side in high - low)
        if width <= 0 or height <= 0:
            return
        mask = fill_mask(points - low, height, width)
        if part.hole is not None:
            mask = cv2.subtract(mask, fill_mask(part.hole @ pose[:, :2].T + pose[:, 2] - low, height, width))
        if part.parent is None and self.turns:
            surface = _wrapped_skin(part, low - pose[:, 2], width, height, turn)
        else:
            surface = _flat_skin(part, pose, low, width, height)
        region = canvas[low[1] : high[1], low[0] : high[0]]
        weight = mask.astype(np.float32) * np.float32(1 / 255)
        region[:] = cv2.blendLinear(surface, region, weight, 1 - weight)


def _flat_skin(part: Part, pose: np.ndarray, low: np.ndarray, width: int, height: int) -> np.ndarray:
    """The skin carried by the part's pose, over the canvas region that starts at `low` (x, y)."""
    rows, columns = part.skin.shape[:2]
    matrix = pose.copy()
    matrix[:, 2] += pose[:, :2] @ (-columns / 2, -rows / 2) - low
    return cv2.warpAffine(part.skin, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _wrapped_skin(part: Part, low: np.ndarray, width: int, height: int, turn: float) -> np.ndarray:
    """The skin wrapped around an upright cylinder and turned: texture enters at one side and leaves at the other."""
    rows, columns = part.skin.shape[:2]
    radius = 1.02 * max(np.abs(part.outline[:, 0]).max(), np.abs(part.turned[:, 0]).max())
    across = (np.arange(width) + low[0]) / radius
    column = radius * (np.arcsin(np.clip(across, -0.99, 0.99)) + turn) + columns / 2
    row = np.arange(height) + low[1] + rows / 2
    map_x = np.broadcast_to(column.astype(np.float32), (height, width))
    map_y = np.broadcast_to(row.astype(np.float32)[:, None], (height, width))
    # a full turn is longer than the skin: it continues mirrored
    return cv2.remap(part.skin, map_x.copy(), map_y.copy(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def make_sprite(
    rng: np.random.Generator,
    diameter: float,
    base: Colour,
    *,
    limbs: int,
    turns: bool,
    deformation: float,
    compact: bool = False,
) -> Sprite:
    """An object of about `diameter` pixels.

    deformation: largest displacement as a share of the diameter; compact: a disc or box without holes, no limbs.
    """
    radius = diameter * (0.36 if limbs else 0.5)
    parts = make_block(rng, radius, base) if compact else make_parts(rng, radius, base, limbs, turns)
    reach = []
    for part in parts:
        own = float(np.hypot(*np.concatenate([part.outline, part.turned]).T).max())
        reach.append(own + (0 if part.parent is None else _joint_distance(parts, part)))
    modes = random_modes(rng, deformation * diameter)
    return Sprite(
        parts=parts,
        canvas=2 * int(np.ceil(max(reach))) + 4,
        extent=max(reach),
        turns=turns,
        shading=float(rng.uniform(0.15, 0.8)) if rng.random() < 0.5 else 0.0,
        modes=modes,
        rates=rng.uniform(0.15, 0.9, len(modes)),
        phases=rng.uniform(0, 2 * np.pi, len(modes)),
    )


def random_modes(rng: np.random.Generator, amplitude: float) -> np.ndarray:
    """One to three displacement fields, float32 [K, 4, 4, 2]; together they reach about `amplitude` canvas pixels."""
    count = int(rng.integers(1, 4))
    return (rng.uniform(-1, 1, (count, _GRID, _GRID, 2)) * amplitude / np.sqrt(count)).astype(np.float32)


def _joint_distance(parts: tuple[Part, ...], part: Part) -> float:
    """Longest way from the root's origin to the part's joint, over every pose."""
    distance = float(np.hypot(np.hypot(part.joint[0], part.joint[2]), part.joint[1]))
    return distance if part.parent == 0 else distance + _joint_distance(parts, parts[part.parent])


def place(canvas: np.ndarray, matrix: np.ndarray, displacement: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Warp a canvas into the image.

    matrix:       [2, 3], canvas to image coordinates.
    displacement: float32 [g, g, 2] (x, y) canvas pixels, spread over the patch.
    Returns (patch uint8 [h, w, 4], x, y): the patch's top-left pixel lies at (x, y), which may be outside the image.
    """
    x, y, width, height = cv2.boundingRect(canvas[..., 3])
    corners = np.array([[x, y], [x + width, y], [x, y + height], [x + width, y + height]]) @ matrix[:, :2].T
    margin = np.abs(matrix[:, :2]) @ np.abs(displacement).max(axis=(0, 1)) + 2
    low = np.floor(corners.min(axis=0) + matrix[:, 2] - margin).astype(int)
    high = np.ceil(corners.max(axis=0) + matrix[:, 2] + margin).astype(int)
    columns, rows = (int(side) for side in high - low)
    inverse = cv2.invertAffineTransform(matrix)
    shift = cv2.resize(displacement, (columns, rows), interpolation=cv2.INTER_LINEAR)
    xs = np.arange(low[0], high[0], dtype=np.float32)[None]
    ys = np.arange(low[1], high[1], dtype=np.float32)[:, None]
    maps = [
        shift[..., axis] + (xs * np.float32(a) + (ys * np.float32(b) + np.float32(c)))
        for axis, (a, b, c) in enumerate(inverse)
    ]
    patch = cv2.remap(canvas, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return patch, int(low[0]), int(low[1])


def smear(patch: np.ndarray, x: int, y: int, way: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Blur a patch along the straight `way` (x, y) in pixels, as a shutter open during that motion does."""
    pad = np.ceil(np.abs(way) / 2).astype(int) + 1
    patch = cv2.copyMakeBorder(patch, pad[1], pad[1], pad[0], pad[0], cv2.BORDER_CONSTANT)
    return blur_along(patch, way, cv2.BORDER_CONSTANT), x - int(pad[0]), y - int(pad[1])


def blur_along(image: np.ndarray, way: np.ndarray, border: int) -> np.ndarray:
    """Average an image along the straight `way` (x, y) in pixels, centred on each pixel.

    Copies at +-1/4 of the way, then at +-1/8, ... approach a box filter of its length in log2(length) steps.
    """
    step, size = way / 4, image.shape[1::-1]
    while np.hypot(*step) > 0.25:
        shifts = [np.array([[1, 0, sign * step[0]], [0, 1, sign * step[1]]]) for sign in (-1, 1)]
        back, ahead = (cv2.warpAffine(image, shift, size, borderMode=border) for shift in shifts)
        image = cv2.addWeighted(back, 0.5, ahead, 0.5, 0)
        step = step / 2
    return image
