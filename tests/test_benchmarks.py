"""The benchmarks run, and say what is wrong with what they were given."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from msdeaot_tracker import TrackerError
from msdeaot_tracker.data.procedural.held_out import HeldOut
from msdeaot_tracker.images import write_image, write_mask
from msdeaot_tracker.models import attention

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(BENCHMARKS / script), *arguments], capture_output=True, text=True)


def test_speed_prints_a_row_whose_parts_add_up():
    options = "--presets msdeaot-small --sizes 96x64 --objects 11 --memory 2 --frames 1 --device cpu --threads 1"
    options += " --precision bfloat16 --busy 1 --set tracker.view=full --operators 2"
    result = run("speed.py", *options.split())
    assert result.returncode == 0, result.stderr
    *_, row, one, other = result.stdout.splitlines()
    name, size, objects, memory, total, *parts = row.split()
    assert (name, size, objects, memory) == ("msdeaot-small", "96x64", "11", "2")
    assert all(" calls " in operator and operator.endswith("%") for operator in (one, other))
    assert len(parts) == 5
    assert "in bfloat16, 1 CPU thread(s)" in result.stdout and "beside 1 other processes" in result.stdout
    assert abs(float(total) - sum(map(float, parts))) < 0.005


def test_speed_names_an_unknown_preset():
    result = run("speed.py", "--presets", "nonesuch")
    assert result.returncode == 2
    assert "nonesuch" in result.stderr


def test_peak_memory_compares_videos_of_two_lengths():
    result = run("peak_memory.py", "--size", "64x48", "--frames", "3", "5", "--", "--no-overlay")
    assert result.returncode == 0, result.stderr
    torch_alone, *tracked = (float(line.split(": ")[1].split()[0]) for line in result.stdout.splitlines())
    assert 50 < torch_alone < min(tracked) and max(tracked) < 5000
    assert result.stdout.splitlines()[-1].endswith("%")


def test_peak_memory_says_why_a_video_cannot_be_tracked():
    result = run("peak_memory.py", "--size", "64x48", "--frames", "2", "--", "--preset", "nonesuch")
    assert result.returncode == 1
    assert "nonesuch" in result.stderr and "exit status 2" in result.stderr


def test_windows_prints_two_ratios_or_says_that_the_object_was_lost():
    result = run("windows.py", "--preset", "msdeaot-small", "--frames", "1", "--edge", "161", "--threads", "1")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "seconds",
        "window",
        "full",
        "ratio",
        "3840x2160",
        "854x480",
        "ratio",
    ]
    for one, other, ratio in (lines[1:4], lines[4:7]):
        times = [float(line.split(" s,")[0].split()[-1]) for line in (one, other)]
        assert times[0] / times[1] == pytest.approx(float(ratio.split()[1].rstrip(",")), abs=0.1)
    assert "looks at 1080x1080" in lines[2] and "looks at 3840" not in lines[4]


def test_a_folder_without_the_public_code_is_named(tmp_path):
    result = run("against_public.py", str(tmp_path))
    assert result.returncode == 2
    assert str(tmp_path) in result.stderr
    assert "no checkout" in result.stderr


def test_sizes_of_memory_that_do_not_rise_are_named(tmp_path):
    result = run("against_public.py", str(tmp_path), "--memory", "20", "1")
    assert result.returncode == 2
    assert "[20, 1]" in result.stderr


def test_what_there_is_to_see_on_a_device_is_seen_on_any(tmp_path, monkeypatch):
    pytest.importorskip("lightning_fabric")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import on_device

    def broken(*arguments):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(on_device.device_steps, "SHAPES", ((60, 90, 8, 16),))
    monkeypatch.setattr(on_device.device_steps, "BATCHES", (1,))
    monkeypatch.setattr(on_device.device_check, "_CLIP", HeldOut(count=1, frames=2))
    monkeypatch.setattr(on_device.device_steps, "_WARM_UP", 0)
    monkeypatch.setattr(on_device.device_steps, "_compiled", broken)  # it takes a minute
    monkeypatch.setattr(on_device.device_check, "check_device", lambda plan, device: {"loss": 0.0})  # tested below
    options = "--device cpu --presets msdeaot-small --sizes 96x64 --objects 1 2 --memory 1 --frames 1 --budget 60s"
    options += f" --steps equal waits attention presets batches compiled --json {tmp_path / 'all.json'}"
    monkeypatch.setattr(sys, "argv", ["on_device.py", *options.split()])
    assert on_device.main() == 0
    found = json.loads((tmp_path / "all.json").read_text())["steps"]
    assert [len(found[step]) for step in ("equal", "presets", "batches", "compiled")] == [2, 2, 1, 1]
    exact, half = found["equal"]
    assert exact["loss"] == 0 and all(half[way] >= on_device.OVERLAP for way in attention.WAYS)
    assert all(row[f"{way}_ms"] > 0 for row in found["attention"] for way in attention.WAYS)
    assert found["attention"][0]["split_kernel"] == "flash"
    assert all(row["frames_per_second"] > 0 for row in found["presets"]) and found["batches"][0]["gain"] == 1
    assert found["compiled"][0]["failed"] == "RuntimeError: no compiler"


def test_a_device_report_leaves_out_what_it_has_no_time_for(tmp_path, monkeypatch):
    pytest.importorskip("lightning_fabric")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import on_device

    def differs(*arguments):
        raise TrackerError("cpu and the CPU differ")

    monkeypatch.setattr(on_device.device_check, "check_device", differs)
    options = f"--device cpu --steps equal --json {tmp_path / 'all.json'} --budget"
    monkeypatch.setattr(on_device, "check_masks", differs)
    for budget, word in (("0s", "left out"), ("9s", "failed")):
        monkeypatch.setattr(sys, "argv", ["on_device.py", *options.split(), budget])
        assert on_device.main() == 1
        assert word in json.loads((tmp_path / "all.json").read_text())["steps"]["equal"][0]


@pytest.mark.parametrize("arguments", [("--budget", "soon"), ("--recipe", "nonesuch"), ("--sequences", "-3")])
def test_train_small_names_what_it_cannot_do(arguments, tmp_path):
    pytest.importorskip("lightning_fabric")
    result = run("train_small.py", "--out", str(tmp_path / "new"), *arguments)
    assert result.returncode == 2
    assert arguments[1] in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_device_that_computes_something_else_is_found_out(monkeypatch):
    pytest.importorskip("lightning_fabric")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import device_check

    from msdeaot_tracker.cli.train_plan import Plan
    from msdeaot_tracker.data.batches import BatchConfig
    from msdeaot_tracker.models import MSDeAOT
    from msdeaot_tracker.training.recipes import find_recipe
    from msdeaot_tracker.training.sources import ProceduralSource

    small = replace(find_recipe("msdeaot-small"), data=ProceduralSource(BatchConfig(size=49, frames=2)))
    plan = Plan(small, {}, None, None)
    assert set(device_check.check_device(plan, torch.device("cpu")).values()) == {0.0}

    def broken(model, memo=None):
        other = deepcopy(model, memo)
        if not isinstance(model, MSDeAOT):
            return other
        with torch.no_grad():
            other.stages[0].projection.weight.mul_(1.01)
        return other

    monkeypatch.setattr(device_check.copy, "deepcopy", broken)
    with pytest.raises(TrackerError, match="cpu and the CPU differ in the"):
        device_check.check_device(plan, torch.device("cpu"))


def test_initializers_prints_scores_of_procedural_boxes():
    result = run("initializers.py", "--procedural", "1", "--seed", "3", "--initializers", "box", "grabcut", "--jitter")
    assert result.returncode == 0, result.stderr
    name, iou, median, box_iou, _milliseconds, *said = result.stdout.splitlines()[-2].split()
    assert said == ["-", "-"], "it does not say how good it is"
    assert name == "box" and float(box_iou) > 0.99  # up to whole pixels
    assert 0.1 < float(iou) < 0.9 and 0.1 < float(median) < 0.9
    assert 0.1 < float(result.stdout.splitlines()[-1].split()[1]) < 1


def test_initializers_compares_what_is_held_out_with_what_was_expected(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    labels = np.zeros((48, 64), np.uint8)
    labels[10:30, 20:45] = 1
    for number in range(20):  # a tenth of them is held out
        write_image(
            tmp_path / f"images/{number}.png", np.where(labels[..., None], 200, 60).repeat(3, 2).astype(np.uint8)
        )
        write_mask(tmp_path / f"masks/{number}.png", labels)
    result = run("initializers.py", "--held-out", f"stills={tmp_path}", "--initializers", "lite", "--device", "cpu")
    assert result.returncode == 0, result.stderr
    name, iou, _median, _box_iou, _milliseconds, said, off = result.stdout.splitlines()[-1].split()
    assert name == "lite" and abs(float(iou) - float(said)) <= float(off) + 1e-3 < 0.5


def test_initializers_names_an_unknown_setting():
    result = run("initializers.py", "--procedural", "1", "--initializer-set", "grabcut.sum=3")
    assert result.returncode == 2
    assert "grabcut" in result.stderr and "sum" in result.stderr


@pytest.fixture(scope="module")
def davis(tmp_path_factory) -> Path:
    """Two sequences of noise in which a block moves, in DAVIS' layout."""
    folder = tmp_path_factory.mktemp("davis")
    for seed, (name, length) in enumerate({"left": 8, "right": 6}.items()):
        for kind in ("JPEGImages", "Annotations"):
            (folder / kind / name).mkdir(parents=True)
        for index in range(length):
            image = np.random.default_rng([seed, index]).integers(0, 256, (48, 64, 3), np.uint8)
            labels = np.zeros((48, 64), np.uint8)
            labels[5:25, 3 + 2 * index : 23 + index] = 1
            write_image(folder / "JPEGImages" / name / f"{index:05d}.jpg", image)
            write_mask(folder / "Annotations" / name / f"{index:05d}.png", labels)
    return folder


def test_agreement_compares_the_ways_that_are_there(davis, tmp_path):
    result = run("agreement.py", str(davis), "--work", str(tmp_path / "new"), "--trackers", "static")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [line.split() for line in result.stdout.splitlines()[1:]]
    ours = {row[1]: row for row in rows if row[-1] == "reference"}
    assert {name: row[4:6] for name, row in ours.items()} == {
        "ope": ["2", "14"],
        "mse": ["6", "38"],
        "hoi": ["4", "17"],
    }
    assert all(0.1 < float(row[7]) < 0.9 for row in ours.values())
    for clone in ("trek150-toolkit", "pytracking"):
        assert f"not run: no --{clone}" in result.stdout
    if find_spec("vot"):
        theirs = [row for row in rows if row[2] == "vot-toolkit"]
        assert [row[-1] for row in theirs] == ["agrees"] * 3
        assert [row[3:7] for row in theirs] == [row[4:8] for row in ours.values()]


@pytest.mark.parametrize(
    ("box", "score", "verdict"),
    [(0.0005, 0.5, "agrees"), (0.01, 0.5, "DIFFERS"), (np.nan, 0.5, "DIFFERS"), (0, 0.50001, "DIFFERS")],
)
def test_agreement_sees_what_differs(monkeypatch, capsys, box, score, verdict):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import agreement

    def measured(offset: float, success: float) -> agreement.Measured:
        boxes = {"first": np.zeros((3, 4)), "second": np.full((2, 4), offset)}
        return agreement.Measured({"ope": boxes}, {"ope": {"success_score": success}})

    case = agreement.Case("static", [], Path(), Path(), measured(0, 0.5))
    agreed = agreement.compare(case, "toolkit", case.ours, measured(box, score))
    assert capsys.readouterr().out.split()[-1] == verdict
    assert agreed == (verdict == "agrees")


def test_agreement_names_what_is_no_clone(davis, tmp_path):
    result = run("agreement.py", str(davis), "--work", str(tmp_path / "new"), "--trek150-toolkit", str(tmp_path))
    assert result.returncode == 2
    assert f"{tmp_path} has no toolkit" in result.stderr
