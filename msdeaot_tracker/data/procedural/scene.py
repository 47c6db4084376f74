"""Scenes: which objects, where, how they move, over what background, in what order, under which light."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np

from .background import make_background, make_screen
from .compositing import Camera, random_camera
from .config import ClipConfig
from .motion import Trajectory, absence, camera_path, leave, pass_before, random_trajectory, roam
from .sprites import make_sprite
from .textures import Colour, nearby_colour, random_colour

_ROOM = 1.6  # side of the background's canvas over the image's


class Figure(Protocol):
    """What a layer shows; `Sprite` says what these are."""

    canvas: int
    extent: float
    modes: np.ndarray

    def draw(self, time: float, turn: float) -> np.ndarray: ...

    def displacement(self, time: float) -> np.ndarray: ...


class Props(Protocol):
    """Objects and backgrounds to make scenes of, in place of those that are painted."""

    def figure(self, rng: np.random.Generator, diameter: float, deformation: float) -> Figure:
        """An object of about `diameter` pixels. deformation: largest displacement as a share of it."""

    def background(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """uint8 [height, width, 3] RGB."""


@dataclass(frozen=True)
class Layer:
    """An object on its way. label: 0 = not tracked; turn: [T] radians; clock: [T] the sprite's own time."""

    sprite: Figure
    trajectory: Trajectory
    label: int
    turn: np.ndarray
    clock: np.ndarray
    diameter: float


@dataclass(frozen=True)
class Scene:
    """Everything a frame is drawn from.

    background, screen: canvases [h, w, 3] and RGBA [h, w, 4] or None; drawn through `view` [T, 2, 3] (canvas to image)
    layers:  from back to front
    sway:    float32 [T, g, g, 2] displacement of the background in pixels, or None
    shadow:  (x, y) offset as a share of a diameter, strength, softness as a share of a diameter; or None
    shutter: share of a frame's time that the shutter is open; 0 = no motion blur
    """

    size: tuple[int, int]  # width, height
    background: np.ndarray
    screen: np.ndarray | None
    view: np.ndarray
    layers: tuple[Layer, ...]
    sway: np.ndarray | None
    shadow: tuple[float, float, float, float] | None
    shutter: float
    camera: Camera

    @property
    def object_count(self) -> int:
        return max((layer.label for layer in self.layers), default=0)

    def tracking(self, kept: list[int]) -> Scene:
        """The same scene with only these labels tracked, renumbered 1..n in their order."""
        renumbered = {label: index + 1 for index, label in enumerate(kept)}
        return replace(self, layers=tuple(replace(x, label=renumbered.get(x.label, 0)) for x in self.layers))


def _chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


class _Cast:
    """Draws the objects of one clip; holds what they share."""

    def __init__(self, rng: np.random.Generator, config: ClipConfig, ground: Colour, props: Props | None) -> None:
        self.rng, self.config, self.ground, self.props = rng, config, ground, props
        self.size = (config.width, config.height)
        self.short = min(self.size)
        self.step = float(np.exp(rng.uniform(*np.log(config.vigour))))
        self.shake = config.shake * self.short if _chance(rng, 0.35) else 0.0
        self.camera, jitter = camera_path(rng, config.frames, self.step, self.size, self.shake)
        self.jitter = jitter
        self.time = np.arange(config.frames) * self.step
        self.colours = [ground]

    def colour(self) -> Colour:
        """A base colour: that of something already in the scene, or a new one."""
        if _chance(self.rng, self.config.camouflage_probability):
            return nearby_colour(self.rng, self.colours[self.rng.integers(len(self.colours))], 10)
        self.colours.append(random_colour(self.rng))
        return self.colours[-1]

    def diameter(self, low: float, high: float) -> float:
        """Log-uniform, in pixels; the ends in short sides."""
        return self.short * float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def sprite(self, diameter: float, articulated: float) -> tuple[Figure, np.ndarray]:
        """An object and its turning [T] in radians."""
        rng = self.rng
        limbs = int(rng.integers(1, 6)) if _chance(rng, articulated) else 0
        turns = _chance(rng, self.config.turning_probability)
        turn = np.zeros(len(self.time))
        if turns and _chance(rng, 0.5):
            turn = rng.choice([-1, 1]) * np.exp(rng.uniform(np.log(0.03), np.log(0.5))) * self.time
        elif turns:
            turn = rng.uniform(0.3, 1.5) * np.sin(rng.uniform(0.1, 0.5) * self.time + rng.uniform(0, 6))
            turn = turn - turn[0]
        deformation = self.config.deformation * rng.random() ** 1.5
        if self.props is not None:
            return self.props.figure(rng, diameter, deformation), turn
        sprite = make_sprite(rng, diameter, self.colour(), limbs=limbs, turns=turns, deformation=deformation)
        return sprite, turn

    def place(self, others: list[Layer], diameter: float) -> np.ndarray:
        """A start (x, y) that overlaps the others little."""
        rng, best, start = self.rng, np.inf, np.zeros(2)
        for _ in range(6):
            candidate = rng.uniform(0.12, 0.88, 2) * self.size
            gaps = [
                (diameter + other.diameter) / 2 - np.hypot(*(other.trajectory.centre[0] - candidate))
                for other in others
            ]
            overlap = max(gaps, default=0.0)
            if overlap < best:
                best, start = overlap, candidate
            if overlap <= 0:
                break
        return start

    def journey(self, start: np.ndarray, fixed: float) -> Trajectory:
        """A path from `start`; with probability `fixed` it stands (almost) still on the background."""
        rng = self.rng
        speed = self.config.speed * self.short * float(np.exp(rng.normal(0, 0.7)))
        if _chance(rng, fixed):
            path = roam(rng, start, len(self.time), self.step, 0.15 * speed, self.size)
            return random_trajectory(rng, path, self.step, 0.1, 0.05).seen_by(self.camera)
        path = roam(rng, start, len(self.time), self.step, speed, self.size)
        return random_trajectory(rng, path, self.step).moved(self.jitter)

    def companion(self, leader: Layer, diameter: float) -> Trajectory:
        """A trajectory that touches the leader and goes along with it."""
        rng, heading = self.rng, self.rng.uniform(0, 2 * np.pi)
        distance = rng.uniform(0.55, 1.0) * (leader.diameter + diameter) / 2
        slow = roam(rng, np.zeros(2), len(self.time), self.step, 0.2 * self.config.speed * self.short, (0, 0))
        offset = distance * np.array([np.cos(heading), np.sin(heading)]) + slow
        path = leader.trajectory.centre + offset * leader.trajectory.scale
        own = random_trajectory(rng, path, self.step, 0.15, 0.0)
        return Trajectory(path, own.angle, leader.trajectory.scale)

    def layer(self, others: list[Layer], label: int) -> Layer:
        """A tracked object, or a distractor when the label is 0."""
        rng, config = self.rng, self.config
        diameter = self.diameter(*config.object_size)
        sprite, turn = self.sprite(diameter, config.articulated_probability)
        clock = self.time
        tracked = [other for other in others if other.label]
        if label == 0 and tracked and _chance(rng, 1 / 3):
            model = tracked[rng.integers(len(tracked))]
            sprite, diameter, clock = model.sprite, model.diameter, self.time + rng.uniform(0, 10)
            turn = model.turn + rng.choice([0.0, rng.uniform(-1, 1)])
        if tracked and _chance(rng, config.companion_probability):
            trajectory = self.companion(tracked[rng.integers(len(tracked))], diameter)
        else:
            trajectory = self.journey(self.place(others, diameter), 0.15 if label else 0.5)
        return Layer(sprite, trajectory, label, turn, clock, diameter)

    def hide(self, layer: Layer) -> tuple[Layer, Layer | None]:
        """Make an object leave the image or pass behind a new occluder, which comes second."""
        rng = self.rng
        away = absence(rng, len(self.time))
        path, scale = layer.trajectory.centre, layer.trajectory.scale.max()
        reach = scale * layer.sprite.extent + np.abs(layer.sprite.modes).sum(axis=0).max() * scale
        if reach > 0.3 * self.short or _chance(rng, 0.5):
            path = leave(path, away, reach, self.size)
            return replace(layer, trajectory=replace(layer.trajectory, centre=path)), None
        diameter = 2 * reach * rng.uniform(1.5, 2.0)
        cover = make_sprite(rng, diameter, self.colour(), limbs=0, turns=False, deformation=0.01, compact=True)
        distance = max(1.1 * (reach + cover.extent), 0.7 * self.short)
        path = pass_before(rng, path, away, distance)
        still = Trajectory(path, np.zeros(len(path)), np.ones((len(path), 2)))
        return layer, Layer(cover, still, 0, np.zeros(len(path)), self.time, diameter)

    def occluder(self) -> Layer:
        diameter = self.diameter(0.12, 0.5)
        sprite, turn = self.sprite(diameter, 0.2)
        start = self.rng.uniform(-0.1, 1.1, 2) * self.size
        return Layer(sprite, self.journey(start, 0.4), 0, turn, self.time, diameter)


def make_scene(rng: np.random.Generator, config: ClipConfig, props: Props | None = None) -> Scene:
    """Draw a scene; its layers' labels are 1..n, some of which may be hidden. Without props all of it is painted."""
    ground = random_colour(rng)
    cast = _Cast(rng, config, ground, props)
    canvas = (int(_ROOM * config.height), int(_ROOM * config.width))
    if props is None:
        background = make_background(rng, *canvas, ground, config.background_shapes)
    else:
        background = props.background(rng, *canvas)
    if _chance(rng, config.blurred_background_probability):
        background = cv2.GaussianBlur(background, (0, 0), float(rng.uniform(0.8, 4.0)) * cast.short / 192)
    layers: list[Layer] = []
    for label in range(1, int(rng.integers(config.min_objects, config.max_objects + 1)) + 1):
        layers.append(cast.layer(layers, label))
    for _ in range(int(rng.integers(0, config.max_distractors + 1))):
        layers.append(cast.layer(layers, 0))
    front = []
    if config.frames > 1:
        for index, layer in enumerate(layers):
            if layer.label and _chance(rng, config.absence_probability):
                layers[index], cover = cast.hide(layer)
                front += [cover] if cover else []
    if _chance(rng, config.occluder_probability):
        front = [cast.occluder() for _ in range(int(rng.integers(1, 3)))] + front
    layers = [layers[index] for index in rng.permutation(len(layers))] + front
    margin = np.array([(canvas[1] - config.width) / 2, (canvas[0] - config.height) / 2])
    view = cast.camera.copy()
    view[:, :, 2] -= view[:, :, :2] @ margin
    screen = None
    if _chance(rng, config.screen_probability):
        screen = make_screen(rng, *canvas, cast.colour())
    return Scene(
        size=cast.size, background=background, screen=screen, view=view, layers=tuple(layers),
        sway=_sway(rng, cast) if _chance(rng, 0.12) else None,
        shadow=_shadow(rng) if _chance(rng, config.shadow_probability) else None,
        shutter=float(rng.uniform(0.2, 0.9)) if _chance(rng, config.motion_blur_probability) else 0.0,
        camera=random_camera(
            rng, config.frames, cast.step, lighting=config.lighting_probability, defocus=config.defocus_probability,
            noise=config.noise, jpeg=config.jpeg_probability, quality=config.jpeg_quality,
        ),
    )  # fmt: skip


def _sway(rng: np.random.Generator, cast: _Cast) -> np.ndarray:
    """Water, leaves, cloth: a displacement field of the background that oscillates."""
    modes = rng.uniform(-1, 1, (2, 6, 6, 2)) * rng.uniform(0.01, 0.04) * cast.short
    waves = np.sin(rng.uniform(0.3, 1.2, 2) * cast.time[:, None] + rng.uniform(0, 6, 2))
    return np.einsum("tk,kyxc->tyxc", waves, modes).astype(np.float32)


def _shadow(rng: np.random.Generator) -> tuple[float, float, float, float]:
    x, y = rng.uniform(-0.35, 0.35), rng.uniform(0.02, 0.35)
    return float(x), float(y), float(rng.uniform(0.2, 0.65)), float(rng.uniform(0.05, 0.3))
