"""Graphs in onnxruntime against PyTorch, and the example that tracks with them."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from msdeaot_tracker import PRESETS, InputError, Tracker, load_model
from msdeaot_tracker.cli.export_onnx import TOLERANCE
from msdeaot_tracker.cli.main import main
from msdeaot_tracker.config import MemoryConfig, ModelConfig, Preset, Stage, TrackerConfig
from msdeaot_tracker.data.procedural import ClipConfig, generate_clip
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.models.maps import nearest_cells

pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
pytest.importorskip("onnxscript", reason="needs the extra `onnx`")

from msdeaot_tracker.onnx_export import GRAPHS, Graphs, OnnxSteps, check_exportable, compare, export

SIZE = (70, 90)
CLIP = generate_clip(0, ClipConfig(height=SIZE[0], width=SIZE[1], frames=11, min_objects=2, max_objects=2))
LABELS = CLIP.labels[0].astype(np.int64)
EXAMPLE = Path(__file__).parents[1] / "docs" / "onnx_track.py"
MEMORY = ("memory.long_term_gap=2", "memory.long_term_max=3")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """What the command writes of msdeaot-small, which sees these frames at another size than theirs."""
    folder = tmp_path_factory.mktemp("small") / "graphs"
    settings = [word for setting in MEMORY for word in ("--set", setting)]
    assert main(["export-onnx", "msdeaot-small", "--out", str(folder), "--size", "90x70", *settings]) == 0
    return folder


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("onnx_track", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_compares_ten_frames_and_says_how_long_they_took(small, capsys):
    """Of msdeaot-lite, of frames seen at 145x97: the nearest pixel of every 29th is between two."""
    folder = small.parent / "lite"
    assert main(["export-onnx", "msdeaot-lite", "--out", str(folder), "--size", "150x90"]) == 0
    output = capsys.readouterr().out
    difference = re.search(r"10 frames: logits up to [\d.]+, at most (\S+) from PyTorch's", output)[1]
    assert 0 < float(difference) < TOLERANCE
    assert re.search(r"seconds per frame on \d+ CPU thread\(s\): PyTorch \d+\.\d+, onnxruntime \d+\.\d+", output)


def test_memory_of_any_number_of_frames_gives_pytorchs_logits(small):
    model = load_model("msdeaot-small", device="cpu")
    found = compare(Graphs(model, SIZE), OnnxSteps(small), CLIP.frames, LABELS)
    assert 0 < found.difference < TOLERANCE and found.largest > 1


def test_the_cells_that_torch_takes_for_nearest_are_known():
    rng = np.random.default_rng(0)
    pairs = [(150, 145), (6, 16), *itertools.product(range(1, 40), repeat=2), *rng.integers(40, 4097, (300, 2))]
    for there, here in pairs:
        taken = F.interpolate(torch.arange(there).float()[None, None, None], (1, int(here)), mode="nearest")
        assert np.array_equal(nearest_cells(there, here), taken.flatten().long().numpy()), (there, here)


def test_another_model_is_told_apart(small):
    model = load_model("msdeaot-small", device="cpu")
    torch.nn.init.normal_(model.layers[2].relative.weight)
    assert compare(Graphs(model, SIZE), OnnxSteps(small), CLIP.frames[:3], LABELS).difference > TOLERANCE


def test_ten_frames_of_aots_layers(tmp_path):
    torch.manual_seed(0)
    config = ModelConfig("resnet_small", (Stage(16, 1, 16),), propagation="transformer", decoder="fpn", window=2)
    model = MSDeAOT(Preset("tiny", config, MemoryConfig(), TrackerConfig(long_edge=81))).eval()
    torch.nn.init.normal_(model.layers[0].short_term.relative_value)
    found = compare(export(model, SIZE, tmp_path), OnnxSteps(tmp_path), CLIP.frames, LABELS)
    assert 0 < found.difference < TOLERANCE and found.largest > 0.1


def test_the_example_tracks_as_the_tracker_does(small, example):
    found = list(example.track(small, CLIP.frames, LABELS))
    settings = (*MEMORY, "tracker.view=full", "tracker.precision=float32")
    tracker = Tracker(load_model("msdeaot-small", device="cpu", overrides=settings))
    tracker.initialize(CLIP.frames[0], {1: CLIP.labels[0] == 1, 2: CLIP.labels[0] == 2})
    same = [np.mean(tracker.track(image).labels == one) for image, one in zip(CLIP.frames[1:], found[1:], strict=True)]
    assert len(found) == len(CLIP.frames) and min(same) > 0.99
    assert all((one > 0).any() for one in found)
    with pytest.raises(SystemExit, match=r"labels \(3, 4\): the graphs are for \[70, 90\]"):
        next(example.track(small, CLIP.frames, np.zeros((3, 4), np.int64)))


def test_the_example_needs_numpy_and_onnxruntime_alone():
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    modules = {line.split()[1] for line in lines if line.startswith(("import", "from"))}
    assert modules - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}
    assert len(lines) <= 60


@pytest.mark.parametrize("name", [*(f"{graph}.onnx" for graph in GRAPHS), "msdeaot.json"])
def test_a_missing_graph_is_named(tmp_path, example, name):
    for each in {*(f"{graph}.onnx" for graph in GRAPHS), "msdeaot.json"} - {name}:
        (tmp_path / each).touch()
    for error, load in ((InputError, OnnxSteps), (SystemExit, example.load)):
        with pytest.raises(error, match=f"has no {name}: it is no folder of msdeaot export-onnx, or not whole"):
            load(tmp_path)


def test_a_damaged_graph_is_named(tmp_path):
    for each in (*(f"{graph}.onnx" for graph in GRAPHS), "msdeaot.json"):
        (tmp_path / each).write_text("{}")
    with pytest.raises(InputError, match=r"encode\.onnx is no graph that onnxruntime reads"):
        OnnxSteps(tmp_path)


def test_the_folder_says_what_it_is_of(small):
    about = json.loads((small / "msdeaot.json").read_text(encoding="utf-8"))
    assert about["preset"] == "msdeaot-small" and about["size"] == list(SIZE)
    assert about["memory"]["long_term_gap"] == 2 and about["memory"]["short_term_lag"] == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["nonesuch"], "unknown preset 'nonesuch'"),
        (["msdeaot-small", "--size", "big"], "'big'"),
        (["msdeaot-small", "--frames", "0"], "--frames 0"),
        (["msdeaot-small", "--set", "memory.policy=per_object"], "preset 'msdeaot-small' cannot be exported"),
        (["dmaot-swinb"], "preset 'dmaot-swinb' cannot be exported"),
    ],
)
def test_what_cannot_be_exported_is_one_line(tmp_path, capsys, options, named):
    assert main(["export-onnx", *options, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line and not (tmp_path / "out").exists()


def test_without_the_packages_the_extra_is_named(monkeypatch):
    preset = PRESETS["msdeaot-small"]
    check_exportable(preset)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"msdeaot-tracker\[onnx\]"):
        check_exportable(preset)
