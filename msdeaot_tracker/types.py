"""What the parts hand to each other, and the exceptions they raise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from supervision import Detections
    from torch import Tensor

MapSize = tuple[int, int]  # rows, columns
Region = tuple[slice, slice]  # rows and columns of an image
MaskSource = Literal["given", "prompted", "tracked"]


class TrackerError(Exception):
    """Base of every error this package raises on purpose.

    >>> issubclass(InputError, TrackerError), issubclass(CheckpointError, TrackerError)
    (True, True)
    """


class InputError(TrackerError, ValueError):
    """A value from outside (image, box, mask, setting) that cannot be used; the message names it.

    >>> Tracker(load_model("msdeaot-small")).initialize(image, {1: (5, 5, 0, 9)})
    Traceback (most recent call last):
        ...
    msdeaot_tracker.types.InputError: box (5, 5, 0, 9) has no area: width and height must be positive
    """


class InputErrors(InputError):
    """Several faults of one input, a line each.

    >>> try:
    ...     track_video(video, {0: {1: box}, 2: {1: Points([(-1, 5)])}, 99: {0: box}})
    ... except InputErrors as error:
    ...     print(len(error.faults), "faults, the first:", error.faults[0])
    2 faults, the first: frame 2: object 1: foreground point (-1, 5) lies outside the image of 96x64 pixels
    """

    def __init__(self, faults: Sequence[str]):
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class CheckpointError(TrackerError):
    """A weights file that is missing, damaged, hostile or made for another model.

    >>> load_model(weights="no-such-file.safetensors")
    Traceback (most recent call last):
        ...
    msdeaot_tracker.types.CheckpointError: ...
    """


class Box(NamedTuple):
    """Upright rectangle in pixels: (x, y) is its top-left corner, pixel column j spans [j, j + 1).

    >>> Box(60, 40, 20, 16).w
    20
    """

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True)
class Points:
    """Clicks that say which object is meant: (x, y) in pixels of the image, pixel column j spans [j, j + 1).

    foreground: clicks on the object. background: clicks on what is not the object.
    box:  (x, y, w, h) around the object, if that is known as well.
    mask: bool [H, W], what the clicks correct. Without one, clicks on an object that is tracked correct what the
          tracker finds of it on the frame, unless they all lie outside that mask's rectangle.

    >>> Points(foreground=[(40, 32)], background=[(60, 10)]).foreground
    [(40, 32)]
    """

    foreground: Sequence[tuple[float, float]] = ()
    background: Sequence[tuple[float, float]] = ()
    box: Sequence[float] | None = None
    mask: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class MaskEstimate:
    """What an initializer makes of a box, or of points, on an image [H, W], in the image's pixels.

    mask:         bool [H, W], never empty.
    source:       who made the mask ("grabcut", "sam", "ar"), and of several how it came about ("ar+sam: mean").
    probability:  float32 [H, W] in [0, 1] that a pixel is the object's; None: only the mask is known.
    box:          a rectangle estimated for itself (Alpha-Refine's corners), which may differ from the mask's.
    details:      the numbers and choices behind the mask, for tables; plain values, by name.
    alternatives: further masks of the same object, bool [H, W], to be remembered beside the first.
    confidence:   the overlap (IoU) with the true mask that its maker expects, in [0, 1]; None: it does not say.

    >>> estimate = make_initializer("grabcut")(image, Box(*box))
    >>> estimate.source, estimate.mask.shape, estimate.mask.dtype
    ('grabcut', (64, 96), dtype('bool'))
    """

    mask: np.ndarray
    source: str
    probability: np.ndarray | None = None
    box: Box | None = None
    details: Mapping[str, float | str] = field(default_factory=dict)
    alternatives: tuple[np.ndarray, ...] = ()
    confidence: float | None = None


@dataclass(frozen=True)
class FrameResult:
    """What the tracker says about one frame, in the pixels of the image it was given.

    frame_index: from 0 at the tracker's first frame; of `track_video` the frame's number in the source.
    labels: int32 [H, W], the object id of each pixel, 0 = background.
    boxes:  smallest upright rectangle of each object's mask (of its main parts, if the preset has a
            `tracker.box_share` or `tracker.box_growth`; with what the mask lost of the object, if it has a
            `tracker.box_probability` below 0.5; with the margins of the box that the object was given by, if it has
            `tracker.box_margins`), or a box refiner's answer; None when it is absent.
    scores: mean foreground probability over the object's pixels, in [0, 1]; 0.0 when it is absent. Of an object that
            was given on this frame: its mask's `confidence`, 1.0 where that is not known.
    estimates: of objects that were given, or refined, on this frame: where their masks come from.
    views: the rectangle in which the network looked for each object (or in which it will, if it was given on this
            frame); it may reach beyond the image.
    time:   seconds from the beginning of the source, image: uint8 [H, W, 3] RGB; of `track_video` only.

    >>> result = next(iter(track_video(video, {7: box})))
    >>> result.labels.shape, result.boxes[7] is None, result.sources[7]
    ((64, 96), False, 'prompted')
    >>> int(result.masks[7].sum()) == int((result.labels == 7).sum())
    True
    """

    frame_index: int
    labels: np.ndarray
    boxes: Mapping[int, Box | None]
    scores: Mapping[int, float]
    estimates: Mapping[int, MaskEstimate] = field(default_factory=dict)
    views: Mapping[int, Box] = field(default_factory=dict)
    time: float | None = None
    image: np.ndarray | None = None

    @property
    def sources(self) -> dict[int, MaskSource]:
        """Where the mask of each object on this frame is from, by id.

        given: the caller's own mask. prompted: an initializer made it, from a box or points. tracked: propagated.
        """
        made = {i: "given" if e.source == "given" else "prompted" for i, e in self.estimates.items()}
        return {i: made.get(i, "tracked") for i in self.boxes}

    def to_supervision(self) -> Detections:
        """The visible objects as `supervision.Detections`: xyxy, mask, confidence and, as tracker_id, the object's id.

        class_id is 0: objects have no classes here. ImportError: needs the extra `supervision`.
        """
        try:
            from supervision import Detections
        except ImportError as error:
            raise ImportError(f'{error}; for Detections: pip install "msdeaot-tracker[supervision]"') from error
        boxes = {i: box for i, box in self.boxes.items() if box is not None}
        return Detections(
            xyxy=np.array([(x, y, x + w, y + h) for x, y, w, h in boxes.values()], np.float32).reshape(-1, 4),
            mask=np.array([self.masks[i] for i in boxes], bool).reshape(-1, *self.labels.shape),
            confidence=np.array([self.scores[i] for i in boxes], np.float32),
            class_id=np.zeros(len(boxes), int),
            tracker_id=np.array(list(boxes), int),
        )

    @cached_property
    def masks(self) -> dict[int, np.ndarray]:
        """bool [H, W] by object id."""
        return {object_id: self.labels == object_id for object_id in self.boxes}


@dataclass(frozen=True)
class Features:
    """An encoded frame: `maps[stride]` is [B, C, h, w]; `deep` is the stride-16 input of the first stage."""

    maps: Mapping[int, Tensor]
    deep: Tensor


@dataclass(frozen=True)
class LayerTokens:
    """What one propagation layer remembers of one frame (or of several, joined along N)."""

    key: Tensor  # [B, N, Ck]
    value: Tensor  # [B, N, Cv]  visual branch; of a layer with a single branch, the identity is in it
    id_value: Tensor | None = None  # [B, N, Cv]  identity branch
    size: MapSize = field(kw_only=True)  # of one frame, row-major: N = frames * rows * columns until thinned

    def thin(self, stride: int) -> LayerTokens:
        """Keep every `stride`-th row and column of a single frame's map."""
        if stride == 1:
            return self
        rows, columns = self.size
        every = [t.unflatten(1, self.size)[:, ::stride, ::stride].flatten(1, 2) for t in self.tensors]
        return LayerTokens(*every, size=(-(-rows // stride), -(-columns // stride)))

    def select(self, keep: Tensor) -> LayerTokens:
        """Those tokens alone: bool [N]."""
        return LayerTokens(*(t[:, keep] for t in self.tensors), size=self.size)

    def detach(self) -> LayerTokens:
        return LayerTokens(*(t.detach() for t in self.tensors), size=self.size)

    def float(self) -> LayerTokens:
        return LayerTokens(*(t.float() for t in self.tensors), size=self.size)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Those there are, in the order of the fields."""
        return (self.key, self.value) if self.id_value is None else (self.key, self.value, self.id_value)


@dataclass(frozen=True)
class LayerState:
    """What one propagation layer keeps of the current frame until the frame's mask is known."""

    key: Tensor  # [B, N, Ck]
    value: Tensor | None  # [B, N, Cv]; None: it cannot be computed without the mask
    id_context: Tensor | None  # [B, N, C] what the identity joins; None in the very first gated layer
    size: MapSize


@dataclass(frozen=True)
class Propagation:
    """A propagated frame: one state per layer, coarse to fine, and the map that is decoded."""

    layers: tuple[LayerState, ...]
    output: Tensor  # [B, C', h, w] of the last stage, normalised; of gated layers visual | identity


@dataclass(frozen=True)
class MemoryView:
    """What the layers read on the next frame: one entry per layer, coarse to fine."""

    long_term: tuple[LayerTokens, ...]
    short_term: tuple[LayerTokens, ...]
    long_term_frames: tuple[int, ...] = field(default=())
    short_term_frame: int = 0

    def float(self) -> MemoryView:
        """In float32, whatever the precision in which the frames were computed."""
        long_term, short_term = (tuple(t.float() for t in layers) for layers in (self.long_term, self.short_term))
        return replace(self, long_term=long_term, short_term=short_term)
