"""TREK-150 and LaSOT in the real vot-toolkit: the workspace, the runs, and scores that are those of `msdeaot score`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from msdeaot_integration import toolkit
from msdeaot_integration.workspace import parse_interactions, write_sequence

from msdeaot_tracker import InputError
from msdeaot_tracker.cli.main import main
from msdeaot_tracker.data.datasets.box_sequences import read_dataset
from msdeaot_tracker.evaluation import StaticTracker, find_protocol, list_jobs, run_job, score, write_results

pytest.importorskip("vot", reason="needs the extra `vot`")
from msdeaot_integration.vot_analyses import _boxes
from vot.analysis import MissingResultsException
from vot.region import Mask, Rectangle, Special
from vot.tracker import Trajectory
from vot.workspace import Workspace

HEIGHT, WIDTH, FRAMES = 48, 64, 9
PROTOCOLS = ("ope", "mse", "hoi")
HIDDEN = (3, 4)  # frames of the first sequence without the object


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def write_frames(folder: Path, seed: int) -> None:
    """Numbered from 9: by name alone, 10 would come before 9."""
    folder.mkdir(parents=True)
    for index in range(FRAMES):
        image = np.random.default_rng([seed, index]).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"frame_{index + 9}.jpg"), image)


def write_trek(folder: Path) -> Path:
    """Overlapping interactions, both directions, an object that hides; a sequence that no hand touches."""
    starts = {"P01-first": ("0,0\n2,0\n8,1\n", "1,6,0\n2,8,2\n"), "P02-second": ("0,0\n5,1\n", None)}
    for seed, (name, (anchors, interactions)) in enumerate(starts.items()):
        write_frames(folder / name / "img", seed)
        boxes = [f"{10 + 2 * i},{8 + seed + i // 2},20,{16 + i}" for i in range(FRAMES)]
        for index in HIDDEN if seed == 0 else ():
            boxes[index] = "-1,-1,-1,-1"
        (folder / name / "groundtruth_rect.txt").write_text("\n".join(boxes) + "\n")
        (folder / name / "anchors.txt").write_text(anchors)
        if interactions:
            (folder / name / "anchors_hoi.txt").write_text(interactions)
    return folder


@pytest.fixture(scope="module")
def trek(tmp_path_factory) -> Path:
    return write_trek(tmp_path_factory.mktemp("trek"))


@pytest.fixture(scope="module")
def workspace(trek, tmp_path_factory) -> Path:
    return make_workspace("trek150", trek, tmp_path_factory.mktemp("made") / "workspace")


def make_workspace(layout: str, dataset: Path, folder: Path) -> Path:
    assert main(["workspace", layout, str(folder), "--dataset", str(dataset)]) == 0
    return folder


def static_runs(sequences) -> dict[str, np.ndarray]:
    """What our own runner gets from the tracker that stays where it was: boxes by result name."""
    jobs, left_out = list_jobs(sequences, PROTOCOLS)
    assert not left_out
    return {f"{job.protocol}/{job.run}": run_job(StaticTracker(), job).boxes for job in jobs}


def toolkit_name(protocol: str, sequence: str, frames: range) -> str:
    names = {"ope": "001", "mse": f"{frames[0]:08d}", "hoi": f"{frames[0]:08d}_{frames[-1]:08d}_*"}
    return f"{protocol}/{sequence}/{sequence}_{names[protocol]}"


def toolkit_runs(workspace: Path, sequences) -> dict[str, np.ndarray]:
    """The toolkit's trajectories by the same names, the first box, which is given, taken from the truth."""
    from vot.region.io import read_trajectory

    runs = {}
    for protocol in PROTOCOLS:
        for sequence in sequences:
            for run in find_protocol(protocol)(sequence):
                name = toolkit_name(protocol, sequence.name, run.frames)
                (file,) = (workspace / "results" / "StaticBox").glob(f"{name}.bin")
                boxes = _boxes(read_trajectory(str(file)))
                boxes[0] = sequence.boxes[run.frames[0]]
                runs[f"{protocol}/{run.name}"] = boxes
    return runs


def scores_of_files(folder: Path, sequences, runs: dict[str, np.ndarray]) -> dict[str, dict]:
    """`msdeaot score` on runs written as result files."""
    for name, boxes in runs.items():
        protocol, run = name.split("/")
        write_results(folder, "static", protocol, run, boxes)
    return {protocol: score(sequences, folder, protocol)["static"]["overall"] for protocol in PROTOCOLS}


def assert_equal_scores(analysis: dict, expected: dict[str, dict]) -> None:
    """analysis: {experiment: {analysis name: [values of each tracker]}}."""
    keys = ["success_score", "normalized_precision_score", "generalized_success_robustness_score"]
    for protocol in PROTOCOLS:
        more = ["recall_score"] if protocol == "hoi" else []
        wanted = [expected[protocol][key] for key in keys + more]
        np.testing.assert_allclose(analysis[protocol]["scores"][0], wanted, rtol=0, atol=1e-6, err_msg=protocol)
    for curve, key in zip(analysis["ope"]["curves"][0], keys, strict=True):
        _, values = np.transpose(curve)
        np.testing.assert_allclose(values, expected["ope"][key.replace("_score", "_curve")], rtol=0, atol=1e-6)


def vot(workspace: Path, *arguments: str, python: str = sys.executable) -> None:
    done = subprocess.run(
        [python, "-m", "vot", *arguments],
        cwd=workspace,
        env=os.environ | {"MPLBACKEND": "Agg"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_runs_and_scores_are_those_of_the_own_runner(trek, workspace, tmp_path):
    sequences = read_dataset("trek150", trek)
    toolkit.evaluate(workspace, "StaticBox")  # raises if a run of any experiment has no result
    runs, ours = toolkit_runs(workspace, sequences), static_runs(sequences)
    assert runs.keys() == ours.keys() and len(runs) == 2 + 5 + 2
    for name, boxes in ours.items():
        np.testing.assert_array_equal(runs[name], boxes, err_msg=name)

    analysis = toolkit.analyse(workspace, ["StaticBox"], name="scores")
    assert_equal_scores(analysis, scores_of_files(tmp_path, sequences, ours))
    assert analysis["realtime"]["scores"] == analysis["ope"]["scores"]  # it is never late
    vot(workspace, "report", "--format", "html", "--name", "page", "StaticBox")
    page = (workspace / "reports" / "page" / "report.html").read_text(encoding="utf-8")
    assert all(title in page for title in ("Generalized robustness", "Recall", "hoi"))


def invented_results(workspace: Path, sequences) -> dict[str, np.ndarray]:
    """Results in the toolkit's files for every run of ope, mse and hoi; the same as boxes, by our result names.

    Boxes near the truth in quarters of pixels, which float32 and three decimals hold; some as masks, some missing.
    """
    random = np.random.default_rng(5)
    loaded = Workspace.load(str(workspace))
    tracker = loaded.registry["StaticBox"]
    runs = {}
    for experiment in (loaded.stack[name] for name in PROTOCOLS if name in loaded.stack.experiments):
        plan = find_protocol(experiment.identifier)
        for boxes, toolkit_sequence in zip(sequences, experiment.transform(loaded.dataset), strict=True):
            names = {(run.frames[0], run.frames[-1]): run.name for run in plan(boxes)}
            for name, frames in experiment.runs(toolkit_sequence):
                trajectory = Trajectory(len(frames))
                answers = np.round(random.normal([20, 12, 20, 20], [4, 3, 3, 3], (len(frames), 4)) * 4) / 4
                trajectory.set(0, Special(Trajectory.INITIALIZATION))
                answers[0] = boxes.boxes[frames[0]]
                for index in range(1, len(frames)):
                    kind = random.choice(["box", "box", "mask", "nothing"])
                    if kind == "mask":
                        x, y, w, h = answers[index] = answers[index].round()
                        patch = np.ones((int(h) + 3, int(w) + 2), np.uint8)
                        patch[:2], patch[-1:], patch[:, :1], patch[:, -1:] = 0, 0, 0, 0
                        trajectory.set(index, Mask(patch, (int(x) - 1, int(y) - 2)))
                    elif kind == "box":
                        trajectory.set(index, Rectangle(*answers[index]))
                    else:
                        answers[index] = np.nan
                        trajectory.set(index, Special(0))
                trajectory.write(experiment.results(tracker, toolkit_sequence), name)
                runs[f"{experiment.identifier}/{names[frames[0], frames[-1]]}"] = answers
    return runs


def analyse(workspace: Path) -> dict:
    """As `toolkit.analyse`, in this process and without its cache."""
    loaded = Workspace.load(str(workspace))
    tracker = loaded.registry["StaticBox"]
    return {
        experiment.identifier: {
            analysis.name: [*analysis.compute(experiment, [tracker], experiment.transform(loaded.dataset), [])]
            for analysis in experiment.analyses
        }
        for experiment in loaded.stack
        if experiment.identifier in PROTOCOLS
    }


def test_scores_of_invented_results(trek, workspace, tmp_path):
    copy = shutil.copytree(workspace, tmp_path / "copy", symlinks=True, ignore=shutil.ignore_patterns("results"))
    sequences = read_dataset("trek150", trek)
    expected = scores_of_files(tmp_path, sequences, invented_results(copy, sequences))
    assert 0.05 < expected["mse"]["success_score"] < 0.9
    assert_equal_scores(analyse(copy), expected)

    next((copy / "results").glob("*/hoi/*/*.bin")).unlink()
    with pytest.raises(MissingResultsException, match="no results of StaticBox for P01-first_0000000"):
        analyse(copy)


def test_scores_of_lasot(trek, tmp_path):
    for name in ("plane-1", "plane-2"):
        shutil.copytree(trek / "P02-second", tmp_path / "lasot" / name)
        (tmp_path / "lasot" / name / "groundtruth_rect.txt").rename(tmp_path / "lasot" / name / "groundtruth.txt")
    (tmp_path / "lasot" / "plane-2" / "out_of_view.txt").write_text("0,0,0,1,1,0,0,0,0")
    copy = make_workspace("lasot", tmp_path / "lasot", tmp_path / "workspace")
    sequences = read_dataset("lasot", tmp_path / "lasot")
    for name, boxes in invented_results(copy, sequences).items():
        write_results(tmp_path, "static", *name.split("/"), boxes)
    expected = score(sequences, tmp_path, "ope", dataset="lasot")["static"]["overall"]
    keys = ["success_score", "precision_score", "normalized_precision_score"]
    found = analyse(copy)["ope"]
    np.testing.assert_allclose(found["scores"][0], [expected[key] for key in keys], rtol=0, atol=1e-6)
    for curve, key in zip(found["curves"][0], keys, strict=True):
        np.testing.assert_allclose(np.transpose(curve)[1], expected[key.replace("score", "curve")], atol=1e-6)


def test_nothing_to_run_has_no_score(trek, tmp_path):
    shutil.copytree(trek / "P02-second", tmp_path / "trek" / "P02-second")
    copy = make_workspace("trek150", tmp_path / "trek", tmp_path / "workspace")
    invented_results(copy, read_dataset("trek150", tmp_path / "trek"))
    scores = analyse(copy)
    assert scores["hoi"]["scores"] == [(None,) * 4]
    assert None not in scores["mse"]["scores"][0]


def test_the_toolkit_reads_what_the_dataset_says(trek, workspace):
    sequence, second = Workspace.load(str(workspace)).dataset
    dataset = read_dataset("trek150", trek)
    assert [sequence.name, second.name] == [s.name for s in dataset]
    assert [sequence.values(i)["anchor"] for i in range(FRAMES)] == [1, 0, 1, 0, 0, 0, 0, 0, -1]
    assert parse_interactions(sequence.metadata("interactions")) == [(1, 6, 0), (2, 8, 2)]
    assert sequence.metadata("fps") == 60
    for index in range(FRAMES):
        assert isinstance(sequence.groundtruth(index), Special) == (index in HIDDEN)
        frame = Path(sequence.frame(index).filename("color"))
        assert frame.name == f"{index + 1:08d}.jpg"
        assert frame.is_symlink() and frame.resolve() == dataset[0].frames[index].resolve()


def test_masks_of_davis_are_the_truth(trek, tmp_path):
    name = "goat"
    shutil.copytree(trek / "P02-second" / "img", tmp_path / "davis" / "JPEGImages" / name)
    for index in range(FRAMES):
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        labels[4 : 10 + index, 5:12] = 1
        labels[20:30, 20 + index : 30 + index] = 2
        path = tmp_path / "davis" / "Annotations" / name / f"frame_{index + 9}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), labels)
    made = make_workspace("davis", tmp_path / "davis", tmp_path / "workspace")
    sequences = Workspace.load(str(made)).dataset
    assert [sequence.name for sequence in sequences] == ["goat-1", "goat-2"]
    for sequence, box in zip(sequences, [(5, 4, 7, 9), (23, 20, 10, 10)], strict=True):
        assert isinstance(sequence.groundtruth(3), Mask)
        np.testing.assert_array_equal(_boxes([sequence.groundtruth(3)]), [box])


@pytest.mark.parametrize(
    ("anchors", "message"),
    [
        ("0,0\n4,0\n", "anchors.txt, line 2: the object is not to be seen on frame 4"),
        ("0,0\n6,0\n6,1\n", "anchors.txt, line 3: a forward and a backward run from frame 6"),
    ],
)
def test_anchors_that_cannot_be_run_are_errors(tmp_path, capsys, anchors, message):
    dataset = write_trek(tmp_path / "trek")
    (dataset / "P01-first" / "anchors.txt").write_text(anchors)
    assert main(["workspace", "trek150", str(tmp_path / "made"), "--dataset", str(dataset)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_what_cannot_be_run_is_left_out_and_named(tmp_path, capsys, caplog):
    dataset = write_trek(tmp_path / "trek")
    (dataset / "P01-first" / "img" / "frame_12.jpg").unlink()
    (dataset / "P02-second" / "anchors_hoi.txt").write_text("2,40,0\n3,5,1\n")
    made = make_workspace("trek150", dataset, tmp_path / "made")
    assert (made / "sequences" / "list.txt").read_text() == "P02-second\n"
    assert "frame_11.jpg is missing" in caplog.text and "P01-first: it has no frames" in caplog.text
    assert "anchors_hoi.txt, line 1" in caplog.text
    output = capsys.readouterr().out
    assert "1 (1 left out)" in output and "interactions: 1" in output


@pytest.mark.parametrize(("folder", "message"), [("full", "not an empty folder"), ("Zürich", "ASCII")])
def test_folders_that_cannot_be_used(trek, tmp_path, capsys, folder, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    assert main(["workspace", "trek150", str(tmp_path / folder), "--dataset", str(trek)]) == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "full" / "mine.txt").exists()


def test_frames_are_never_copied(trek, tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError("not allowed")

    frame = trek / "P01-first" / "img" / "frame_9.jpg"
    monkeypatch.setattr(Path, "symlink_to", refuse)
    write_sequence(tmp_path / "hard", [str(frame)], [(1, 2, 3, 4)])
    assert (tmp_path / "hard" / "color" / "00000001.jpg").samefile(frame)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(InputError, match=r"cannot link .*frame_9\.jpg"):
        write_sequence(tmp_path / "none", [frame], [(1, 2, 3, 4)])


@pytest.mark.skipif("MSDEAOT_VOT09_PYTHON" not in os.environ, reason="MSDEAOT_VOT09_PYTHON names no interpreter")
def test_the_newer_toolkit_agrees(trek, tmp_path):
    made = make_workspace("trek150", trek, tmp_path / "made")
    sequences = read_dataset("trek150", trek)
    python = os.environ["MSDEAOT_VOT09_PYTHON"]
    vot(made, "evaluate", "StaticBox", python=python)
    runs = toolkit_runs(made, sequences)
    for name, boxes in static_runs(sequences).items():
        np.testing.assert_array_equal(runs[name], boxes, err_msg=name)
    vot(made, "analysis", "--format", "json", "--name", "new", "StaticBox", python=python)
    report = json.loads((made / "analysis" / "new.json").read_text(encoding="utf-8"))["results"]
    analysis = {
        experiment: dict(zip([a["name"] for a in data["parameters"]["analyses"]], data["results"], strict=True))
        for experiment, data in report.items()
    }
    assert_equal_scores(analysis, scores_of_files(tmp_path, sequences, runs))
    assert analysis["realtime"]["scores"] == analysis["ope"]["scores"]
