"""Backgrounds, and screens (fences, foliage) that are seen through."""

import cv2
import numpy as np

from .shapes import fill_mask, random_outline
from .textures import Colour, nearby_colour, paint, random_colour, sample_field


def make_background(rng: np.random.Generator, height: int, width: int, ground: Colour, shapes: int) -> np.ndarray:
    """A textured ground around the colour `ground`, bands on it, and up to `shapes` things lying on it.

    uint8 [height, width, 3] RGB.
    """
    canvas = paint(rng, height, width, ground)
    colours = [ground, random_colour(rng), random_colour(rng)]
    if rng.random() < 0.4:
        for level in np.sort(rng.uniform(0.1, 1.0, int(rng.integers(1, 4)))):
            _lay(rng, canvas, _horizon(rng, height, width, level), colours[rng.integers(3)])
    short = min(height, width)
    # most things are cut out of a few shared surfaces, recoloured: painting each anew would cost most of a clip's time
    count, kind = int(shapes * rng.random() ** 2), rng.random()
    looks = [nearby_colour(rng, colours[index % 3], 35) for index in range(min(6, 1 + count // 3))]
    sheets = [paint(rng, short // 3, short // 3, base) for base in looks]
    for _ in range(count):
        size = short * float(np.exp(rng.uniform(np.log(0.02), np.log(0.3))))
        outline = random_outline(rng) if rng.random() < kind else _rectangle(rng)
        centre = rng.uniform(0, 1, 2) * (width, height)
        if rng.random() < 0.85:
            surface = _recoloured(rng, sheets[rng.integers(len(sheets))])
            _lay(rng, canvas, outline * size + centre, surface)
        else:
            _lay(rng, canvas, outline * size + centre, random_colour(rng))
    return canvas


def _recoloured(rng: np.random.Generator, sheet: np.ndarray) -> np.ndarray:
    gain, shift = np.exp(rng.normal(0, 0.2)), rng.normal(0, 15) + rng.normal(0, 6, 3)
    turned = cv2.flip(sheet, int(rng.integers(-1, 2)))
    return cv2.transform(turned, np.column_stack([gain * np.eye(3), shift]))


def _rectangle(rng: np.random.Generator) -> np.ndarray:
    """Buildings, boards, furniture: mostly upright."""
    half = np.exp(rng.normal(0, 0.6, 2))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    angle = rng.normal(0, 0.5) if rng.random() < 0.4 else 0.0
    return corners @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _horizon(rng: np.random.Generator, height: int, width: int, level: float) -> np.ndarray:
    """Everything below a wavy line at `level` of the height."""
    x = np.linspace(-5, width + 5, 40)
    line = height * (level + rng.uniform(0, 0.06) * np.sin(x / width * rng.uniform(2, 20) + rng.uniform(0, 6)))
    line += rng.normal(0, 0.1) * (x - width / 2)
    top = np.stack([x, line], axis=1)
    return np.concatenate([top, [[width + 5, height + 5], [-5, height + 5]]])


def _lay(rng: np.random.Generator, canvas: np.ndarray, points: np.ndarray, look: np.ndarray) -> None:
    """Paint a polygon (canvas coordinates) onto the canvas, in place.

    look: a base colour [3], or a surface [h, w, 3], which is used if it is large enough, else its mean colour.
    """
    height, width = canvas.shape[:2]
    left, top = np.clip(np.floor(points.min(axis=0)).astype(int), 0, (width, height))
    right, bottom = np.clip(np.ceil(points.max(axis=0)).astype(int) + 1, 0, (width, height))
    rows, columns = int(bottom - top), int(right - left)
    if columns < 2 or rows < 2:
        return
    if look.ndim == 3 and rows <= look.shape[0] and columns <= look.shape[1]:
        y, x = rng.integers((look.shape[0] - rows + 1, look.shape[1] - columns + 1))
        surface = np.ascontiguousarray(look[y : y + rows, x : x + columns])
    else:
        surface = paint(rng, rows, columns, look.reshape(-1, 3).mean(axis=0))
    region = canvas[top:bottom, left:right]
    weight = fill_mask(points - (left, top), rows, columns).astype(np.float32) * np.float32(1 / 255)
    region[:] = cv2.blendLinear(surface, np.ascontiguousarray(region), weight, 1 - weight)


def make_screen(rng: np.random.Generator, height: int, width: int, base: Colour) -> np.ndarray:
    """Foliage, mesh or bars with holes to look through: premultiplied uint8 [height, width, 4]."""
    short = min(height, width)
    if rng.random() < 0.5:
        field = cv2.GaussianBlur(sample_field(rng, height, width, (1.0, 3.0)), (0, 0), 1.5)
        mask = np.where(field > np.quantile(field, rng.uniform(0.72, 0.92)), 255, 0).astype(np.uint8)
        mask = cv2.GaussianBlur(mask, (0, 0), 0.8)
    else:
        mask = np.zeros((height, width), np.uint8)
        gap, thick = short * rng.uniform(0.12, 0.4), max(1, int(short * rng.uniform(0.008, 0.05)))
        tilt = rng.normal(0, 0.15) * height
        for x in np.arange(rng.uniform(0, gap), width, gap):
            cv2.line(mask, (int(x), 0), (int(x + tilt), height), 255, thick, cv2.LINE_AA)
        if rng.random() < 0.4:
            for y in np.arange(rng.uniform(0, gap), height, gap):
                cv2.line(mask, (0, int(y)), (width, int(y + tilt)), 255, thick, cv2.LINE_AA)
    surface = cv2.multiply(paint(rng, height, width, base), cv2.cvtColor(mask, cv2.COLOR_GRAY2RGB), scale=1 / 255)
    return np.dstack([surface, mask])
