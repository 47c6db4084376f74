"""Presets: frozen settings with a name, and how a single setting is changed."""

from __future__ import annotations

import ast
import inspect
import math
import types
import typing
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, Literal

from .types import InputError
from .words import did_you_mean


def _check(where: str, config: object, name: str, low: float, high: float, what: str) -> None:
    """InputError: the number is not within these bounds, both included; None, where a setting may be it, is."""
    value = getattr(config, name)
    if value is not None and not low <= value <= high:
        raise InputError(f"{where}.{name}={value}: {what}")


@dataclass(frozen=True)
class Stage:
    """One step of the coarse-to-fine pyramid."""

    stride: int  # pixels per cell of the encoder map this stage works on
    layers: int  # propagation layers; 0: the stage only refines
    width: int  # channels of each branch
    memory_stride: int = 1  # long-term tokens are kept on every n-th row and column of the map
    identity_stride: int | None = None  # of the identity convolution; None: `stride`; if coarser, enlarged by nearest
    residual_blocks: int = 1  # in the transition into this stage
    drop_path: float = 0.1  # training only: probability of skipping self-propagation (or -attention, feed-forward)


@dataclass(frozen=True)
class ModelConfig:
    encoder: str  # a name in models.encoder.ENCODERS
    stages: tuple[Stage, ...]
    propagation: Literal["gated", "transformer"] = "gated"  # layers of DeAOT (two branches) or of AOT (one)
    decoder: Literal["fpn", "head"] = "head"  # fpn: DeAOT's; head: two convolutions on the last stage
    objects: int = 10  # identities of one group, background not counted
    window: int = 7  # cells; short-term attention reaches this far in each direction
    # Self-propagation of all stages but the first reads means of n x n cells; any weights fit. 1: every cell
    self_stride: int = 1
    align_corners: bool = True  # True: network sizes are 16k+1; False: 16k
    dropout: float = 0.1  # training only: channels dropped after depth-wise convolutions (AOT: of what memory says)
    frozen_batch_norm: bool = True  # encoder statistics come from pre-training and never change

    def __post_init__(self) -> None:
        _check("model", self, "self_stride", 1, 1024, "a number of cells from 1 to 1024")


@dataclass(frozen=True)
class MemoryConfig:
    long_term_gap: int | None = 5  # frames between long-term writes; None: only reference frames are kept
    long_term_max: int | None = 8  # frames held in long-term memory (or per object), references counted; None: no bound
    other_stride: int = 1  # of frames that are no references only every n-th row and column of tokens is held
    # Only frames are written that the tracker is sure of: on which each object of a group has at least this score, a
    # box of at most that many times its usual area and no less than that part of it (None: whatever box it has), and
    # fills its box at least so much as it did where it was given, times this: leaks stretch boxes more than masks
    sure_score: float = 0.0
    sure_change: float | None = None
    sure_fill: float = 0.0
    short_term_lag: int = 1  # the short-term frame is this many frames back
    policy: Literal["oldest", "second_oldest", "per_object"] = "oldest"  # who leaves a full memory (memory.STORES)

    def __post_init__(self) -> None:
        for name in ("long_term_gap", "long_term_max", "short_term_lag"):
            _check("memory", self, name, 1, math.inf, "a number of frames, at least 1")
        _check("memory", self, "other_stride", 1, math.inf, "a number of rows and columns, at least 1")
        _check("memory", self, "sure_score", 0, 1, "a score from 0 to 1")
        _check("memory", self, "sure_change", 1, math.inf, "times the usual area, at least 1, or None")
        _check("memory", self, "sure_fill", 0, 1, "a share from 0 to 1")


@dataclass(frozen=True)
class WindowConfig:
    """The square in which the network sees small objects enlarged. An object's size is the root of its box's area."""

    edge: int = 337  # pixels; the network sees a window at this size
    reach: float = 5.0  # sizes of the object; the window's side
    room: float = 1.6  # longer sides of the object's box; the least side of the window
    zoom: float = 8.0  # network pixels per pixel of the image, at most
    adapt: float = 0.1  # of the way to its box's new size that an object's size goes each frame; covers come and go
    # Of an object's former speed in what counts as its speed now; the window goes ahead by that. 1: it never does
    inertia: float = 0.5
    change: float = 4.0  # an object whose box has more than so many times its area, or less than that part, is missing
    resize: float = 1.8  # a window keeps its size until the object has become so much larger or smaller
    below: float = 40.0  # pixels of the network on the full frame; smaller objects get a window (auto)
    hysteresis: float = 1.6  # factor above or below that before the full frame and a window change places (auto)
    score: float = 0.6  # an object with a lower score counts as missing
    trust: float = 0.9  # and one whose score of late is less than this part of its usual one: it may be something else
    patience: int = 5  # frames that objects are missing before their window grows, then before others are used (auto)
    growth: float = 2.0  # of the window's side in a search (auto)
    tiles: int = 24  # windows, at most, that a frame is looked through in for objects that stay missing; 0: none (auto)
    share: float = 1.6  # objects share a window if each is seen in it at least 1/share as large as in one of its own
    parting: float = 1.25  # times `share` before objects that share a window part

    def __post_init__(self) -> None:
        for name in ("adapt", "inertia", "score", "trust"):
            _check("tracker.window", self, name, 0, 1, "a number from 0 to 1")
        for name in ("room", "change", "resize", "hysteresis", "growth", "share", "parting", "patience"):
            _check("tracker.window", self, name, 1, math.inf, "a number from 1")
        for name in ("below", "tiles"):
            _check("tracker.window", self, name, 0, math.inf, "a number from 0")
        _check("tracker.window", self, "edge", 16, math.inf, "a number of pixels from 16")
        for name in ("reach", "zoom"):
            _check("tracker.window", self, name, 1e-3, math.inf, "a number above 0")


@dataclass(frozen=True)
class TrackerConfig:
    long_edge: int = 1040  # pixels; larger frames are reduced to this
    short_edge: int = 0  # pixels; smaller frames are enlarged to this as far as long_edge allows; 0: never
    view: Literal["full", "follow", "auto"] = "full"  # where the network looks (views.POLICIES)
    window: WindowConfig = WindowConfig()
    objects_per_memory: int = 10  # 1: every object has a memory of its own
    # In which the network computes (device.pick_precision); auto: half precision where the device multiplies in it
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    box_share: float = 0.0  # parts of a mask with a smaller share of its pixels do not count for the object's box
    # Times the usual area, and width, and height of an object that the box of a mask in several parts may have; parts
    # too far off for that do not count; None: any
    box_growth: float | None = None
    # What a mask lacks of an object's usual size its box gets from pixels of at least this probability; 0.5: nothing
    box_probability: float = 0.5
    # Parts that are too far off for box_growth are not of the object's mask either, and not remembered
    drop_strays: bool = False
    box_margins: bool = False  # the room that an object's first mask left in the box it was given by stays around it
    refine_every: int | None = (
        None  # frames; how often the initializer is asked about the current box; None: never again
    )
    refine_agreement: float = 0.5  # overlap (IoU) with the propagated mask from which on its answer replaces that mask

    def __post_init__(self) -> None:
        _check("tracker", self, "refine_every", 1, math.inf, "a number of frames, at least 1, or None")
        _check("tracker", self, "box_share", 0, 1, "a share from 0 to 1")
        _check("tracker", self, "box_growth", 1, math.inf, "times the usual area, at least 1, or None")
        _check("tracker", self, "refine_agreement", 0, 1, "an overlap from 0 to 1")
        _check("tracker", self, "objects_per_memory", 1, math.inf, "a number of objects, at least 1")
        if not 0 < self.box_probability <= 0.5:
            raise InputError(f"tracker.box_probability={self.box_probability}: a probability above 0, up to 0.5")


@dataclass(frozen=True)
class Preset:
    """A model with its settings of memory and tracking, by name; `override` changes settings.

    >>> preset = PRESETS["msdeaot-lite"]
    >>> preset.name, preset.memory.long_term_max is None
    ('msdeaot-lite', False)
    """

    name: str
    model: ModelConfig
    memory: MemoryConfig = MemoryConfig()
    tracker: TrackerConfig = TrackerConfig()
    weights: str | None = None  # file in the package's `weights` folder; None: the user brings the weights


def _deaot(name: str, encoder: str, layers: int, gap: int | None, align_corners: bool = True) -> Preset:
    model = ModelConfig(encoder, (Stage(16, layers, 256),), decoder="fpn", align_corners=align_corners)
    return Preset(name, model, MemoryConfig(long_term_gap=gap))


def _aot(name: str, encoder: str, layers: int, gap: int | None, align_corners: bool = True) -> Preset:
    model = ModelConfig(
        encoder,
        (Stage(16, layers, 256),),
        propagation="transformer",
        decoder="fpn",
        align_corners=align_corners,
        dropout=0.0,
    )
    return Preset(name, model, MemoryConfig(long_term_gap=gap))


# The report leaves the 4x features out, uses the 16x features twice, and has 2 + 1 layers (section 2.2).
_REPORT_STAGES = (Stage(16, 2, 256), Stage(16, 0, 256), Stage(8, 1, 128, memory_stride=2))

_OWN = TrackerConfig(long_edge=480, view="auto", box_share=0.2, box_growth=1.5, box_probability=0.1, box_margins=True)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        _aot("aot-t", "mobilenetv2", layers=1, gap=None),
        _aot("aot-s", "mobilenetv2", layers=2, gap=None),
        _aot("aot-b", "mobilenetv2", layers=3, gap=None),
        _aot("aot-l", "mobilenetv2", layers=3, gap=5),
        _aot("r50-aot-l", "resnet50", layers=3, gap=5),
        _aot("swinb-aot-l", "swin_base", layers=3, gap=5, align_corners=False),
        _deaot("deaot-t", "mobilenetv2", layers=1, gap=None),
        _deaot("deaot-s", "mobilenetv2", layers=2, gap=None),
        _deaot("deaot-b", "mobilenetv2", layers=3, gap=None),
        _deaot("deaot-l", "mobilenetv2", layers=3, gap=5),
        _deaot("r50-deaot-l", "resnet50", layers=3, gap=5),
        _deaot("swinb-deaot-l", "swin_base", layers=3, gap=5, align_corners=False),
        # DMAOT: SwinB-DeAOT-L, trained on more data, with a memory of its own for each object (VOTS 2023).
        replace(
            _deaot("dmaot-swinb", "swin_base", layers=3, gap=30, align_corners=False),
            memory=MemoryConfig(long_term_gap=30, long_term_max=10, short_term_lag=2, policy="per_object"),
        ),
        # HQTrack's multi-scale DeAOT (VMOS, 2023).
        Preset(
            "vmos",
            ModelConfig(
                "intern_image_t",
                (
                    Stage(16, 3, 256),
                    Stage(8, 1, 128, identity_stride=16, residual_blocks=2, drop_path=0.0),
                    Stage(4, 0, 64, residual_blocks=2),
                ),
            ),
            MemoryConfig(long_term_gap=50, long_term_max=6, short_term_lag=4, policy="second_oldest"),
            TrackerConfig(short_edge=480),
        ),
        Preset("msdeaot-r50", ModelConfig("resnet50", _REPORT_STAGES)),
        Preset("msdeaot-swinb", ModelConfig("swin_base", _REPORT_STAGES, align_corners=False)),
        Preset(
            "msdeaot-small",
            ModelConfig(
                "resnet_small",
                (
                    Stage(16, 2, 96, drop_path=0.0),
                    Stage(8, 1, 48, memory_stride=2, drop_path=0.0),
                    Stage(4, 0, 32),
                ),
                dropout=0.0,
                frozen_batch_norm=False,
            ),
            # Reference frames alone: what is remembered of others holds this model's leaks (docs/training.md).
            MemoryConfig(long_term_gap=None),
            _OWN,
            weights="msdeaot-small.safetensors",
        ),
        Preset(
            "msdeaot-lite",
            ModelConfig(
                "efficientnet_lite0",
                (
                    Stage(16, 2, 128, drop_path=0.0),
                    Stage(8, 1, 64, memory_stride=2, drop_path=0.0),
                    Stage(4, 0, 32),
                ),
                self_stride=2,
                dropout=0.0,
            ),
            # Of other frames only those it is sure of: where leaks are remembered, boxes are lost (docs/training.md).
            MemoryConfig(long_term_max=4, other_stride=2, sure_score=0.9, sure_change=1.6, sure_fill=0.85),
            replace(_OWN, long_edge=448, drop_strays=True),
            weights="msdeaot-lite.safetensors",
        ),
    )
}
"""Every preset by its name; README, Models and weights, says what each is."""

DEFAULT_PRESET = "msdeaot-lite"


def find_preset(name: str) -> Preset:
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}{did_you_mean(name, PRESETS)}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]


def override(preset: Preset, *settings: str) -> Preset:
    """A copy of `preset` with settings like "memory.long_term_max=8" changed.

    The value is a Python literal or a bare word; of a boolean also yes, no, on or off. An unknown key or a value of the
    wrong type is an InputError.

    >>> override(PRESETS["msdeaot-lite"], "memory.long_term_max=4").memory.long_term_max
    4
    """
    for setting in settings:
        path, separator, text = setting.partition("=")
        if not separator:
            raise InputError(f"setting {setting!r} is not of the form key=value")
        preset = _replace_at(preset, path.strip().split("."), text.strip(), setting)
    return preset


def _replace_at(node: Any, path: list[str], text: str, setting: str) -> Any:
    name, *rest = path
    hints = typing.get_type_hints(type(node))
    if name not in hints or name == "name":
        known = [f.name for f in fields(node) if f.name != "name"]
        hint = did_you_mean(name, known)
        raise InputError(
            f"setting {setting!r}: {type(node).__name__} has no {name!r}{hint}; it has: {', '.join(known)}"
        )
    if rest:
        if not is_dataclass(hints[name]):
            raise InputError(f"setting {setting!r}: {name!r} is a single value")
        return replace(node, **{name: _replace_at(getattr(node, name), rest, text, setting)})
    return replace(node, **{name: _parse(text, hints[name], setting)})


_SWITCHES = {"yes": True, "no": False, "on": True, "off": False, "true": True, "false": False}


def _parse(text: str, hint: Any, setting: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if _fits(True, hint) and not _fits(value, hint):
        value = _SWITCHES.get(text.lower(), value)
    if not _fits(value, hint):
        raise InputError(f"setting {setting!r}: expected {inspect.formatannotation(hint)}, got {value!r}")
    return value


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is Literal:
        return value in typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if origin is tuple and isinstance(value, tuple):
        options = typing.get_args(hint)
        options = options[:1] * len(value) if options[-1] is ... else options
        return len(value) == len(options) and all(map(_fits, value, options))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(hint, type) and type(value) is hint


def config_as_dict(preset: Preset) -> dict[str, Any]:
    """Plain data (for result files and checkpoint metadata)."""
    return asdict(preset)
