"""Putting patches into a frame, and what light, lens, sensor and codec do to the frame afterwards."""

from dataclasses import dataclass

import cv2
import numpy as np

from .motion import wander


def _overlap(frame: np.ndarray, patch: np.ndarray, x: int, y: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The parts of frame and patch that lie over each other when the patch's top-left pixel is at (x, y)."""
    height, width = frame.shape[:2]
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + patch.shape[1], width), min(y + patch.shape[0], height)
    if left >= right or top >= bottom:
        return None
    return frame[top:bottom, left:right], patch[top - y : bottom - y, left - x : right - x]


def paste(frame: np.ndarray, labels: np.ndarray, patch: np.ndarray, x: int, y: int, label: int) -> None:
    """Lay a premultiplied patch over the frame, in place; pixels that it covers by half or more get `label`."""
    regions = _overlap(frame, patch, x, y)
    if regions is None:
        return
    below, above = regions
    coverage = np.ascontiguousarray(above[..., 3])
    through = cv2.cvtColor(255 - coverage, cv2.COLOR_GRAY2RGB)
    colour = cv2.cvtColor(above, cv2.COLOR_RGBA2RGB)
    below[:] = cv2.add(colour, cv2.multiply(np.ascontiguousarray(below), through, scale=1 / 255))
    covered, _ = _overlap(labels, patch, x, y)
    covered[coverage >= 128] = label


def cast_shadow(frame: np.ndarray, patch: np.ndarray, x: int, y: int, strength: float, softness: int) -> None:
    """Darken the frame, in place, by the patch's blurred coverage; strength: 0..1; softness: blur in pixels (odd)."""
    coverage = cv2.copyMakeBorder(
        np.ascontiguousarray(patch[..., 3]), softness, softness, softness, softness, cv2.BORDER_CONSTANT
    )
    regions = _overlap(frame, cv2.blur(coverage, (softness, softness)), x - softness, y - softness)
    if regions is None:
        return
    below, shadow = regions
    kept = 255 - (strength * shadow.astype(np.float32)).astype(np.uint8)
    below[:] = cv2.multiply(np.ascontiguousarray(below), cv2.cvtColor(kept, cv2.COLOR_GRAY2RGB), scale=1 / 255)


@dataclass(frozen=True)
class Camera:
    """The look of a clip, per frame.

    tables:  uint8 [T, 256, 1, 3], exposure, white balance and contrast.
    light:   float32 [T, 3, 3] low-resolution gains, or None when the light is even.
    defocus: standard deviation of the blur in pixels; 0 = sharp.
    noise:   standard deviation of the sensor noise in grey values; coarse: its grain is two pixels wide.
    quality: JPEG quality, or None for no compression.
    """

    tables: np.ndarray
    light: np.ndarray | None
    defocus: float
    noise: float
    coarse: bool
    quality: int | None

    def expose(self, rng: np.random.Generator, frame: np.ndarray, index: int) -> np.ndarray:
        """The frame uint8 [H, W, 3] as recorded at `index`."""
        height, width = frame.shape[:2]
        if self.light is not None:
            gain = cv2.resize(self.light[index], (width, height), interpolation=cv2.INTER_LINEAR)
            frame = cv2.multiply(frame, cv2.merge((gain, gain, gain)), dtype=cv2.CV_8U)
        frame = cv2.LUT(frame, self.tables[index])
        if self.defocus > 0:
            frame = cv2.GaussianBlur(frame, (0, 0), self.defocus)
        if self.noise > 0:
            shape = (height // 2 + 1, width // 2 + 1, 3) if self.coarse else (height, width, 3)
            grain = rng.standard_normal(shape, np.float32) * np.float32(self.noise)
            if self.coarse:
                grain = cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR)
            frame = cv2.add(frame, grain, dtype=cv2.CV_8U)
        if self.quality is not None:
            _, code = cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, self.quality))
            frame = cv2.imdecode(code, cv2.IMREAD_COLOR)
        return frame


def random_camera(
    rng: np.random.Generator, frames: int, step: float, *,
    lighting: float, defocus: float, noise: tuple[float, float], jpeg: float, quality: tuple[int, int],
) -> Camera:  # fmt: skip
    """Draw a look; lighting, defocus and jpeg are probabilities, noise and quality ranges (units as in Camera)."""
    changes = rng.random() < lighting
    drift = 1.0 if changes else 0.1
    gain = np.exp(wander(rng, frames, step, 0.18 * drift, (0.05, 0.8)) + rng.normal(0, 0.1))
    balance = np.stack([wander(rng, frames, step, 0.05 * drift) for _ in range(3)], axis=1) + rng.normal(0, 0.04, 3)
    gamma = np.exp(rng.normal(0, 0.15))
    ramp = 255 * (np.arange(256) / 255) ** gamma
    tables = ramp[None, :, None] * gain[:, None, None] * np.exp(balance)[:, None, :]
    light = None
    if changes and rng.random() < 0.6:
        waves = np.stack([wander(rng, frames, step, 0.2) for _ in range(9)], axis=1) + rng.normal(0, 0.2, 9)
        light = np.clip(np.exp(waves), 0.35, 1.8).astype(np.float32).reshape(frames, 3, 3)
    return Camera(
        tables=np.clip(tables, 0, 255).astype(np.uint8)[:, :, None],
        light=light,
        defocus=float(rng.uniform(0.4, 1.5)) if rng.random() < defocus else 0.0,
        noise=float(rng.uniform(*noise)) if rng.random() < 0.6 else 0.0,
        coarse=bool(rng.random() < 0.4),
        quality=int(rng.integers(quality[0], quality[1] + 1)) if rng.random() < jpeg else None,
    )
