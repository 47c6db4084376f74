"""Weights files: ours, the official ones, and everything that only looks like one."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import sys
from dataclasses import replace

import golden_recipes
import numpy as np
import parity
import pytest
import torch
from safetensors.torch import save_file

from msdeaot_tracker.checkpoints import file_sha256, load_model, load_state, locate_weights, save_checkpoint
from msdeaot_tracker.checkpoints.convert import convert, identify_official, official_shapes
from msdeaot_tracker.checkpoints.official import DROPPED
from msdeaot_tracker.checkpoints.zoo import MANIFEST
from msdeaot_tracker.config import PRESETS
from msdeaot_tracker.device import explain_out_of_memory, pick_device
from msdeaot_tracker.initializers import make_initializer
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


WRAPPED = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "optimizer": {"state": {}}, "args": {"lr": 0.1}},
    "model_state_dict": lambda state: {"epoch": 3, "model_state_dict": state},
    "net": lambda state: {"net": state},
    "ema": lambda state: {"ema": {"module": state, "updates": 7}, "step": 3},
}
PREFIXES = ["module.", "", "model.", "net.", "_orig_mod.module.model.", "module._orig_mod."]


@pytest.mark.parametrize("own", [True, False], ids=["our keys", "official keys"])
@pytest.mark.parametrize(
    ("wrap", "prefix"), [*zip(WRAPPED, PREFIXES, strict=True), *zip(WRAPPED, PREFIXES[::-1], strict=True)]
)
def test_weights_are_found_however_a_framework_wraps_them(tmp_path, deaot_t, small_model, own, wrap, prefix):
    state = small_model.state_dict() if own else deaot_t
    torch.save(WRAPPED[wrap]({prefix + key: tensor for key, tensor in state.items()}), tmp_path / "w.pth")
    model = load_model("msdeaot-small" if own else "deaot-t", weights=tmp_path / "w.pth", device="cpu")
    expected = state if own else convert(state, model)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
@pytest.mark.parametrize("own", [True, False])
def test_weights_in_safetensors_of_others(tmp_path, deaot_t, small_model, own, metadata):
    state = small_model.state_dict() if own else deaot_t
    prefixed = {f"model.{key}": tensor.contiguous() for key, tensor in state.items()}
    save_file(prefixed, tmp_path / "w.safetensors", metadata)
    preset = "msdeaot-small" if own else "deaot-t"
    model = load_model(preset, weights=tmp_path / "w.safetensors", device="cpu")
    expected = state if own else convert(state, model)
    assert all(torch.equal(tensor, expected[key]) for key, tensor in model.state_dict().items())
    with pytest.raises(CheckpointError, match="name the preset"):
        load_model(weights=tmp_path / "w.safetensors", device="cpu")


def test_a_part_that_was_compiled_for_itself(tmp_path, small_model):
    state = {key.replace("encoder.", "encoder._orig_mod.", 1): x for key, x in small_model.state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    load_model("msdeaot-small", weights=tmp_path / "w.pth", device="cpu")


def test_of_several_weights_in_a_file_the_choice_is_said(tmp_path, small_model, caplog):
    state = small_model.state_dict()
    torch.save({"ema": {key: x * 0 for key, x in state.items()}, "model": state}, tmp_path / "w.pth")
    model = load_model("msdeaot-small", weights=tmp_path / "w.pth", device="cpu")
    assert torch.equal(model.norm.weight, small_model.norm.weight)
    assert "under model, ema: those of 'model' are taken" in caplog.text
    both = {f"{name}.{key}": x for name in ("model", "net") for key, x in state.items()}
    torch.save(both, tmp_path / "w.pth")
    assert "twice" in refused(tmp_path / "w.pth", "msdeaot-small")


@pytest.mark.parametrize("beside", [np.float64(3.5), argparse.Namespace(lr=1)], ids=["numpy", "Namespace"])
def test_what_is_not_unpickled_says_what_to_do(tmp_path, deaot_t, beside):
    torch.save({"state_dict": deaot_t, "best": beside}, tmp_path / "w.pth")
    message = refused(tmp_path / "w.pth")
    assert "holds more than weights" in message and "save the weights alone: torch.save(" in message
    assert "scalar" in message or "argparse.Namespace" in message


def test_a_pth_by_the_name_of_safetensors_is_read_and_it_is_said(tmp_path, deaot_t, caplog):
    load_model("deaot-t", weights=write_official(tmp_path / "w.safetensors", deaot_t), device="cpu")
    assert "w.safetensors is a PyTorch checkpoint, whatever its name says" in caplog.text
    with pytest.raises(CheckpointError, match="whatever its name says; a safetensors file is expected"):
        make_initializer("lite", weights=tmp_path / "w.safetensors", device="cpu")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(tmp_path, deaot_t, small_model, value):
    key, name = "LSTT.layers.0.linear_U.weight", "norm.weight"
    broken = {**deaot_t, key: deaot_t[key].clone().index_fill_(0, torch.tensor([3]), value)}
    assert f"key {key!r} has values that are not finite" in refused(write_official(tmp_path / "w.pth", broken))
    model = MSDeAOT(small_model.preset)
    model.norm.weight.data[3] = value
    save_checkpoint(tmp_path / "w.safetensors", model)
    assert f"key {name!r} has values" in refused(tmp_path / "w.safetensors", "msdeaot-small")


# ---------------------------------------------------------------- by name


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.weights])
def test_every_shipped_preset_is_a_name_of_weights(name, tmp_path, monkeypatch):
    model = load_model(weights=name, device="cpu")
    assert model.preset.name == name
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # as `--out NAME` makes it
    assert locate_weights(name)[0].is_file()


@pytest.mark.parametrize("name", MANIFEST)
def test_every_public_name_leads_to_its_file(name, tmp_path, monkeypatch):
    """Or says how it gets there, or what else it is."""
    monkeypatch.setenv("MSDEAOT_CACHE", str(tmp_path))
    release = MANIFEST[name]
    if release.preset is None:
        with pytest.raises(CheckpointError, match=f"{name} is no model to track with, but this: "):
            load_model(weights=name, device="cpu")
    else:
        with pytest.raises(CheckpointError, match=f"msdeaot weights download {name}`"):
            load_model(weights=name, device="cpu")
        (tmp_path / release.file).touch()
        assert locate_weights(name) == (tmp_path / release.file, release.preset) and release.preset in PRESETS


def test_a_public_name_needs_no_preset(tmp_path, monkeypatch, deaot_t):
    monkeypatch.setenv("MSDEAOT_CACHE", str(tmp_path))
    write_official(tmp_path / MANIFEST["deaot-t-pre"].file, deaot_t)
    assert load_model(weights="deaot-t-pre", device="cpu").preset.name == "deaot-t"


def test_neither_file_nor_name(tmp_path):
    assert "no such name in `msdeaot weights list`" in refused("deaot-x")
    assert "No such file" in refused("deaot-x.pth")


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
        weights=tmp_path / "w.safetensors",
        device="cpu",
        overrides=["memory.long_term_max=3", "model.dropout=0.0", "model.self_stride=2"],
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
    torch.save({"state_dict": {"layer.weight": torch.zeros(3)}, "epoch": 3}, tmp_path / "foreign.pth")
    assert "neither" in refused(tmp_path / "foreign.pth", "msdeaot-small")
    torch.save({"optimizer": {"state": {}}, "epoch": 3}, tmp_path / "optimizer.pth")
    assert "holds no state dict of tensors" in refused(tmp_path / "optimizer.pth")
    save_file({"norm.weight": torch.zeros(3)}, tmp_path / "next.safetensors", {"format": "msdeaot-tracker-2"})
    assert "of format 'msdeaot-tracker-2'" in refused(tmp_path / "next.safetensors", "msdeaot-small")


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
