"""Motion: smooth paths of objects and camera, exits from the image and passes of an occluder.

Time is counted in units of which a clip advances `step` per frame, so one factor sets how vigorous everything is.
"""

from dataclasses import dataclass, replace

import numpy as np

_PULL = 0.25  # acceleration back into the image per pixel outside, per unit of time squared
_CAMERA_REACH = 0.6  # farthest pan, in short sides


def wander(
    rng: np.random.Generator, frames: int, step: float, amplitude: float, rate: tuple[float, float] = (0.05, 0.6)
) -> np.ndarray:
    """A smooth random function that is 0 at the first frame: [frames]; rate in radians per unit of time."""
    time = np.arange(frames) * step
    waves = rng.uniform(*rate, 3)[:, None] * time + rng.uniform(0, 2 * np.pi, 3)[:, None]
    curve = np.sin(waves).sum(axis=0) * amplitude / np.sqrt(3)
    return curve - curve[0]


@dataclass(frozen=True)
class Trajectory:
    """centre [T, 2] (x, y) in image pixels, angle [T] in radians, scale [T, 2] along the object's own axes."""

    centre: np.ndarray
    angle: np.ndarray
    scale: np.ndarray

    def matrix(self, frame: int, canvas: int) -> np.ndarray:
        """[2, 3]: from a square canvas of side `canvas`, whose centre is the object's, to the image."""
        cos, sin = np.cos(self.angle[frame]), np.sin(self.angle[frame])
        linear = np.array([[cos, -sin], [sin, cos]]) * self.scale[frame]
        return np.column_stack([linear, self.centre[frame] - linear @ (canvas / 2, canvas / 2)])

    def velocity(self, frame: int) -> np.ndarray:
        """Pixels per frame (x, y), by central differences."""
        last = len(self.centre) - 1
        before, after = max(frame - 1, 0), min(frame + 1, last)
        return (self.centre[after] - self.centre[before]) / max(after - before, 1)

    def seen_by(self, camera: np.ndarray) -> "Trajectory":
        """The trajectory of something fixed to the background under camera matrices [T, 2, 3]."""
        centre = np.einsum("tij,tj->ti", camera[:, :, :2], self.centre) + camera[:, :, 2]
        zoom = np.sqrt(np.abs(np.linalg.det(camera[:, :, :2])))
        angle = self.angle + np.arctan2(camera[:, 1, 0], camera[:, 0, 0])
        return Trajectory(centre, angle, self.scale * zoom[:, None])

    def moved(self, offset: np.ndarray) -> "Trajectory":
        return replace(self, centre=self.centre + offset)


def roam(
    rng: np.random.Generator, start: np.ndarray, frames: int, step: float, speed: float, size: tuple[int, int]
) -> np.ndarray:
    """A path [frames, 2] from `start` that keeps to the image `size` (width, height) by a soft pull.

    speed: pixels per unit of time at the start; it changes smoothly.
    """
    low, high = 0.15 * np.array(size), 0.85 * np.array(size)
    heading = rng.uniform(0, 2 * np.pi)
    velocity = speed * np.array([np.cos(heading), np.sin(heading)])
    push = np.stack([wander(rng, frames, step, 0.2 * speed, (0.1, 0.9)) for _ in range(2)], axis=1)
    push += rng.normal(0, 0.08 * speed, 2)
    path = np.empty((frames, 2))
    path[0] = position = np.asarray(start, float)
    for frame in range(1, frames):
        velocity = velocity + step * (push[frame] + _PULL * (np.clip(position, low, high) - position))
        velocity *= min(1.0, 3 * speed / (np.hypot(*velocity) + 1e-6))
        position = position + step * velocity
        path[frame] = position
    return path


def random_trajectory(
    rng: np.random.Generator, path: np.ndarray, step: float, spin: float = 0.25, growth: float = 0.2
) -> Trajectory:
    """Add turning, growing and stretching to a path. spin: radians; growth: log units (amplitudes)."""
    frames = len(path)
    angle = wander(rng, frames, step, spin)
    if rng.random() < 0.15:
        angle += rng.normal(0, 0.15) * step * np.arange(frames)
    size = np.clip(wander(rng, frames, step, growth, (0.05, 0.3)), -0.9, 0.7)
    aspect = wander(rng, frames, step, 0.4 * growth)
    return Trajectory(path, angle, np.exp(np.stack([size + aspect, size - aspect], axis=1)))


def camera_path(
    rng: np.random.Generator, frames: int, step: float, size: tuple[int, int], shake: float
) -> tuple[np.ndarray, np.ndarray]:
    """How the image of the background moves, and the shake alone.

    size: (width, height); shake: standard deviation of the frame-to-frame jitter in pixels.
    Returns matrices [frames, 2, 3] from the first frame's image to each frame's, and jitter [frames, 2] (x, y).
    """
    short, middle = min(size), np.array(size) / 2
    vigour = rng.choice([0.0, 0.3, 1.0, 1.0, 2.0])
    pan = rng.normal(0, 0.012 * short * vigour, 2) * step * np.arange(frames)[:, None]
    pan += np.stack([wander(rng, frames, step, 0.03 * short * vigour) for _ in range(2)], axis=1)
    pan = _CAMERA_REACH * short * np.tanh(pan / (_CAMERA_REACH * short))
    jitter = rng.normal(0, shake, (frames, 2))
    jitter[0] = 0.0
    angle = wander(rng, frames, step, 0.05 * vigour)
    zoom = np.exp(np.clip(wander(rng, frames, step, 0.07 * vigour), -0.35, 0.5))
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    linear = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
    offset = middle + pan + jitter - linear @ middle
    return np.concatenate([linear, offset[..., None]], axis=2), jitter


def absence(rng: np.random.Generator, frames: int) -> np.ndarray:
    """When an object is away: a smooth curve [frames], 0 present (as in the first frame) to 1 away, mostly back to 0.

    At least one frame is at 1. Needs two frames.
    """
    gone = int(rng.integers(1, max(2, (2 * frames) // 3)))
    ramp = int(rng.integers(min(gone, 4), min(gone, 14) + 1))
    stay = int(rng.integers(1, max(2, frames // 3)))
    time = np.arange(frames)
    curve = np.clip((time - gone + ramp) / ramp, 0, 1)
    if rng.random() < 0.7:
        curve = np.where(time >= gone + stay, np.clip(1 - (time - gone - stay + 1) / ramp, 0, 1), curve)
    return curve * curve * (3 - 2 * curve)


def leave(path: np.ndarray, away: np.ndarray, reach: float, size: tuple[int, int]) -> np.ndarray:
    """Bend a path so that the object (radius `reach`) is wholly outside its nearest border while `away` is 1."""
    width, height = size
    x, y = path[int(np.argmax(away))]
    gap = reach + 3
    exits = {x: (-gap, y), width - x: (width + gap, y), y: (x, -gap), height - y: (x, height + gap)}
    target = np.array(exits[min(exits)])
    return path + away[:, None] * (target - path)


def pass_before(rng: np.random.Generator, path: np.ndarray, away: np.ndarray, distance: float) -> np.ndarray:
    """The path of an occluder that covers the object on `path` while `away` is 1 and is `distance` off at 0."""
    heading = rng.uniform(0, 2 * np.pi)
    way = np.array([np.cos(heading), np.sin(heading)])
    after = np.arange(len(away)) > int(np.argmax(away))
    side = np.where(after, 1.0, -1.0)
    return path + (side * (1 - away) * distance)[:, None] * way
