"""The real vot-toolkit on small workspaces: every experiment, analysis, report and archive."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from msdeaot_integration import registry_path, stack_path, toolkit
from msdeaot_integration.workspace import Region, spread_anchors, write_sequence, write_workspace

from msdeaot_tracker.data.procedural import ClipConfig, generate_clip

pytest.importorskip("vot", reason="needs the extra `vot`")

REAL = Path(__file__).parents[2] / "shared" / "real" / "davis16_dev"
FRAMES = 14
CLIPS = ClipConfig(height=96, width=128, frames=FRAMES, min_objects=2, max_objects=2, absence_probability=0)
MULTI_OBJECT = """
title: Several objects
experiments:
  vots: {type: unsupervised, multiobject: true, analyses: [{type: average_accuracy, name: accuracy, burnin: 1}]}
"""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """On a busy machine threads that wait for each other take a hundred times as long."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def tight_box(mask: np.ndarray) -> Region:
    box = cv2.boundingRect(mask.astype(np.uint8))
    return box if box[2] else None


def as_given(masks, kind: str) -> list[Region]:
    return [mask if mask.any() else None for mask in masks] if kind == "mask" else [tight_box(mask) for mask in masks]


def make_workspace(folder: Path, kind: str, stack: Path, *, objects: int = 1) -> Path:
    """One procedural sequence `clip`."""
    clip = generate_clip(3, CLIPS)
    truth = [as_given(clip.labels == k, kind) for k in range(1, objects + 1)]
    if objects == 1:
        anchors = spread_anchors([region is not None for region in truth[0]], 2)
        write_sequence(folder / "sequences" / "clip", clip.frames, truth[0], anchors=anchors)
    else:
        named = {f"{k:03d}": regions for k, regions in enumerate(truth, start=1)}
        write_sequence(folder / "sequences" / "clip", clip.frames, named)
    write_workspace(folder, ["clip"], stack=stack, registries=[registry_path()])
    return folder


def vot(*arguments: str, cwd: Path, python: str = sys.executable) -> str:
    """The toolkit's command line; what it wrote."""
    done = subprocess.run(
        [python, "-m", "vot", *arguments],
        cwd=cwd,
        env=os.environ | {"MPLBACKEND": "Agg"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def read_run(workspace: Path, run: str, tracker: str):
    """Regions, and the confidences after the first frame, of one result of the toolkit."""
    from vot.region.io import read_trajectory

    stem = workspace / "results" / tracker / run
    confidences = stem.with_name(f"{stem.name}_confidence.value").read_text().split("\n")[1:FRAMES]
    return read_trajectory(f"{stem}.bin"), [float(value) for value in confidences if value]


@pytest.mark.parametrize("kind", ["rectangle", "mask"])
def test_every_experiment_runs_to_scores(tmp_path, kind):
    from vot.region import RegionType

    workspace = make_workspace(tmp_path, kind, stack_path("full"))
    toolkit.evaluate(workspace, "MSDeAOT")
    regions, confidences = read_run(workspace, "ope/clip/clip_001", "MSDeAOT")
    assert len(regions) == FRAMES and len(confidences) == FRAMES - 1
    assert {region.type for region in regions[1:]} == {RegionType.MASK if kind == "mask" else RegionType.RECTANGLE}
    assert all(0 <= confidence <= 1 for confidence in confidences)
    assert len(set(confidences)) > 1

    scores = toolkit.analyse(workspace, ["MSDeAOT"], name="scores")
    assert set(scores) == {"ope", "multistart", "supervised", "realtime"}
    measures = [scores[name]["accuracy"][0][0] for name in ("ope", "realtime")]
    measures += [scores[name]["ar"][0][0] for name in ("multistart", "supervised")]
    assert all(0 <= measure <= 1 for measure in measures), scores


def test_report_and_archive(tmp_path):
    workspace = make_workspace(tmp_path, "rectangle", stack_path("ope_multistart"))
    toolkit.evaluate(workspace, "StaticBox")
    vot("report", "--format", "html", "--name", "page", "StaticBox", cwd=workspace)
    assert "StaticBox" in (workspace / "reports" / "page" / "report.html").read_text(encoding="utf-8")
    vot("pack", "StaticBox", cwd=workspace)
    (archive,) = workspace.glob("StaticBox_*.zip")
    names = {name.removesuffix(".bin") for name in zipfile.ZipFile(archive).namelist()}
    assert {"manifest.yml", *toolkit.expected_results(workspace)} <= names


def test_several_objects_at_once(tmp_path):
    stack = tmp_path / "several.yaml"
    stack.write_text(MULTI_OBJECT)
    workspace = make_workspace(tmp_path / "workspace", "mask", stack, objects=2)
    output = vot("evaluate", "MSDeAOT_multi", cwd=workspace)
    assert "interrupted" not in output, output
    runs = [read_run(workspace, f"vots/clip/clip_{name}_001", "MSDeAOT_multi")[0] for name in ("001", "002")]
    for one, other in zip(*runs, strict=True):
        if one.type == other.type and hasattr(one, "rasterize"):
            window = (0, 0, CLIPS.width - 1, CLIPS.height - 1)
            assert not (one.rasterize(window) & other.rasterize(window)).any()
    scores = toolkit.analyse(workspace, ["MSDeAOT_multi"], name="scores")
    assert 0 <= scores["vots"]["accuracy"][0][0] <= 1


def test_vot_test_reports_success(tmp_path):
    workspace = make_workspace(tmp_path, "rectangle", stack_path("ope_multistart"), objects=2)
    sequence = str(workspace / "sequences" / "clip")
    output = vot("--registry", str(registry_path()), "test", "-s", sequence, "MSDeAOT_multi_rectangle", cwd=tmp_path)
    assert "Test concluded successfuly" in output, output
    assert len(re.findall("@@TRAX:state", output)) == FRAMES * 2


def test_a_crash_fails_the_evaluation_with_the_trackers_log(tmp_path):
    workspace = make_workspace(tmp_path, "mask", stack_path("ope_multistart"))
    frame = workspace / "sequences" / "clip" / "color" / "00000004.jpg"
    frame.write_bytes(frame.read_bytes()[:100])
    with pytest.raises(toolkit.ToolkitError, match="Evaluation interrupted") as caught:
        toolkit.evaluate(workspace, "StaticBox")
    assert "00000004.jpg" in caught.value.log and "@@TRAX" not in caught.value.log


def test_scores_are_never_stale(tmp_path):
    workspace = make_workspace(tmp_path, "rectangle", stack_path("ope_multistart"))
    toolkit.evaluate(workspace, "StaticBox")
    (before, *_), *_ = toolkit.analyse(workspace, ["StaticBox"], name="scores")["ope"]["accuracy"]
    run = workspace / "results" / "StaticBox" / "ope" / "clip" / "clip_001"
    run.with_suffix(".txt").write_text("1\n" + "500,500,5,5\n" * (FRAMES - 1))  # the toolkit prefers text to .bin
    (after, *_), *_ = toolkit.analyse(workspace, ["StaticBox"], name="scores")["ope"]["accuracy"]
    assert before > 0 and after == 0


def test_every_run_is_expected_to_leave_a_result(tmp_path):
    workspace = make_workspace(tmp_path, "rectangle", stack_path("full"))
    (workspace / "sequences" / "clip" / "anchor.value").write_text("0\n1\n" + "0\n" * (FRAMES - 3) + "-1\n")
    assert list(toolkit.expected_results(workspace)) == [
        "ope/clip/clip_001",
        "multistart/clip/clip_00000001",
        "multistart/clip/clip_00000013",
        "supervised/clip/clip_001",
        "realtime/clip/clip_001",
    ]


def test_an_unknown_tracker_is_an_error(tmp_path):
    workspace = make_workspace(tmp_path, "rectangle", stack_path("ope_multistart"))
    with pytest.raises(toolkit.ToolkitError, match="NoSuchTracker"):
        toolkit.evaluate(workspace, "NoSuchTracker")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real sequences in {REAL}")
def test_a_real_sequence(tmp_path):
    frames = sorted((REAL / "JPEGImages" / "camel").glob("*.jpg"))[:FRAMES]
    annotations = REAL / "Annotations" / "camel"
    masks = [cv2.imread(str(annotations / f"{frame.stem}.png"), cv2.IMREAD_GRAYSCALE) > 0 for frame in frames]
    write_sequence(tmp_path / "sequences" / "camel", frames, as_given(masks, "mask"), anchors={0: 1})
    write_workspace(tmp_path, ["camel"], stack=stack_path("ope_multistart"), registries=[registry_path()])
    for tracker in ("MSDeAOT", "StaticBox"):
        toolkit.evaluate(tmp_path, tracker)
    scores = toolkit.analyse(tmp_path, ["MSDeAOT", "StaticBox"], name="scores")
    (ours, *_), (static, *_) = scores["ope"]["accuracy"]
    assert ours > static
    assert ours > 0.8


@pytest.mark.skipif("MSDEAOT_VOT09_PYTHON" not in os.environ, reason="MSDEAOT_VOT09_PYTHON names no interpreter")
@pytest.mark.parametrize(
    ("kind", "tracker"), [(k, t) for k in ("mask", "rectangle") for t in ("MSDeAOT", "MSDeAOT_python")]
)
def test_one_pass_under_the_newer_toolkit(tmp_path, kind, tracker):
    python = os.environ["MSDEAOT_VOT09_PYTHON"]
    workspace = make_workspace(tmp_path, kind, stack_path("ope_multistart"))
    output = vot("evaluate", "--experiments", "ope", tracker, cwd=workspace, python=python)
    assert "Evaluation concluded" in output, output
    regions, confidences = read_run(workspace, "ope/clip/clip_001", tracker)
    assert len(regions) == FRAMES and all(0 <= confidence <= 1 for confidence in confidences)
