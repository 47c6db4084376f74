"""The network's verbs as ONNX graphs for frames of one size, with all state in their inputs and outputs.

A folder holds GRAPHS and `msdeaot.json`, which names the memory's settings:

encode      image uint8 [H, W, 3]                                  -> features
reference   features, labels int64 [H, W]                          -> short- and long-term tokens
propagate   features, short- and long-term tokens                  -> logits [K + 1, H, W], state
memorize    state, labels                                          -> short- and long-term tokens

Tokens are [1, N, C], per layer and kind; of long-term tokens N is any number: those of several frames, joined.
Resizing to the network's size and back is inside, and so is thinning of what goes to long-term memory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import Preset
from .geometry import network_size, one_hot
from .models import MSDeAOT
from .models.maps import nearest
from .types import Features, InputError, LayerState, LayerTokens, MapSize, MemoryView, TrackerError

GRAPHS = ("encode", "reference", "propagate", "memorize")
DESCRIPTION = "msdeaot.json"
OPSET = 18
_EXTRA = 'ONNX needs the packages onnx, onnxscript and onnxruntime: pip install "msdeaot-tracker[onnx]"'
_STATE = ("key", "value", "id_context")  # what of a LayerState may wait for the mask


class Graphs(nn.Module):
    """The four steps on lists of tensors, which is what a graph takes and gives."""

    def __init__(self, model: MSDeAOT, size: MapSize):
        """size: rows and columns of the frames. The model is on the CPU, in evaluation mode."""
        super().__init__()
        self.model, self.size = model, size
        config, settings = model.preset.model, model.preset.tracker
        self.objects, self.align = config.objects, config.align_corners
        edges = {"long_edge": settings.long_edge, "short_edge": settings.short_edge}
        self.inner = network_size(*size, **edges, align_corners=self.align)
        with torch.inference_mode():
            features = model.encode(torch.zeros(1, 3, *self.inner))
            identity = self._identity(torch.zeros(size, dtype=torch.int64))
            propagation = model.propagate(features, identity)
            self.sizes = [state.size for state in propagation.layers]
            self.branches = [len(tokens.tensors) for tokens in model.memorize(propagation, identity)]
            self.waiting = [[n for n in _STATE if getattr(s, n) is not None] for s in propagation.layers]
        self.strides = list(features.maps)
        self.deep_at = next((stride for stride, on_map in features.maps.items() if on_map is features.deep), None)

    def encode(self, image: Tensor) -> list[Tensor]:
        scaled = image.permute(2, 0, 1)[None].float() / 255
        if self.inner != self.size:
            scaled = F.interpolate(scaled, self.inner, mode="bicubic", align_corners=False)
        features = self.model.encode(scaled)
        return [*features.maps.values(), *([] if self.deep_at else [features.deep])]

    def reference(self, features: list[Tensor], labels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        identity = self._identity(labels)
        return self._tokens(self.model.memorize(self.model.propagate(self._features(features), identity), identity))

    def propagate(self, features: list[Tensor], short: list[Tensor], long: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        seen = self._features(features)
        propagation = self.model.propagate(seen, MemoryView(self._layers(long), self._layers(short)))
        logits = F.interpolate(
            self.model.decode(propagation, seen), self.size, mode="bilinear", align_corners=self.align
        )
        states = zip(propagation.layers, self.waiting, strict=True)
        return logits[0], [getattr(state, name) for state, names in states for name in names]

    def memorize(self, state: list[Tensor], labels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        remaining = iter(state)
        states = [
            LayerState(**{name: next(remaining) if name in names else None for name in _STATE}, size=size)
            for names, size in zip(self.waiting, self.sizes, strict=True)
        ]
        layers = zip(self.model.layers, states, self._identity(labels), strict=True)
        return self._tokens([layer.memorize(one, embedding) for layer, one, embedding in layers])

    def _features(self, maps: list[Tensor]) -> Features:
        by_stride = dict(zip(self.strides, maps, strict=False))
        return Features(by_stride, by_stride[self.deep_at] if self.deep_at else maps[-1])

    def _identity(self, labels: Tensor) -> tuple[Tensor, ...]:
        small = nearest(labels[None, None].float(), self.inner)[:, 0]
        return self.model.identify(one_hot(small.long(), self.objects))

    def _layers(self, tensors: list[Tensor]) -> tuple[LayerTokens, ...]:
        remaining = iter(tensors)
        return tuple(
            LayerTokens(*(next(remaining) for _ in range(count)), size=size)
            for count, size in zip(self.branches, self.sizes, strict=True)
        )

    def _tokens(self, entry: Sequence[LayerTokens]) -> tuple[list[Tensor], list[Tensor]]:
        """Of one frame, as short- and as long-term memory hold it."""
        thinned = [tokens.thin(stride) for tokens, stride in zip(entry, self.model.memory_strides, strict=True)]
        return [t for tokens in entry for t in tokens.tensors], [t for tokens in thinned for t in tokens.tensors]


class _Step(nn.Module):
    """One of the steps as a module's forward, which is what the exporter takes."""

    def __init__(self, graphs: Graphs, name: str):
        super().__init__()
        self.graphs, self.name = graphs, name

    def forward(self, *inputs: Any) -> Any:
        return getattr(self.graphs, self.name)(*inputs)


class _Signature(NamedTuple):
    """What a step is exported with."""

    arguments: tuple
    inputs: list[str]
    outputs: list[str]
    dynamic: tuple | None = None  # shapes of the arguments, where not all are fixed


def check_exportable(preset: Preset) -> None:
    """InputError: what a model of this preset does is in no graph. ImportError: names the extra."""
    if preset.memory.policy == "per_object":
        raise InputError(
            f"preset {preset.name!r} cannot be exported: the graphs keep whole frames, and its memory is of single "
            "objects (memory.policy=per_object); with memory.policy=oldest it can"
        )
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(_EXTRA) from error


@torch.no_grad()
def export(model: MSDeAOT, size: MapSize, folder: Path) -> Graphs:
    """Write the graphs of a model on the CPU, in evaluation mode, for frames of (rows, columns); what they compute.

    Errors of `check_exportable`; TrackerError: the exporter has no way to write an operation.
    """
    check_exportable(model.preset)
    graphs = Graphs(model, size)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)  # until all graphs are there the folder is not whole
    for name, step in _signatures(graphs).items():
        try:
            program = torch.onnx.export(
                _Step(graphs, name).eval(),
                step.arguments,
                input_names=step.inputs,
                output_names=step.outputs,
                dynamic_shapes=step.dynamic and {"inputs": step.dynamic},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            words = str(error).strip().splitlines()[0]
            raise TrackerError(f"preset {model.preset.name!r} cannot be exported: {name}: {words}") from error
        program.save(folder / f"{name}.onnx")
    memory = asdict(model.preset.memory)
    description = {"preset": model.preset.name, "size": list(size), "objects": graphs.objects, "memory": memory}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return graphs


def _signatures(graphs: Graphs) -> dict[str, _Signature]:
    """By step; of long-term tokens twice as many as of a frame, since equal numbers would be taken for one."""
    image, labels = torch.zeros(*graphs.size, 3, dtype=torch.uint8), torch.zeros(graphs.size, dtype=torch.int64)
    features = graphs.encode(image)
    short, long = graphs.reference(features, labels)
    twice = [torch.cat([tokens] * 2, dim=1) for tokens in long]
    _, state = graphs.propagate(features, short, twice)
    feature_names, state_names = _names("feature", features), _names("state", state)
    tokens = [*_names("short", short), *_names("long", long)]
    dynamic = ([None] * len(features), [None] * len(short), [{1: torch.export.Dim.DYNAMIC}] * len(long))
    return {
        "encode": _Signature((image,), ["image"], feature_names),
        "reference": _Signature((features, labels), [*feature_names, "labels"], tokens),
        "propagate": _Signature((features, short, twice), [*feature_names, *tokens], ["logits", *state_names], dynamic),
        "memorize": _Signature((state, labels), [*state_names, "labels"], tokens),
    }


def _names(kind: str, tensors: Sequence[Tensor]) -> list[str]:
    return [f"{kind}_{index}" for index in range(len(tensors))]


class OnnxSteps:
    """The graphs of a folder in onnxruntime, on as many threads as torch has: numpy arrays by name in, and out."""

    def __init__(self, folder: Path):
        """InputError: names the first file that is missing or damaged. ImportError: names the extra."""
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(_EXTRA) from error
        for name in (DESCRIPTION, *(f"{graph}.onnx" for graph in GRAPHS)):
            if not (folder / name).is_file():
                raise InputError(f"{folder} has no {name}: it is no folder of msdeaot export-onnx, or not whole")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._sessions = {}
        for name in GRAPHS:
            path = folder / f"{name}.onnx"
            try:
                session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            except Exception as error:  # its exceptions have no base of their own
                raise InputError(f"{path} is no graph that onnxruntime reads: {str(error).splitlines()[0]}") from error
            self._sessions[name] = session

    def run(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        session = self._sessions[name]
        wanted = {each.name: inputs[each.name] for each in session.get_inputs()}
        names = [each.name for each in session.get_outputs()]
        return dict(zip(names, session.run(names, wanted), strict=True))


class Comparison(NamedTuple):
    difference: float  # the largest of any logit
    largest: float  # logit of PyTorch's, by its amount
    torch_seconds: float  # mean per frame, after the first
    onnx_seconds: float


@torch.inference_mode()
def compare(graphs: Graphs, steps: OnnxSteps, frames: np.ndarray, labels: np.ndarray) -> Comparison:
    """Both on one video, fed the same labels; every second frame joins long-term memory.

    frames uint8 [T, H, W, 3] RGB, at least two; labels int64 [H, W], the objects of the first.
    """
    short, long = graphs.reference(graphs.encode(torch.from_numpy(frames[0])), torch.from_numpy(labels))
    memory = steps.run("reference", steps.run("encode", {"image": frames[0]}) | {"labels": labels})
    differences, sizes, torch_spent, onnx_spent = [], [], [], []
    for t, frame in enumerate(frames[1:], start=1):
        began = time.perf_counter()
        logits, state = graphs.propagate(graphs.encode(torch.from_numpy(frame)), short, long)
        labels = logits.argmax(dim=0).numpy()
        short, thinned = graphs.memorize(state, torch.from_numpy(labels))
        between = time.perf_counter()
        found = steps.run("propagate", steps.run("encode", {"image": frame}) | memory)
        latest = steps.run("memorize", found | {"labels": labels})
        torch_spent.append(between - began)
        onnx_spent.append(time.perf_counter() - between)
        differences.append(np.abs(found["logits"] - logits.numpy()).max())
        sizes.append(logits.abs().max())
        if t % 2 == 0:
            long = [torch.cat(pair, dim=1) for pair in zip(long, thinned, strict=True)]
            latest |= {n: np.concatenate([memory[n], latest[n]], axis=1) for n in latest if n.startswith("long")}
        else:
            latest |= {n: tokens for n, tokens in memory.items() if n.startswith("long")}
        memory = latest
    later = slice(1, None) if len(frames) > 2 else slice(None)  # the first frame sets things up
    means = (float(np.mean(spent[later])) for spent in (torch_spent, onnx_spent))
    return Comparison(float(np.max(differences)), float(max(sizes)), *means)
