"""`msdeaot demo` on one small video."""

from __future__ import annotations

from dataclasses import replace

import cv2
import pytest

from msdeaot_tracker import device
from msdeaot_tracker.cli import demo
from msdeaot_tracker.cli.main import main

pytest.importorskip("vot", reason="needs the extra `vot`")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(demo, "CLIPS", replace(demo.CLIPS, height=120, width=160, frames=32))


def test_it_ends_with_table_plot_and_video(tmp_path, capsys):
    out = tmp_path / "with space"
    assert main(["demo", "--sequences", "1", "--device", "cpu", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "device: cpu"
    rows = [line.split() for line in lines if line.startswith(("MSDeAOT", "StaticBox"))]
    (ours, *our_scores), (baseline, *its_scores) = [(name, *map(float, scores)) for name, *scores in rows]
    assert (ours, baseline) == ("MSDeAOT", "StaticBox")
    assert all(0 <= score <= 1 for score in our_scores + its_scores)
    assert our_scores[0] > its_scores[0]
    for name in ("overlay.mp4", "success.png", "workspace"):
        assert any(line.endswith(str(out / name)) for line in lines)

    video = cv2.VideoCapture(str(out / "overlay.mp4"))
    frames = []
    while (grabbed := video.read())[0]:
        frames.append(grabbed[1])
    assert len(frames) == 32 and frames[0].shape == (120, 160, 3)
    plot = cv2.imread(str(out / "success.png"))
    assert plot is not None and plot.std() > 10


def test_a_crash_fails_the_demo_and_quotes_the_trackers_log(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(device, "pick_device", lambda name: "abacus")
    assert main(["demo", "--sequences", "1", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "unknown device 'abacus'" in error
    assert "vot evaluate MSDeAOT: Evaluation interrupted" in error


def test_an_earlier_demo_is_replaced_and_nothing_else(tmp_path, capsys):
    old = tmp_path / "workspace"
    old.mkdir()
    (old / "letters.txt").write_text("dear diary")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "not a workspace of an earlier demo" in capsys.readouterr().err
    assert (old / "letters.txt").is_file()
    (old / demo.REGISTRY).write_text("")
    assert demo._clean_workspace(tmp_path) == old
    assert not list(old.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sequences", "0"], "--sequences 0"),
        (["--device", "abacus"], "unknown device 'abacus'"),
        (["--out", "présentation"], "ASCII"),
    ],
)
def test_bad_arguments(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", *arguments]) == 2
    assert message in capsys.readouterr().err
