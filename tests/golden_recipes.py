"""Artificial weights, videos and encoder features behind the reference numbers.

All of it follows from names, shapes and seeds, so no weight or image file is needed. The arithmetic is float64 on
integers and dyadic fractions, and therefore exact: check sums in the reference files tell whether it is right.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod, sqrt

import numpy as np
from numpy.random import RandomState

IMAGE_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
IMAGE_STD = np.array((0.229, 0.224, 0.225), np.float32)

FEATURE_STRIDES = (4, 8, 16, 16)
FEATURE_CHANNELS = (64, 128, 256, 256)


# ---------------------------------------------------------------- weights


def deaot_weights(shapes: Mapping[str, Sequence[int]], integer_keys: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Float32 arrays by official key; keys of integer tables are left out, as the model builds those itself."""
    return {key: _deaot_tensor(key, tuple(shape)) for key, shape in shapes.items() if key not in set(integer_keys)}


def vmos_weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """Float32 arrays by official key of the multi-scale model without its encoder."""
    return {key: _vmos_tensor(key, tuple(shape)) for key, shape in shapes.items()}


def intern_image_weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """Float32 arrays by official key of the encoder of the multi-scale model."""
    return {key: _intern_image_tensor(key, tuple(shape)) for key, shape in shapes.items()}


def alpha_refine_weights(shapes: Mapping[str, Sequence[int]], integer_keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Float32 arrays by published key, and zeros for the integer ones."""
    weights = {key: _alpha_refine_tensor(key, tuple(shapes[key])) for key in shapes if key not in set(integer_keys)}
    return weights | {key: np.zeros(tuple(shapes[key]), np.int64) for key in integer_keys}


def _deaot_tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    seed = 3755 if key == "decoder.conv_out.weight" else zlib.crc32(key.encode())
    generator = RandomState(seed)
    last = key.rsplit(".", 1)[-1]
    if last == "running_var":
        return (1 + 0.2 * generator.rand(*shape)).astype(np.float32)
    z = generator.randn(*shape)
    if last == "relative_position_bias_table":
        value = 0.5 * z
    elif last == "running_mean":
        value = 0.1 * z
    elif key == "decoder.conv_out.weight":
        value = _last_convolution(z)
    elif key == "decoder.conv_out.bias":
        value = _last_bias(z)
    elif len(shape) >= 2:
        if len(shape) == 4 and shape[1] > 3 and key.startswith(("encoder.", "decoder.")):
            z = _centred(z)
        value = _deaot_gain(key, len(shape)) * z / sqrt(prod(shape[1:]))
    else:
        value = _vector(z, last)
        if last == "weight" and key.split(".")[-2] == "bn3":
            value = 0.3 * value
    return value.astype(np.float32)


def _deaot_gain(key: str, dimensions: int) -> float:
    if key.startswith("encoder.") and dimensions == 4 and "patch_embed" not in key:
        return 1.5
    if key.startswith("LSTT.") and key.endswith(".projection.weight"):
        return 3.0
    return 0.25 if key.startswith("decoder.adapter_") else 1.0


_ALPHA_REFINE_SEEDS = {"corner_head.conv5_tl.weight": 3911, "corner_head.conv5_br.weight": 14026}
_ALPHA_REFINE_GAINS = {
    "neck.post_corr.0.": 0.12,
    "neck.channel_attention.": 2.0,
    "corner_head.conv5_": 8.0,
    "mask_head.post2.": 3.0,
}


def _alpha_refine_tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    generator = RandomState(_ALPHA_REFINE_SEEDS.get(key, zlib.crc32(key.encode())))
    *_, parent, last = key.split(".")
    if last == "running_var":
        return (1 + 0.2 * generator.rand(*shape)).astype(np.float32)
    z = generator.randn(*shape)
    if last == "running_mean":
        value = 0.1 * z
    elif len(shape) >= 2:
        gain = next((g for start, g in _ALPHA_REFINE_GAINS.items() if key.startswith(start)), 1.5)
        value = gain * (_centred(z) if len(shape) == 4 and shape[1] > 3 else z) / sqrt(prod(shape[1:]))
    else:
        value = _vector(z, last) * (0.4 if (parent, last) == ("bn2", "weight") else 1.0)
    return value.astype(np.float32)


def _vmos_tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    z = RandomState(zlib.crc32(key.encode())).randn(*shape)
    if key == "conv_output2.weight":
        value = _last_convolution(z)
    elif key == "conv_output2.bias":
        value = _last_bias(z)
    elif len(shape) >= 2:
        if len(shape) == 4 and key.startswith(("decoder.", "LSTT.s8_", "LSTT.s4_", "conv_output1.")):
            z = _centred(z)
        gain = 3.0 if key.startswith("LSTT.") and key.endswith(".projection.weight") else 1.0
        value = gain * z / sqrt(prod(shape[1:]))
    else:
        value = _vector(z, key.rsplit(".", 1)[-1])
    return value.astype(np.float32)


def _intern_image_tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    z, last = RandomState(zlib.crc32(key.encode())).randn(*shape), key.rsplit(".", 1)[-1]
    if last in ("gamma1", "gamma2"):
        value = 0.5 + 0.1 * z
    elif key.endswith(".dcn.offset.bias"):
        value = 0.7 * z
    elif len(shape) >= 2:
        value = (_centred(z) if len(shape) == 4 and shape[1] > 3 else z) / sqrt(prod(shape[1:]))
    else:
        value = _vector(z, last)
    return value.astype(np.float32)


def _centred(z: np.ndarray) -> np.ndarray:
    return z - z.mean(axis=(1, 2, 3), keepdims=True)


def _last_convolution(z: np.ndarray) -> np.ndarray:
    w = z / sqrt(prod(z.shape[1:]))
    return 4 * (w - w.mean(axis=1, keepdims=True))


def _last_bias(z: np.ndarray) -> np.ndarray:
    value = 0.02 * z
    value[0] += 1.0
    return value


def _vector(z: np.ndarray, last: str) -> np.ndarray:
    if last == "weight":
        return 1 + 0.1 * z
    if last == "bias":
        return 0.1 * z
    raise ValueError(f"the weight recipe says nothing about a vector named {last!r}")


# ---------------------------------------------------------------- video


@dataclass(frozen=True)
class _Ellipse:
    """A textured ellipse with half axes (a, b) in pixels that moves by (vx, vy) pixels per frame."""

    cy: int
    cx: int
    b: int
    a: int
    vy: int
    vx: int
    texture: np.ndarray  # [2 b + 1, 2 a + 1, 3]

    def paint(self, image: np.ndarray, label: np.ndarray, object_id: int, t: int) -> None:
        dy, dx = np.arange(-self.b, self.b + 1), np.arange(-self.a, self.a + 1)
        inside = dx**2 * self.b**2 + dy[:, None] ** 2 * self.a**2 <= self.a**2 * self.b**2
        rows, columns = self.cy + self.vy * t + dy, self.cx + self.vx * t + dx
        keep_y = (rows >= 0) & (rows < label.shape[0])
        keep_x = (columns >= 0) & (columns < label.shape[1])
        keep = np.ix_(keep_y, keep_x)
        target = np.ix_(rows[keep_y], columns[keep_x])
        inside = inside[keep]
        image[target] = np.where(inside[..., None], self.texture[keep], image[target])
        label[target] = np.where(inside, object_id, label[target])


def video(height: int, width: int, objects: int, frames: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield frames 0..`frames`: image uint8 [H, W, 3] RGB and label map uint8 [H, W], objects 1..n, 0 = background."""
    if frames > 32:
        raise ValueError(f"the background ends after 32 frames, {frames} were asked for")
    generator = RandomState(seed)
    background = (
        2 * _noise(generator, height + 64, width + 64, 32)
        + _noise(generator, height + 64, width + 64, 8)
        + _noise(generator, height + 64, width + 64, 4)
    ) / 4
    ellipses = _ellipses(generator, height, width, objects)
    for t in range(frames + 1):
        image = background[t : t + height, 2 * t : 2 * t + width].copy()
        label = np.zeros((height, width), np.uint8)
        for object_id, ellipse in enumerate(ellipses, start=1):
            ellipse.paint(image, label, object_id, t)
        yield image.astype(np.uint8), label


def _ellipses(generator: RandomState, height: int, width: int, objects: int) -> list[_Ellipse]:
    columns = ceil(sqrt(objects * width / height))
    rows = ceil(objects / columns)
    cell_h, cell_w = height // rows, width // columns
    ellipses = []
    for k in range(objects):
        row, column = divmod(k, columns)
        cy = row * cell_h + cell_h // 2 + generator.randint(-(cell_h // 10), cell_h // 10 + 1)
        cx = column * cell_w + cell_w // 2 + generator.randint(-(cell_w // 10), cell_w // 10 + 1)
        b = cell_h * generator.randint(30, 43) // 100
        a = cell_w * generator.randint(30, 43) // 100
        vy, vx = generator.randint(-3, 4), generator.randint(-4, 5)
        colour = generator.randint(0, 256, size=3)
        coarse = _noise(generator, 2 * b + 1, 2 * a + 1, 8)
        fine = _noise(generator, 2 * b + 1, 2 * a + 1, 2)
        ellipses.append(_Ellipse(cy, cx, b, a, vy, vx, (2 * colour + coarse + fine) / 4))
    return ellipses


def _noise(generator: RandomState, height: int, width: int, cell: int) -> np.ndarray:
    grid = generator.randint(0, 256, size=(height // cell + 2, width // cell + 2, 3)).astype(np.float64)
    return bilinear(grid, np.arange(height) / cell, np.arange(width) / cell)


def bilinear(grid: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values of `grid` [h, w, C] at every (row, column) pair, [rows, columns, C]; the grid is not extended."""
    for axis in (0, 1):
        positions = rows if axis == 0 else columns
        if positions[-1] > grid.shape[axis] - 1:
            raise ValueError(f"position {positions[-1]} lies outside a grid of {grid.shape[axis]}")
        low = np.floor(positions).astype(int)
        part = (positions - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        high = np.minimum(low + 1, grid.shape[axis] - 1)  # reached only where its part is 0
        grid = grid.take(low, axis) * (1 - part) + grid.take(high, axis) * part
    return grid


def network_input(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] RGB -> float32 [1, 3, H, W], ImageNet-normalised."""
    normalised = (image.astype(np.float32) / 255 - IMAGE_MEAN) / IMAGE_STD
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])


# ---------------------------------------------------------------- features


def features(labels: np.ndarray, seed: int, *, levels: Sequence[int] = (0, 1, 2, 3)) -> Iterator[list[np.ndarray]]:
    """Yield, per frame of `labels` [N + 1, H, W], the float32 [1, C, h, w] maps that stand for an encoder's outputs.

    Strides 4, 8, 16, 16 (FEATURE_STRIDES), 64, 128, 256, 256 channels; the fourth is the deep map.
    """
    height, width = labels.shape[1:]
    grid_h, grid_w = (height - 1) // 32 + 2, (width - 1) // 32 + 2
    still, shift = {}, {}
    for level in levels:
        generator, channels = RandomState(1000 * seed + 100 * level), FEATURE_CHANNELS[level]
        still[level] = generator.randint(-128, 128, size=(grid_h + 4, grid_w + 4, channels)).astype(np.float64)
        shift[level] = generator.randint(-64, 64, size=(int(labels.max()) + 1, channels)).astype(np.float64)
        shift[level][0] = 0
    for t, label in enumerate(labels):
        maps = []
        for level in levels:
            stride, channels = FEATURE_STRIDES[level], FEATURE_CHANNELS[level]
            generator = RandomState(1000 * seed + 100 * level + 1 + t)
            change = generator.randint(-128, 128, size=(grid_h, grid_w, channels)).astype(np.float64)
            y, x = np.arange(0, height, stride), np.arange(0, width, stride)
            value = 3 * bilinear(still[level], (y + 6 * t) / 32, (x + 10 * t) / 32)
            value += bilinear(change, y / 32, x / 32)
            value += 4 * shift[level][label[::stride, ::stride]]
            maps.append(np.ascontiguousarray((value / 256).astype(np.float32).transpose(2, 0, 1)[None]))
        yield maps
