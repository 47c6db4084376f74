"""How often a frame makes the CPU wait for another device; such a device is made up here: it has shapes, no numbers."""

from collections import Counter
from contextlib import nullcontext
from unittest.mock import patch

import numpy as np
import pytest
import torch
from test_precision import BOX, SIZE
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from msdeaot_tracker import Tracker, enlargement, look, readout, tracker, views
from msdeaot_tracker.config import MemoryConfig, ModelConfig, Preset, Stage, TrackerConfig
from msdeaot_tracker.enlargement import Axis
from msdeaot_tracker.models import MSDeAOT, attention
from msdeaot_tracker.models.folding import Folded

ELSEWHERE, HERE = torch.device("cuda:0"), torch.device("cpu")


class Crossings(TorchDispatchMode):
    """Counts the operators that move something between devices. Those that need its numbers raise here."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        tensors = torch.utils._pytree.tree_leaves((arguments, keywords, result))
        devices = {each.device.type for each in tensors if isinstance(each, torch.Tensor) and each.ndim}
        if len(devices) > 1:
            self.seen[str(function)] += 1
        return result


@pytest.fixture
def fetched(monkeypatch):
    """What goes to the device and comes back goes by these; -> how many tensors each fetch brought."""
    counts = []

    def fetch(*tensors):
        counts.append(len(tensors))
        with unset_fake_temporarily():
            return [torch.zeros(each.shape, dtype=each.dtype).numpy() for each in tensors]

    def axis(*arguments):
        with unset_fake_temporarily():
            found = real_axis(*arguments[:3], HERE)
        return Axis(torch.empty(found.weights.shape, device=ELSEWHERE), found.first, found.last)

    def to_device(tensor, device):
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)

    real_axis = enlargement._axis
    monkeypatch.setattr(enlargement, "_axis", axis)
    monkeypatch.setattr(look, "fetch", fetch)
    for module in (look, views, readout):
        monkeypatch.setattr(module, "to_device", to_device)
    monkeypatch.setattr(Folded, "of", lambda self, module, half: module)  # it looks at addresses
    monkeypatch.setattr(tracker, "why_unseen", lambda mask, view: None)  # computed on the CPU, of what is made up here
    return counts


def put_elsewhere(model):
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    kind = tensor.dtype
                    there = torch.empty_strided(tensor.shape, tensor.stride(), dtype=kind, device=ELSEWHERE)
                    tensors[name] = torch.nn.Parameter(there, False) if tensors is module._parameters else there


@pytest.mark.parametrize("objects", [1, 3], ids=["one group", "three groups"])
@pytest.mark.parametrize("way", ["written", "fused", "split"])
def test_a_frame_waits_for_its_masks_and_for_what_is_remembered(fetched, monkeypatch, objects, way):
    config = ModelConfig("resnet_small", (Stage(16, 1, 16), Stage(8, 1, 16, memory_stride=2)), window=2)
    settings = TrackerConfig(long_edge=96, precision="float32", objects_per_memory=1, box_probability=0.1)
    monkeypatch.setattr(attention, "choose_way", lambda query: way)
    image = np.zeros((*SIZE, 3), np.uint8)
    crossings, autocast = Crossings(), patch.object(torch, "autocast", lambda *_, **__: nullcontext())  # needs a GPU
    model = MSDeAOT(Preset("tiny", config, MemoryConfig(long_term_gap=1), settings)).eval()
    with FakeTensorMode(allow_non_fake_inputs=True), autocast:
        put_elsewhere(model)
        one = Tracker(model, initializer="box")
        one.initialize(image, dict.fromkeys(range(1, objects + 1), BOX[1]))
        fetched.clear()
        with crossings:
            result = one.track(image)
    assert result.labels.shape == SIZE and len(result.scores) == objects
    assert fetched == [3, 1], "labels, scores and whether they are finite at once; then whether memory is"
    assert not crossings.seen
