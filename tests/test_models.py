"""Properties of the network; equality with published numbers is in test_parity.py."""

import pytest
import torch
from timm.models.swin_transformer import SwinTransformerBlock
from torch import nn

from msdeaot_tracker import PRESETS, InputError
from msdeaot_tracker.config import MemoryConfig, ModelConfig, Preset, Stage, override
from msdeaot_tracker.geometry import one_hot
from msdeaot_tracker.memory import Memory
from msdeaot_tracker.models import MSDeAOT, attention
from msdeaot_tracker.models.attention import attend, read_window, read_window_with_offsets
from msdeaot_tracker.models.decoder import FPNDecoder
from msdeaot_tracker.models.gpm import GatedPropagation, SelfPropagation
from msdeaot_tracker.models.linear import Linear, silu
from msdeaot_tracker.models.swin import SwinEncoder
from msdeaot_tracker.types import LayerTokens, MemoryView

MULTI_SCALE = ["msdeaot-small", "msdeaot-r50", "msdeaot-swinb"]


def build(name: str) -> MSDeAOT:
    torch.manual_seed(0)
    return MSDeAOT(PRESETS[name]).eval()


def start(model: MSDeAOT, size=(97, 129)):
    """Features of a frame and the memory made from it with a mask of two objects."""
    if not model.preset.model.align_corners:
        size = (size[0] - 1, size[1] - 1)
    torch.manual_seed(1)
    image = torch.rand(1, 3, *size)
    labels = torch.zeros(1, *size, dtype=torch.int64)
    labels[:, 20:60, 30:80], labels[:, 50:90, 70:120] = 1, 2
    with torch.inference_mode():
        features = model.encode(image)
        identity = model.identify(one_hot(labels, model.preset.model.objects))
        memory = Memory(MemoryConfig(), model.memory_strides)
        memory.write(0, model.memorize(model.propagate(features, identity), identity), reference=True)
    return features, memory.view()


@torch.inference_mode()
def logits(model: MSDeAOT, features, view: MemoryView) -> torch.Tensor:
    return model.decode(model.propagate(features, view), features)


def scrambled(tokens: LayerTokens) -> LayerTokens:
    """The same values under the wrong keys (moving both together changes nothing: long-term memory has no order)."""
    return LayerTokens(tokens.key, tokens.value.roll(3, dims=1), tokens.id_value.roll(3, dims=1), size=tokens.size)


@pytest.mark.parametrize("name", MULTI_SCALE)
class TestMultiScalePresets:
    def test_two_layers_at_16_one_at_8_and_no_fpn(self, name):
        model = build(name)
        modules = list(model.modules())
        assert sum(isinstance(m, GatedPropagation) for m in modules) == 3
        assert not any(isinstance(m, FPNDecoder) for m in modules)
        _, view = start(model)
        sizes = [tokens.size for tokens in view.short_term]
        coarse, fine = ((7, 9), (13, 17)) if model.preset.model.align_corners else ((6, 8), (12, 16))
        assert sizes == [coarse, coarse, fine]

    @pytest.mark.parametrize("scales", ["16x", "8x"])
    @pytest.mark.parametrize("kind", ["long_term", "short_term"])
    def test_every_memory_of_every_scale_matters(self, name, scales, kind):
        model = build(name)
        features, view = start(model)
        layers = range(2) if scales == "16x" else [2]
        memory = [scrambled(t) if i in layers else t for i, t in enumerate(getattr(view, kind))]
        changed = MemoryView(**{"long_term": view.long_term, "short_term": view.short_term, kind: tuple(memory)})
        difference = (logits(model, features, changed) - logits(model, features, view)).abs().max()
        assert difference > 1e-4


def test_the_shipped_size_of_the_small_model():
    parameters = sum(p.numel() for p in build("msdeaot-small").parameters())
    assert 2 * parameters < 15e6  # bytes in half precision


@pytest.mark.parametrize("name", ["deaot-t", "deaot-s", "deaot-b", "deaot-l"])
def test_layers_of_the_deaot_family(name):
    expected = {"deaot-t": 1, "deaot-s": 2, "deaot-b": 3, "deaot-l": 3}[name]
    assert len(build(name).layers) == expected


def test_any_number_of_stages_and_any_strides():
    stages = (Stage(16, 1, 32), Stage(16, 0, 24), Stage(8, 2, 16), Stage(4, 1, 16, memory_stride=4), Stage(4, 0, 8))
    torch.manual_seed(0)
    model = MSDeAOT(Preset("many", ModelConfig("resnet_small", stages, window=2))).eval()
    features, view = start(model)
    assert logits(model, features, view).shape == (1, 11, 25, 33)
    assert [t.key.shape[1] for t in view.long_term] == [63, 221, 221, 7 * 9]


@pytest.mark.parametrize(
    ("stages", "settings"),
    [
        ((), {}),
        ((Stage(16, 0, 32),), {}),
        ((Stage(8, 1, 32), Stage(16, 1, 32)), {}),
        ((Stage(16, 1, 32), Stage(8, 1, 32)), {"propagation": "transformer"}),
        ((Stage(16, 1, 36),), {"propagation": "transformer"}),
    ],
    ids=["none", "no layers first", "finer first", "two of transformers", "no whole heads"],
)
def test_stages_that_make_no_sense_are_errors(stages, settings):
    with pytest.raises(InputError):
        MSDeAOT(Preset("bad", ModelConfig("resnet_small", stages, **settings)))


def test_an_unknown_encoder_is_an_error_that_lists_the_encoders():
    with pytest.raises(InputError, match=r"vgg.*resnet50"):
        MSDeAOT(Preset("bad", ModelConfig("vgg", (Stage(16, 1, 32),))))


def test_clips_of_a_batch_do_not_see_each_other():
    model = build("msdeaot-small")
    torch.manual_seed(2)
    images = torch.rand(2, 3, 65, 81)
    labels = torch.zeros(2, 65, 81, dtype=torch.int64)
    labels[0, 5:30, 5:30], labels[1, 30:60, 40:70] = 1, 3

    @torch.inference_mode()
    def run(images, labels):
        features, identity = model.encode(images), model.identify(one_hot(labels, 10))
        return model.decode(model.propagate(features, identity), features)

    both = run(images, labels)
    assert torch.allclose(both[1:], run(images[1:], labels[1:]), atol=1e-4)


class TestAttention:
    """Against the formula written out cell by cell."""

    def test_window(self):
        torch.manual_seed(0)
        rows, columns, radius = 7, 23, 3
        n = rows * columns
        query, key = torch.randn(2, n, 8), torch.randn(2, n, 8)
        value, id_value = torch.randn(2, n, 5), torch.randn(2, n, 5)
        relative = torch.randn(2, n, (2 * radius + 1) ** 2)
        found = read_window(query, relative, LayerTokens(key, value, id_value, size=(rows, columns)), radius)
        for at in range(n):
            y, x = divmod(at, columns)
            weights, cells = [], []
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    if 0 <= y + dy < rows and 0 <= x + dx < columns:
                        cell = (y + dy) * columns + x + dx
                        offset = (dy + radius) * (2 * radius + 1) + dx + radius
                        weights.append((query[:, at] * key[:, cell]).sum(-1) / 8**0.5 + relative[:, at, offset])
                        cells.append(cell)
            weights = torch.stack(weights, dim=1).softmax(dim=1)[..., None]
            expected = torch.cat([(weights * v[:, cells]).sum(1) for v in (value, id_value)], dim=-1)
            assert torch.allclose(found[:, at], expected, atol=1e-5)

    def test_window_with_values_of_offsets(self):
        torch.manual_seed(0)
        rows, columns, radius = 5, 11, 2
        n, side = rows * columns, 2 * radius + 1
        query, key, value = torch.randn(2, n, 8), torch.randn(2, n, 8), torch.randn(2, n, 4)
        relative, offset_values = torch.randn(2, n, side**2), torch.randn(2, side**2, 4)
        tokens = LayerTokens(key, value, size=(rows, columns))
        found = read_window_with_offsets(query, relative, offset_values, tokens, radius)
        for at in range(n):
            y, x = divmod(at, columns)
            cells = [(y + dy, x + dx) for dy in range(-radius, radius + 1) for dx in range(-radius, radius + 1)]
            inside = [o for o, (v, u) in enumerate(cells) if 0 <= v < rows and 0 <= u < columns]
            seen = [cells[o][0] * columns + cells[o][1] for o in inside]
            logits = (query[:, at, None] * key[:, seen]).sum(-1) / 8**0.5 + relative[:, at, inside]
            weights = logits.softmax(dim=1)[..., None]
            expected = (weights * (value[:, seen] + offset_values[:, inside])).sum(1)
            assert torch.allclose(found[:, at], expected, atol=1e-5)

    @pytest.mark.parametrize("tile", [1, 46, 10_000])
    def test_the_window_does_not_depend_on_how_it_is_cut(self, tile, monkeypatch):
        torch.manual_seed(0)
        query, relative = torch.randn(1, 161, 8), torch.randn(1, 161, 49)
        tokens = LayerTokens(torch.randn(1, 161, 8), torch.randn(1, 161, 4), torch.randn(1, 161, 4), size=(7, 23))
        expected = read_window(query, relative, tokens, 3)
        monkeypatch.setattr("msdeaot_tracker.models.attention._TILE", {"default": tile})
        assert torch.allclose(read_window(query, relative, tokens, 3), expected, atol=1e-6)
        single = LayerTokens(tokens.key, tokens.value, size=tokens.size)
        found = read_window_with_offsets(query, relative, torch.zeros(1, 49, 4), single, 3)
        assert torch.allclose(found, expected[..., :4], atol=1e-6)

    @pytest.mark.parametrize("size", [(11, 23), (23, 7), (4, 5)])
    @pytest.mark.parametrize(("small", "block"), [(2, 1), (3, 4000), (8, 1 << 20)])
    def test_tiles_side_by_side_read_what_single_ones_do(self, size, small, block, monkeypatch):
        """With their gradients; in float64, which takes the way of the half precisions."""
        torch.manual_seed(0)
        n = size[0] * size[1]
        shapes = (2, n, 8), (2, n, 49), (2, n, 8), (2, n, 4), (2, n, 4), (2, 49, 4)
        inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

        def run():
            query, relative, key, value, id_value, offset_values = inputs
            both = read_window(query, relative, LayerTokens(key, value, id_value, size=size), 3)
            single = read_window_with_offsets(query, relative, offset_values, LayerTokens(key, value, size=size), 3)
            return both, single, *torch.autograd.grad((both.sin().sum() + single.cos().sum()), inputs)

        monkeypatch.setattr(attention, "_SMALL", small)
        monkeypatch.setattr(attention, "_BLOCK", block)
        found = run()
        monkeypatch.setattr(attention, "_NARROW", 0)
        torch.testing.assert_close(found, run())

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_reads_are_the_same_in_inference_and_leave_what_they_read(self, dtype):
        torch.manual_seed(0)
        shapes = (1, 161, 8), (1, 161, 49), (1, 161, 8), (1, 161, 4), (1, 161, 4), (1, 49, 4)
        inputs = [torch.randn(shape, dtype=dtype) for shape in shapes]
        kept = [each.clone() for each in inputs]

        def run():
            query, relative, key, value, id_value, offset_values = inputs
            both, single = LayerTokens(key, value, id_value, size=(7, 23)), LayerTokens(key, value, size=(7, 23))
            offsets = read_window_with_offsets(query, relative, offset_values, single, 3)
            return read_window(query, relative, both, 3), offsets, attend(query, key, [value])

        expected = run()  # with gradients
        with torch.inference_mode():
            torch.testing.assert_close(run(), expected)
        assert all(torch.equal(*pair) for pair in zip(inputs, kept, strict=True))

    @pytest.mark.parametrize("limit", [1, 200, 10_000])
    def test_global_attention_does_not_depend_on_how_it_is_cut(self, limit, monkeypatch):
        torch.manual_seed(0)
        query, key, value = torch.randn(2, 17, 8), torch.randn(2, 31, 8), torch.randn(2, 31, 4)
        expected = (query @ key.transpose(1, 2) / 8**0.5).softmax(-1) @ value
        monkeypatch.setattr("msdeaot_tracker.models.attention._LOGITS", {"default": limit})
        assert torch.allclose(attend(query, key, [value]), expected, atol=1e-6)

    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
    @pytest.mark.parametrize("tokens", [31, 5000])
    def test_global_attention_is_the_same_in_inference(self, tokens, dtype, tolerance):
        """Where products may be computed in other ways, of one batch."""
        torch.manual_seed(0)
        query, key, value = (torch.randn(1, n, 8).to(dtype) for n in (17, tokens, tokens))
        expected = (query.float() @ key.float().transpose(1, 2) / 8**0.5).softmax(-1) @ value.float()
        with torch.inference_mode():
            found = attend(query, key, [value, value])
        assert found.dtype == dtype
        assert torch.allclose(found.float(), torch.cat([expected, expected], dim=-1), atol=tolerance)


def test_a_mask_needs_no_channels_of_objects_that_are_not_there():
    model = build("msdeaot-small")
    labels = torch.zeros(1, 65, 81, dtype=torch.int64)
    labels[0, 5:30, 5:30], labels[0, 30:60, 40:70] = 1, 2
    mask = one_hot(labels, 10)
    for whole, narrow in zip(model.identify(mask), model.identify(mask[:, :3]), strict=True):
        assert torch.allclose(whole, narrow, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 5, 24), (3, 24, 7), (24,)])
def test_linear_maps_are_the_same_in_inference_and_in_training(shape):
    torch.manual_seed(0)
    linear = Linear(24, 40)
    x = torch.randn(shape) if shape[-1] == 24 else torch.randn(shape).transpose(1, 2)  # tokens seen as a map are that
    expected = linear(x)
    with torch.inference_mode():
        assert torch.allclose(linear(x), expected, atol=1e-6)
        assert linear(x.double().to(torch.bfloat16).float()).dtype == torch.float32


def test_linear_maps_with_silu_are_the_same_in_inference_and_in_training():
    torch.manual_seed(0)
    linear, x = Linear(24, 40), torch.randn(2, 5, 24)
    expected = nn.functional.silu(linear(x))
    assert torch.allclose(silu(linear, x), expected, atol=1e-6)
    with torch.inference_mode():
        assert torch.allclose(silu(linear, x), expected, atol=1e-6)
        linear.to(torch.bfloat16)
        assert torch.allclose(silu(linear, x.bfloat16()).float(), expected, atol=0.03)


@pytest.mark.parametrize("size", [(6, 9), (7, 8)])
def test_self_propagation_over_means_is_that_over_all_cells_where_these_are_alike(size):
    torch.manual_seed(0)
    every, means = (SelfPropagation(16, 0.0, stride).eval() for stride in (1, 3))
    means.load_state_dict(every.state_dict())

    def in_squares(side):
        coarse = torch.randn(2, 16, -(-size[0] // side), -(-size[1] // side))
        whole = coarse.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
        return whole[..., : size[0], : size[1]].flatten(2).transpose(1, 2)

    with torch.no_grad():
        if size == (6, 9):  # else squares at the ends count as much as whole ones
            x, y = in_squares(3), in_squares(3)
            assert torch.allclose(means(x, y, size), every(x, y, size), atol=1e-5)
        x, y = in_squares(100), in_squares(100)
        assert torch.allclose(means(x, y, size), every(x, y, size), atol=1e-5)
        x, y = in_squares(1), in_squares(1)
        assert not torch.allclose(means(x, y, size), every(x, y, size), atol=1e-3)


def test_only_stages_after_the_first_read_means():
    model = MSDeAOT(override(PRESETS["msdeaot-lite"], "model.self_stride=2"))
    assert [layer.self_propagation.stride for layer in model.layers] == [1, 1, 2]
    with pytest.raises(InputError, match=r"model\.self_stride=0: a number of cells from 1"):
        override(PRESETS["msdeaot-lite"], "model.self_stride=0")


@pytest.mark.parametrize("batch", [1, 2])
def test_swin_blocks_see_the_windows_of_timm(batch):
    """Where the map is whole windows, padding before or after the shift is the same."""
    torch.manual_seed(0)
    encoder = SwinEncoder(16, depths=(2, 1, 1), heads=(2, 1, 1), window=3).eval()
    block, x = encoder.stages[0][1], torch.randn(batch, 6, 9, 16)
    nn.init.normal_(block.attn.relative_position_bias_table)
    assert torch.allclose(block(x), SwinTransformerBlock.forward(block, x), atol=1e-5)
    assert torch.allclose(block._attn(x), SwinTransformerBlock._attn(block, x), atol=1e-5)


def test_swin_skips_blocks_in_training_only_and_late_ones_more_often():
    encoder = SwinEncoder(24, depths=(1, 1, 2), heads=(2, 2, 2), window=3, drop_path=0.9)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for stage in encoder.stages for block in stage]
    assert rates == pytest.approx([0.0, 0.18, 0.36, 0.54])
    image = torch.rand(1, 3, 48, 48)
    seen = []
    for training in (True, False):
        encoder.train(training)
        torch.manual_seed(0)
        seen.append({encoder(image).deep.sum().item() for _ in range(8)})
    assert len(seen[0]) > 1 and len(seen[1]) == 1
