"""What `on_device.py` measures, case by case: what a case is, and the function that measures it -> numbers by name."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import speed
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

from msdeaot_tracker.config import override
from msdeaot_tracker.device import pick_precision
from msdeaot_tracker.geometry import network_size, one_hot
from msdeaot_tracker.models import MSDeAOT, attention
from msdeaot_tracker.types import MapSize, MemoryView

Case = tuple[dict[str, Any], Callable[[], dict[str, Any]]]

SHAPES = ((2135, 2135, 32, 128), (9490, 9490, 64, 256), (900, 900, 128, 512), (900, 8100, 128, 512))
SHAPES += ((2470, 2470, 128, 512), (2470, 19760, 128, 512), (2470, 49400, 128, 512))
COMPILED = ("encode", "propagate", "decode")
BATCHES = (1, 2, 4, 8)
_REPEATS = 20
_WARM_UP = 3  # frames not counted


@contextmanager
def reading(way: str) -> Iterator[None]:
    """All attention to all tokens is computed in this way; auto: as the package chooses."""
    choose = attention.choose_way
    if way != "auto":
        attention.choose_way = lambda query: way
    try:
        yield
    finally:
        attention.choose_way = choose


def attention_cases(device: torch.device, precisions: Sequence[str]) -> Iterator[Case]:
    """A read of queries x keys, of the widths that presets have, in each way."""
    for precision, (queries, keys, width, value_width) in itertools.product(precisions, SHAPES):
        case = {"precision": precision, "queries": queries, "keys": keys, "key_width": width}
        kind = getattr(torch, precision)
        yield (
            {**case, "value_width": 2 * value_width},
            partial(_time_ways, device, kind, queries, keys, width, value_width),
        )


@torch.inference_mode()
def _time_ways(
    device: torch.device, kind: torch.dtype, queries: int, keys: int, width: int, value_width: int
) -> dict[str, Any]:
    """Milliseconds and peak MiB of each way, torch's kernel for the fused ones, and the way that the package takes."""
    query, key = (torch.randn(1, n, width, device=device, dtype=kind) for n in (queries, keys))
    values = tuple(torch.randn(1, keys, value_width, device=device, dtype=kind) for _ in range(2))
    found: dict[str, Any] = {"chosen": attention.choose_way(query)}
    for name, way in attention.WAYS.items():
        try:
            found |= {f"{name}_ms": 1000 * _median(lambda way=way: way(query, key, values), query, _REPEATS)}
            found |= {f"{name}_mib": _peak(lambda way=way: way(query, key, values), device)}
        except RuntimeError as error:
            found[name] = f"failed: {error}"
    heads = {"fused": torch.cat(values, dim=-1)[:, None], "split": values[0][:, None, :, :width]}
    for name, value in heads.items():
        kernel = SDPBackend(torch._fused_sdp_choice(query[:, None], key[:, None], value))
        found[f"{name}_kernel"] = kernel.name.removesuffix("_ATTENTION").lower()
    return found


def waits_case(device: torch.device, preset: str) -> Case:
    """How often torch makes the CPU wait in one tracked frame, beside what the tracker itself waits for."""

    def measure() -> dict[str, Any]:
        image = speed.scene((480, 854), speed.boxes((480, 854), 1))
        tracker = speed.filled(speed.prepared(preset, [], device), image, 1, 2)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                tracker.track(image)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        places = sorted({f"{each.filename}:{each.lineno}" for each in seen if "synchroniz" in str(each.message)})
        return {"implicit_waits": len(places), "where": places}

    return {"preset": preset}, measure


def preset_cases(
    device: torch.device,
    presets: Sequence[str],
    scenes: Sequence[tuple[MapSize, int, int]],
    variants: Sequence[tuple[str, str]],
    frames: int,
) -> Iterator[Case]:
    """Tracked frames per second. scenes: size, objects and frames held; variants: precision and way of attention."""
    models = {name: speed.prepared(name, [], torch.device("cpu")) for name in presets}
    for (size, objects, memory), name, (precision, way) in itertools.product(scenes, presets, variants):
        case = {"preset": name, "size": f"{size[1]}x{size[0]}", "objects": objects, "memory": memory}
        case |= {"precision": precision, "attention": way}
        yield case, partial(_track, models[name], device, size, objects, memory, precision, way, frames)


def _track(
    model: MSDeAOT,
    device: torch.device,
    size: MapSize,
    objects: int,
    memory: int,
    precision: str,
    way: str,
    frames: int,
) -> dict[str, Any]:
    model.to(device).preset = override(model.preset, f"tracker.precision={precision}")
    image = speed.scene(size, speed.boxes(size, objects))
    with reading(way):
        tracker = speed.filled(model, image, objects, memory)
        peak = _peak(lambda: tracker.track(image), device)
        took = _median(lambda: tracker.track(image), model.mean, frames)
    return {"frames_per_second": 1 / took, "peak_mib": peak}


def compiled_cases(device: torch.device, presets: Sequence[str], size: MapSize, frames: int) -> Iterator[Case]:
    """Tracked frames per second with the model's verbs as they are, and compiled; one object, one frame held."""
    for name in presets:
        yield {"preset": name, "size": f"{size[1]}x{size[0]}"}, partial(_time_compiled, name, device, size, frames)


def _time_compiled(name: str, device: torch.device, size: MapSize, frames: int) -> dict[str, Any]:
    model = speed.prepared(name, ["tracker.view=full"], device)
    image = speed.scene(size, speed.boxes(size, 1))

    def measure() -> float:
        tracker = speed.filled(model, image, 1, 1)
        return _median(lambda: tracker.track(image), model.mean, frames)

    eager = measure()
    for verb in COMPILED:
        setattr(model, verb, _compiled(getattr(model, verb)))
    found = measure()
    return {"eager_per_second": 1 / eager, "compiled_per_second": 1 / found, "gain": eager / found}


def _compiled(verb: Callable) -> Callable:
    """With CUDA graphs, where there are any. What a graph gives is copied: its next run writes there again."""
    graph = torch.compile(verb, mode="reduce-overhead")

    def call(*arguments: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return _copied(graph(*(_unnumbered(each) for each in arguments)))

    return call


def _unnumbered(value: Any) -> Any:
    """Without the frames' numbers, for each of which there would be a graph of its own."""
    return replace(value, long_term_frames=(), short_term_frame=0) if isinstance(value, MemoryView) else value


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, tuple):
        return tuple(map(_copied, value))
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    if dataclasses.is_dataclass(value):
        parts = {field.name: _copied(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return replace(value, **parts)
    return value


def batch_cases(device: torch.device, presets: Sequence[str], size: MapSize, frames: int) -> Iterator[Case]:
    """One frame of several videos at once through the network: what each of them takes of it."""
    alone: dict[str, float] = {}
    for name in presets:
        model = speed.prepared(name, [], device)
        for batch in BATCHES:
            case = {"preset": name, "size": f"{size[1]}x{size[0]}", "videos": batch}
            yield case, partial(_time_batch, model, batch, size, frames, alone)


@torch.inference_mode()
def _time_batch(model: MSDeAOT, batch: int, size: MapSize, frames: int, alone: dict[str, float]) -> dict[str, Any]:
    settings, device = model.preset.tracker, model.mean.device
    align = model.preset.model.align_corners
    rows, columns = network_size(*size, long_edge=settings.long_edge, short_edge=0, align_corners=align)
    images = torch.rand(batch, 3, rows, columns, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(batch, rows, columns, dtype=torch.int64, device=device)
    labels[:, rows // 4 : rows // 2, columns // 4 : columns // 2] = 1
    precision = pick_precision("auto", device)
    kind = None if precision == "float32" else getattr(torch, precision)
    with torch.autocast(device.type, kind, enabled=kind is not None):
        identity = model.identify(one_hot(labels, 1))
        entry = model.memorize(model.propagate(model.encode(images), identity), identity)
        strides = zip(entry, model.memory_strides, strict=True)
        memory = MemoryView(tuple(tokens.thin(stride) for tokens, stride in strides), entry)

        def step() -> None:
            features = model.encode(images)
            model.decode(model.propagate(features, memory), features)

        each = _median(step, model.mean, frames) / batch
        found = {"seconds_per_video": each, "peak_mib": _peak(step, device)}
    if batch == 1:
        alone[model.preset.name] = each
    one = alone.get(model.preset.name)
    return {**found, "gain": one and one / each}


def _median(step: Callable[[], object], where: Tensor, count: int) -> float:
    """Seconds, each time until the device is done."""
    for _ in range(_WARM_UP):
        step()
    seconds = []
    for _ in range(count):
        began = speed.now(where)
        step()
        seconds.append(speed.now(where) - began)
    return statistics.median(seconds)


def _peak(step: Callable[[], object], device: torch.device) -> float | None:
    """MiB that tensors take at most; None where that is not known."""
    if device.type != "cuda":
        step()
        return None
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return torch.cuda.max_memory_allocated(device) / 2**20
