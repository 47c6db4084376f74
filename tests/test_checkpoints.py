"""Weights files: ours, the official ones, and everything that only looks like one."""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
from dataclasses import replace

import golden_recipes
import parity
import pytest
import torch

from msdeaot_tracker.checkpoints import file_sha256, load_model, load_state, save_checkpoint
from msdeaot_tracker.checkpoints.convert import convert, identify_official, official_shapes
from msdeaot_tracker.checkpoints.official import DROPPED
from msdeaot_tracker.config import PRESETS
from msdeaot_tracker.device import explain_out_of_memory, pick_device
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.types import CheckpointError, InputError, TrackerError

MODELS = {**parity.PRESET_OF, "vmos": "vmos"}


def official_keys(name: str) -> dict[str, tuple[int, ...]]:
    """Of VMOS with its encoder."""
    files = [name, "intern_t"] if name == "vmos" else [name]
    contents = [json.loads((parity.DATA / f"{file}_keys.json").read_text(encoding="utf-8")) for file in files]
    return {key: tuple(shape) for content in contents for key, shape in content["keys"].items()}


def empty_model(name: str) -> MSDeAOT:
    return MSDeAOT(PRESETS[MODELS[name]])


@pytest.fixture(scope="module")
def deaot_t() -> dict[str, torch.Tensor]:
    """An official DeAOT-T state dict with the weights of the recipe."""
    weights = golden_recipes.deaot_weights(official_keys("deaott"))
    return {key: torch.from_numpy(value) for key, value in weights.items()}


@pytest.fixture(scope="module")
def small_model() -> MSDeAOT:
    torch.manual_seed(0)
    return MSDeAOT(PRESETS["msdeaot-small"]).eval()


def write_official(path, state, prefix=""):
    torch.save({"state_dict": {prefix + key: value for key, value in state.items()}, "optimizer": {}}, path)
    return path


def refused(path, preset="deaot-t") -> str:
    with pytest.raises(CheckpointError) as caught:
        load_model(preset, weights=path, device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- conversion


@pytest.mark.parametrize("name", MODELS)
def test_every_official_key_is_used_or_dropped_with_a_reason(name):
    keys = official_keys(name)
    layout = identify_official(keys).layout
    used = official_shapes(empty_model(name), layout)
    left = set(keys) - set(used)
    assert {key: keys[key] for key in used} == used
    assert all(any(re.fullmatch(pattern, key) for pattern in DROPPED[layout]) for key in left)
    assert all(DROPPED[layout].values())


def test_keys_dropped_from_vmos_are_those_that_change_nothing():
    content = json.loads((parity.DATA / "vmos_keys.json").read_text(encoding="utf-8"))
    used = official_shapes(empty_model("vmos"), "VMOS")
    thrown_away = {f"encoder.levels.2.downsample.{part}" for part in ("conv.weight", "norm.1.weight", "norm.1.bias")}
    assert set(official_keys("vmos")) - set(used) == set(content["unused_in_forward"]) | thrown_away


@pytest.mark.parametrize(("preset", "layers"), [("deaot-s", 2), ("deaot-b", 3), ("deaot-l", 3)])
def test_deeper_deaot_models_use_the_same_names(preset, layers):
    encoder_and_first = official_keys("deaott")
    all_layers = {k: v for k, v in official_keys("r50_deaotl").items() if k.startswith("LSTT.layers.")}
    kept = {k: v for k, v in all_layers.items() if int(k.split(".")[2]) < layers}
    assert official_shapes(MSDeAOT(PRESETS[preset]), "DeAOT") == encoder_and_first | kept


@pytest.mark.parametrize(("preset", "layers"), [("aot-s", 2), ("aot-b", 3), ("aot-l", 3)])
def test_deeper_aot_models_use_the_same_names_and_a_wider_decoder(preset, layers):
    encoder_and_first = official_keys("aott")
    stack = {k: v for k, v in official_keys("r50_aotl").items() if re.match(r"LSTT\.(layers|decoder_norms)\.", k)}
    kept = {k: v for k, v in stack.items() if int(k.split(".")[2]) < layers}
    wider = {"decoder.conv_in.conv.weight": (256, 256 * (layers + 1), 1, 1)}
    expected = encoder_and_first | kept | wider
    del expected["LSTT.mask_token"]
    assert official_shapes(MSDeAOT(PRESETS[preset]), "AOT") == expected


def test_every_tensor_arrives_where_its_name_says(deaot_t):
    model = empty_model("deaott")
    state = convert(deaot_t, model)
    assert set(state) == set(model.state_dict())
    assert sorted(t.double().sum().item() for t in state.values()) == pytest.approx(
        sorted(t.double().sum().item() for t in deaot_t.values())
    )
    relative = state["stages.0.layers.0.relative.weight"]
    assert torch.equal(relative, deaot_t["LSTT.layers.0.short_term_attn.relative_emb_k.weight"][:, :, 0, 0])


@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_files_load_with_and_without_prefix(tmp_path, deaot_t, prefix):
    model = load_model("deaot-t", weights=write_official(tmp_path / "weights.pth", deaot_t, prefix), device="cpu")
    expected = convert(deaot_t, model)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in model.state_dict().items())
    assert not model.training
    assert model.preset == PRESETS["deaot-t"]


def test_a_missing_key_is_named(tmp_path, deaot_t):
    state = {key: value for key, value in deaot_t.items() if key != "LSTT.layers.0.norm1.bias"}
    message = refused(write_official(tmp_path / "w.pth", state))
    assert "'LSTT.layers.0.norm1.bias'" in message
    assert "[256]" in message
    assert "w.pth" in message


def test_an_unexpected_key_is_named(tmp_path, deaot_t):
    message = refused(write_official(tmp_path / "w.pth", {**deaot_t, "LSTT.extra.weight": torch.zeros(3, 4)}))
    assert "'LSTT.extra.weight'" in message
    assert "[3, 4]" in message


def test_a_wrong_shape_names_key_expected_and_found(tmp_path, deaot_t):
    key = "LSTT.layers.0.short_term_attn.relative_emb_k.weight"
    message = refused(write_official(tmp_path / "w.pth", {**deaot_t, key: deaot_t[key][:, :64]}))
    assert key in message
    assert "expected shape [225, 128, 1, 1]" in message
    assert "found [225, 64, 1, 1]" in message


@pytest.mark.parametrize(
    "preset",
    [
        "aot-t",
        "deaot-s",
        "r50-deaot-l",
        "msdeaot-r50",
        "msdeaot-small",
    ],
)
def test_an_official_file_of_another_model_says_what_it_is_and_who_takes_it(tmp_path, deaot_t, preset):
    message = refused(write_official(tmp_path / "w.pth", deaot_t), preset)
    words = f"an official DeAOT file (mobilenetv2, 1 propagation layer) does not fit '{preset}'"
    assert message == f"{tmp_path / 'w.pth'}: {words}; it is for the preset deaot-t"


@pytest.mark.parametrize("key", [key for key in MODELS if key != "deaott"])
def test_every_official_file_names_its_preset(tmp_path, key):
    weights = {name: torch.zeros(()) for name in official_keys(key)}
    message = refused(write_official(tmp_path / "w.pth", weights))
    also = " or dmaot-swinb" if key == "swinb_deaotl" else ""
    assert message.endswith(f"it is for the preset {MODELS[key]}{also}")


def test_presets_that_share_their_weights_are_all_named(tmp_path):
    names = official_shapes(MSDeAOT(PRESETS["aot-l"]), "AOT")
    message = refused(write_official(tmp_path / "w.pth", {name: torch.zeros(()) for name in names}))
    assert "(mobilenetv2, 3 propagation layers)" in message
    assert message.endswith("it is for the preset aot-b or aot-l")


def test_vmos_without_its_encoder_is_told_apart(tmp_path):
    weights = {name: torch.zeros(()) for name in official_keys("vmos") if not name.startswith("encoder.")}
    message = refused(write_official(tmp_path / "w.pth", weights))
    assert "an official VMOS file (without an encoder, 3 propagation layers)" in message
    assert message.endswith("no preset takes it; one that does needs the encoder's keys as well")


def test_an_intern_image_of_another_width_is_told_apart(tmp_path):
    """The common InternImage-T doubles its channels once more."""
    weights = {name: torch.zeros(shape) for name, shape in official_keys("vmos").items()}
    weights["encoder.levels.3.norm.0.weight"] = torch.zeros(512)
    message = refused(write_official(tmp_path / "w.pth", weights), "vmos")
    assert "stages have [64, 128, 256, 512] channels" in message
    assert message.endswith("it is for the preset vmos, with [64, 128, 256, 256]")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_released_layout_of_vmos_loads_whole(tmp_path, prefix):
    torch.manual_seed(0)
    weights = {name: torch.randn(shape) for name, shape in official_keys("vmos").items()}
    path = write_official(tmp_path / "save_step_42000.pth", weights, prefix)
    model = load_model("vmos", weights=path, device="cpu")
    assert len(weights) == 957 and len(model.state_dict()) == 957 - 29  # what DROPPED names
    last = model.encoder.network.stages[3][3].convolution.to_weight.weight
    assert torch.equal(last, weights["encoder.levels.3.blocks.3.dcn.mask.weight"])


def test_an_official_file_without_a_preset_says_which_to_name(tmp_path, deaot_t):
    path = write_official(tmp_path / "w.pth", deaot_t)
    with pytest.raises(CheckpointError, match=r"it is for the preset deaot-t; name the preset as well"):
        load_model(weights=path, device="cpu")


# ---------------------------------------------------------------- our format


def test_saved_weights_come_back_exactly(tmp_path, small_model):
    path = tmp_path / "gewichte-ä.safetensors"
    save_checkpoint(path, small_model)
    model = load_model(weights=path, device="cpu")
    assert model.preset == small_model.preset
    assert all(torch.equal(tensor, small_model.state_dict()[key]) for key, tensor in model.state_dict().items())
    assert os.listdir(tmp_path) == [path.name]


def test_half_precision_on_disk_is_float32_in_the_model(tmp_path, small_model):
    full, half = tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    save_checkpoint(full, small_model)
    save_checkpoint(half, small_model, half=True)
    assert half.stat().st_size < 0.55 * full.stat().st_size
    model = load_model("msdeaot-small", weights=half, device="cpu")
    for key, tensor in model.state_dict().items():
        original = small_model.state_dict()[key]
        assert tensor.dtype == original.dtype
        assert torch.allclose(tensor, original, rtol=1e-3, atol=1e-6), key


def test_weights_of_another_preset_name_the_difference(tmp_path, small_model):
    save_checkpoint(tmp_path / "w.safetensors", small_model)
    assert "model.encoder is 'resnet_small' in the file, 'resnet50'" in refused(
        tmp_path / "w.safetensors", "msdeaot-r50"
    )


def test_settings_that_do_not_belong_to_the_weights_may_differ(tmp_path, small_model):
    save_checkpoint(tmp_path / "w.safetensors", small_model)
    model = load_model(
        weights=tmp_path / "w.safetensors", device="cpu", overrides=["memory.long_term_max=3", "model.dropout=0.0"]
    )
    assert model.preset.memory.long_term_max == 3
    with pytest.raises(CheckpointError, match=r"model\.window is 7 in the file, 5"):
        load_model(weights=tmp_path / "w.safetensors", device="cpu", overrides=["model.window=5"])


def test_a_file_that_disagrees_with_its_own_description_is_refused(tmp_path, small_model):
    other = MSDeAOT(replace(small_model.preset, model=replace(small_model.preset.model, objects=3)))
    other.preset = small_model.preset
    save_checkpoint(tmp_path / "w.safetensors", other)
    message = refused(tmp_path / "w.safetensors", "msdeaot-small")
    assert "expected shape [11], found [4]" in message


def test_load_state_leaves_the_model_alone_when_the_file_does_not_fit(tmp_path, small_model, deaot_t):
    model = MSDeAOT(small_model.preset)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_state(model, write_official(tmp_path / "w.pth", deaot_t))
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files with the resource module")
def test_a_write_that_fails_leaves_the_old_file(tmp_path, small_model):
    import resource

    path = tmp_path / "w.safetensors"
    save_checkpoint(path, small_model)
    before = file_sha256(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="cannot write"):
            save_checkpoint(path, small_model, half=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file_sha256(path) == before
    assert os.listdir(tmp_path) == [path.name]


def test_a_folder_that_does_not_exist_is_named(tmp_path, small_model):
    with pytest.raises(CheckpointError, match="nowhere"):
        save_checkpoint(tmp_path / "nowhere" / "w.safetensors", small_model)


# ---------------------------------------------------------------- not weights


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_runs_nothing(tmp_path, deaot_t, zipped):
    path, trap = tmp_path / "w.pth", tmp_path / "trap"
    content = {"state_dict": deaot_t, "bomb": Bomb(str(trap))}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert "damaged, or holds more than weights" in refused(path)
    path.write_bytes(pickle.dumps(Bomb(str(trap)), protocol=2))
    refused(path)
    assert not trap.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("own", [True, False])
def test_a_truncated_file_is_refused(tmp_path, small_model, deaot_t, own, share):
    path = tmp_path / "w"
    if own:
        save_checkpoint(path, small_model)
    else:
        write_official(path, deaot_t)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert str(path) in refused(path, "msdeaot-small" if own else "deaot-t")


def test_other_files_are_refused(tmp_path, small_model):
    text = tmp_path / "notes.txt"
    text.write_text("not weights at all")
    assert "no weights file" in refused(text)
    assert "cannot read" in refused(tmp_path / "absent.pth")
    assert "cannot read" in refused(tmp_path)
    torch.save(small_model.state_dict(), tmp_path / "bare.pth")
    assert "state_dict" in refused(tmp_path / "bare.pth")
    torch.save({"state_dict": small_model.state_dict()}, tmp_path / "foreign.pth")
    assert "neither" in refused(tmp_path / "foreign.pth", "msdeaot-small")


def test_presets_without_weights_say_where_to_find_them(tmp_path, monkeypatch):
    monkeypatch.setenv("MSDEAOT_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="msdeaot weights download r50-deaot-l"):
        load_model("r50-deaot-l", device="cpu")
    with pytest.raises(CheckpointError, match="no weights of preset 'msdeaot-swinb' are public"):
        load_model("msdeaot-swinb", device="cpu")
    with pytest.raises(InputError, match="no-such-preset"):
        load_model("no-such-preset", device="cpu")


# ---------------------------------------------------------------- devices


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cuda:x", "xpu", "meta", ""])
def test_unknown_and_unavailable_devices_are_input_errors(name):
    with pytest.raises(InputError, match=re.escape(repr(name))):
        pick_device(name)


def test_the_automatic_device_is_one_that_works():
    assert torch.ones(2, device=pick_device("auto")).sum().item() == 2
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("CUDA: 2 GiB"), RuntimeError("mps: out of memory")])
def test_a_full_device_is_explained(error):
    with (
        pytest.raises(TrackerError, match="out of memory while drawing: use a pencil"),
        explain_out_of_memory("drawing", "use a pencil"),
    ):
        raise error
    with pytest.raises(RuntimeError, match="shapes"), explain_out_of_memory("drawing", "use a pencil"):
        raise RuntimeError("shapes do not fit")
