"""What is done otherwise on a GPU: how often a frame waits for it, and how attention is computed.

Such a device is made up here: its tensors have shapes, no numbers.
"""

from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from test_precision import BOX, SIZE
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from msdeaot_tracker import Tracker, dense_readout, enlargement, groups, look, views
from msdeaot_tracker.config import MemoryConfig, ModelConfig, Preset, Stage, TrackerConfig, find_preset
from msdeaot_tracker.enlargement import Axis
from msdeaot_tracker.models import MSDeAOT, attention
from msdeaot_tracker.models.folding import Folded
from msdeaot_tracker.readout import Answer
from msdeaot_tracker.views import View

ELSEWHERE, HERE = torch.device("cuda:0"), torch.device("cpu")


class Crossings(TorchDispatchMode):
    """Counts the operators that move something between devices. Those that need its numbers raise here.

    And those that add fractions in the order in which a GPU's threads come by: its scores would not be the same twice.
    """

    def __init__(self):
        super().__init__()
        self.seen, self.unordered = Counter(), Counter()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        tensors = torch.utils._pytree.tree_leaves((arguments, keywords, result))
        devices = {each.device.type for each in tensors if isinstance(each, torch.Tensor) and each.ndim}
        if len(devices) > 1:
            self.seen[str(function)] += 1
        adds = ("scatter_add", "scatter_reduce", "index_add", "index_put", "bincount")
        if str(function).removeprefix("aten.").startswith(adds) and arguments[0].is_floating_point():
            self.unordered[str(function)] += 1
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

    def nearest(*lengths):
        with unset_fake_temporarily():
            return real_nearest(*lengths)

    real_axis, real_nearest = enlargement._axis, views._nearest
    monkeypatch.setattr(enlargement, "_axis", axis)
    monkeypatch.setattr(look, "fetch", fetch)
    for module in (look, groups, dense_readout):
        monkeypatch.setattr(module, "to_device", to_device)
    monkeypatch.setattr(Folded, "of", lambda self, module, half: module)  # it looks at addresses
    monkeypatch.setattr(views, "_nearest", nearest)
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
    assert not crossings.seen and not crossings.unordered


def test_a_frame_that_is_not_finite_is_refused_with_the_labels(monkeypatch):
    view = View(0, 0, 33, 33, (33, 33), (33, 33), align_corners=True)
    model = MSDeAOT(find_preset("msdeaot-lite")).eval()
    one = look.Look(model, model.preset, np.zeros((33, 33, 3), np.uint8), 1, "float32")
    one._device = ELSEWHERE  # the tensors are here
    for number, refused in ((0.0, nullcontext()), (np.nan, pytest.raises(look.NotFiniteError))):
        one._check(torch.tensor([number]))
        with refused:
            assert not one.read([Answer((1,), view, torch.full((2, 9, 9), number))]).labels.any()


@pytest.mark.parametrize("way", ["fused", "split"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize(("key", "values"), [(8, (32, 32)), (16, (16,)), (24, (40, 10)), (32, (8,))])
def test_all_ways_of_global_attention_are_equal(key, values, dtype, tolerance, way):
    torch.manual_seed(0)
    shapes = (17, key), *((90, width) for width in (key, *values))
    query, keys, *each = (torch.randn(2, *shape, dtype=torch.float64) for shape in shapes)
    expected = (query @ keys.transpose(1, 2) / key**0.5).softmax(-1) @ torch.cat(each, dim=-1)
    with torch.inference_mode():
        found = attention.WAYS[way](query.to(dtype), keys.to(dtype), tuple(value.to(dtype) for value in each))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


def test_fused_attention_is_for_queries_that_fill_a_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(multi_processor_count=9))
    with FakeTensorMode(), torch.no_grad():
        shapes = (2, 4 * 64, 8), (2, 4 * 64 + 1, 8)
        few, enough = (torch.empty(shape, dtype=torch.bfloat16, device="cuda") for shape in shapes)
        assert [attention.choose_way(query) for query in (few, enough)] == ["written", "fused"]
        assert attention.choose_way(enough.float()) == attention.choose_way(enough.cpu()) == "written"
        with torch.enable_grad():
            assert attention.choose_way(enough) == "written"
