"""What inference makes of an encoder computes the same, and follows its weights."""

import copy

import pytest
import torch
from torch import nn

from msdeaot_tracker.config import find_preset
from msdeaot_tracker.models import MSDeAOT, folding
from msdeaot_tracker.models.decoder import FPNDecoder
from msdeaot_tracker.models.encoder import ENCODERS, build_encoder
from msdeaot_tracker.models.folding import fold_batch_norms
from msdeaot_tracker.models.linear import Linear
from msdeaot_tracker.models.swin import SwinEncoder
from msdeaot_tracker.types import Features

CONVOLUTIONAL = [name for name in ENCODERS if name not in ("swin_base", "intern_image_t")]


def norms(module: nn.Module) -> int:
    return sum(hasattr(each, "running_var") for each in module.modules())


@torch.no_grad()
def vary_norms(module: nn.Module) -> nn.Module:
    """Statistics as after some training: of a new one they are 0 and 1."""
    for each in module.modules():
        if hasattr(each, "running_var"):
            each.running_mean.normal_(0, 0.2)
            each.running_var.uniform_(0.5, 2)
            each.weight.uniform_(0.5, 1.5)
            each.bias.normal_(0, 0.2)
    return module


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_folded_encoders_compute_the_same(name, frozen):
    torch.manual_seed(0)
    encoder = vary_norms(build_encoder(name, frozen_batch_norm=frozen)).eval()
    image = torch.randn(1, 3, 33, 49)
    with torch.inference_mode():
        folded = fold_batch_norms(encoder)
        expected, found = encoder(image), folded(image)
    for stride, on_map in expected.maps.items():
        assert (found.maps[stride] - on_map).abs().max() < 1e-5 * on_map.abs().max(), stride
    assert norms(folded) <= 1 < norms(encoder)  # one stands behind a stem of several layers


@pytest.mark.parametrize("name", ["resnet50", "resnet_small"])
def test_folded_encoders_compute_the_same_without_onednn(name, monkeypatch):
    """As on other devices."""
    monkeypatch.setattr(folding, "_ONEDNN", False)
    test_folded_encoders_compute_the_same(name, True)


@pytest.mark.parametrize("name", ["resnet50", "resnet18"])
def test_a_folded_block_with_a_part_of_another_kind_computes_the_same(name):
    torch.manual_seed(0)
    encoder = vary_norms(build_encoder(name, frozen_batch_norm=True)).eval()
    block = encoder.network.layer2[1]
    block.conv1 = nn.Sequential(block.conv1, nn.Tanh())
    image = torch.randn(1, 3, 33, 49)
    with torch.inference_mode():
        expected, found = encoder(image).deep, fold_batch_norms(encoder)(image).deep
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_folded_encoders_compute_in_double_precision():
    torch.manual_seed(0)
    encoder = vary_norms(build_encoder("resnet18", frozen_batch_norm=True)).eval().double()
    image = torch.randn(1, 3, 33, 49, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(fold_batch_norms(encoder)(image).deep, encoder(image).deep, rtol=1e-9, atol=1e-9)


def test_folded_decoders_compute_the_same():
    torch.manual_seed(0)
    channels = {4: 24, 8: 32, 16: 40}
    decoder = FPNDecoder(16, channels, 32, 3, align_corners=True).eval()
    maps = {stride: torch.randn(1, c, 48 // stride + 1, 64 // stride + 1) for stride, c in channels.items()}
    propagated, features = torch.randn(1, 16, 4, 5), Features(maps, maps[16])
    kept = {stride: on_map.clone() for stride, on_map in maps.items()}
    with torch.inference_mode():
        expected, found = decoder(propagated, features), fold_batch_norms(decoder)(propagated, features)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(kept[stride], maps[stride]) for stride in maps)


def test_weights_are_shared_but_for_those_that_change():
    torch.manual_seed(0)
    encoder = SwinEncoder(16, depths=(1, 1, 1), heads=(1, 1, 1), window=3).eval()
    assert all(a is b for a, b in zip(encoder.parameters(), fold_batch_norms(encoder).parameters(), strict=True))
    half = fold_batch_norms(encoder, torch.bfloat16)
    assert half.norms[0].weight is encoder.norms[0].weight
    assert half.stages[0][0].mlp.fc1.weight.dtype == torch.bfloat16
    assert encoder.stages[0][0].mlp.fc1.weight.dtype == torch.float32


@pytest.fixture
def model() -> MSDeAOT:
    torch.manual_seed(0)
    return MSDeAOT(find_preset("msdeaot-small")).eval()


def test_a_changed_weight_is_noticed(model):
    image, last = torch.rand(1, 3, 33, 49), None
    for parameter in (
        None,
        *(p for n, p in model.encoder.named_parameters() if n.endswith(("conv1.0.weight", "bn2.bias"))),
    ):
        if parameter is not None:
            with torch.no_grad():
                parameter.mul_(1.5).add_(0.1)
        expected = model.encode(image).deep  # with gradients: nothing is folded
        with torch.inference_mode():
            found = model.encode(image).deep
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert last is None or not torch.allclose(found, last, rtol=1e-3)
        last = found


def test_a_weight_that_is_replaced_is_noticed(model):
    image, convolution = torch.rand(1, 3, 33, 49), model.encoder.network.conv1[0]
    for _ in range(2):  # of the second one torch's counter of changes says the same as of the first
        with torch.inference_mode():
            before = model.encode(image).deep
        convolution.weight = nn.Parameter(convolution.weight.detach() * 2)
        with torch.inference_mode():
            assert not torch.allclose(model.encode(image).deep, before)


def test_each_precision_has_a_fold_of_its_own(model):
    image = torch.rand(1, 3, 33, 49)
    with torch.inference_mode():
        before = model.encode(image).deep
        with torch.autocast("cpu", torch.bfloat16):
            rough = model.encode(image).deep.float()
        after = model.encode(image).deep
    assert torch.equal(before, after) and not torch.equal(rough, before)
    assert torch.allclose(rough, before, atol=0.1 * before.abs().max())


def test_a_copied_model_has_a_fold_of_its_own(model):
    image = torch.rand(1, 3, 33, 49)
    with torch.inference_mode():
        before = model.encode(image).deep
        other = copy.deepcopy(model)
        other.encoder.network.conv1[0].weight.data.mul_(2)
        assert not torch.allclose(other.encode(image).deep, before)
        assert torch.equal(model.encode(image).deep, before)


def test_graphs_for_others_hold_none_of_onednns_operations(model):
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.linear = model, Linear(4, 4)

        def forward(self, image):
            return self.linear(self.model.encode(image).deep[..., :4])

    part, image = Part().eval(), torch.rand(1, 3, 65, 65)
    with torch.no_grad():
        program = torch.export.export(part, (image,))
        assert torch.allclose(program.module()(image), part(image), rtol=1e-4, atol=1e-5)
    kinds = {node.target.namespace for node in program.graph.nodes if hasattr(node.target, "namespace")}
    assert "aten" in kinds and "mkldnn" not in kinds


def test_all_verbs_follow_changed_weights(model):
    """Not the encoder alone: in half precision each part is a copy."""
    image, mask = torch.rand(1, 3, 33, 49), torch.zeros(1, 3, 33, 49)
    mask[:, 1, 5:20, 5:20], mask[:, 0] = 1, 1 - mask[:, 1]

    def answer():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            features, identity = model.encode(image), model.identify(mask)
            propagation = model.propagate(features, identity)
            entry = model.memorize(propagation, identity)
            return [identity[0], propagation.output, entry[0].id_value, model.decode(propagation, features)]

    last = answer()
    stage = model.stages[0]
    for weight, changed in (
        (model.decoder.output.weight, {3}),
        (stage.layers[0].to_gate.weight, {1, 3}),
        (stage.layers[0].to_id_value.bias, {1, 2, 3}),
        (stage.identity.convolution.weight, {0, 1, 2, 3}),
    ):
        with torch.no_grad():
            weight.add_(0.5 * torch.randn_like(weight))
        now = answer()
        assert {i for i, (a, b) in enumerate(zip(last, now, strict=True)) if not torch.equal(a, b)} == changed
        last = now


@pytest.mark.parametrize("half", [False, True])
def test_a_part_that_is_replaced_is_noticed(model, half):
    image, mask = torch.rand(1, 3, 33, 49), torch.zeros(1, 3, 33, 49)
    mask[:, 0] = 1

    def answer():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            features = model.encode(image)
            return model.decode(model.propagate(features, model.identify(mask)), features)

    class Twice(nn.Module):
        """As those wrap a linear map who adapt a model."""

        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, *inputs):
            return 2 * self.inner(*inputs)

    before, layer = answer(), model.stages[0].layers[0]
    layer.to_gate = Twice(layer.to_gate)
    wrapped = answer()
    assert not torch.equal(wrapped, before)
    layer.to_gate = layer.to_gate.inner
    assert torch.equal(answer(), before)
    model.decoder = Twice(model.decoder)
    assert torch.equal(answer(), 2 * before)


def test_hooks_of_linear_maps_with_silu_are_called(model):
    image, mask, calls = torch.rand(1, 3, 33, 49), torch.zeros(1, 3, 33, 49), []
    mask[:, 0] = 1
    layer = model.stages[0].layers[0]
    for context in (torch.inference_mode(), torch.enable_grad()):
        with context, layer.to_gate.register_forward_hook(lambda *_: calls.append(1)):
            model.propagate(model.encode(image), model.identify(mask))
    assert len(calls) == 2


def test_hooks_are_called(model):
    image, calls = torch.rand(1, 3, 33, 49), []
    with torch.inference_mode():
        for _ in range(2):
            model.encode(image)
            with model.encoder.network.layer1[0].register_forward_hook(lambda *_: calls.append(1)):
                model.encode(image)
    assert len(calls) == 2


def test_statistics_that_are_learned_are_not_folded(model):
    image = torch.rand(1, 3, 33, 49)
    model.train()
    before = [b.clone() for n, b in model.named_buffers() if n.endswith("running_mean")]
    with torch.no_grad():
        model.encode(image)
    after = [b for n, b in model.named_buffers() if n.endswith("running_mean")]
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
