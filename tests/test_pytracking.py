"""The pytracking adapter by pytracking's rules, the installer on a folder that looks like a clone, and a real clone.

The real one is named by the environment variable MSDEAOT_PYTRACKING. It is copied, so that its own settings and results
stay as they are; its requirements have to be in this environment (see docs/toolkits.md).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from msdeaot_integration import pytracking_install
from msdeaot_integration.pytracking import PytrackingTracker

from msdeaot_tracker import PRESETS, Box, InputError
from msdeaot_tracker.cli.main import main
from msdeaot_tracker.geometry import rectangle_iou

SIZE = (48, 64)
FRAMES = 4
CLONE = os.environ.get("MSDEAOT_PYTRACKING")


class BaseTracker:
    """The part of pytracking's base class that matters here."""

    def __init__(self, params):
        self.params = params


class Joined(PytrackingTracker, BaseTracker):
    pass


def make(segmentation="given") -> Joined:
    return Joined(SimpleNamespace(settings={"device": "cpu"}, segmentation=segmentation))


def frame(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright disc that goes right and a green one that stays, and their labels 1 and 2."""
    noise = np.random.default_rng(0).integers(0, 60, (*SIZE, 3), dtype=np.uint8)
    labels = cv2.circle(np.zeros(SIZE, np.uint8), (14 + 2 * index, 16), 9, 1, -1)
    cv2.circle(labels, (50, 34), 9, 2, -1)
    image = np.where(labels[..., None] == 1, np.uint8([230, 200, 40]), noise)
    return np.where(labels[..., None] == 2, np.uint8([30, 220, 60]), image), labels


def box_of(index: int) -> list[float]:
    return [5.0 + 2 * index, 7.0, 19.0, 19.0]


OTHER = [41.0, 25.0, 19.0, 19.0]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def close(box, expected) -> bool:
    return np.abs(np.subtract(box, expected)).max() <= 4


def test_one_object_from_a_box_is_answered_by_boxes():
    tracker = make()
    first = tracker.initialize(frame(0)[0], {"init_bbox": box_of(0)})
    assert first["target_bbox"] == box_of(0) and "segmentation" not in first
    for index in range(1, FRAMES):
        answer = tracker.track(frame(index)[0], {"previous_output": first})
        assert close(answer["target_bbox"], box_of(index)) and isinstance(answer["target_bbox"], list)
        assert 0.5 < answer["object_presence_score"] <= 1
    lost = tracker.track(np.zeros((*SIZE, 3), np.uint8))
    assert lost["target_bbox"] == answer["target_bbox"] and lost["object_presence_score"] == 0


def test_a_vot_client_asks_for_masks_only_where_they_are_always_answered():
    for segmentation, masks in (("always", True), ("given", False)):
        tracker = make(segmentation)
        tracker.initialize_features()
        assert tracker.predicts_segmentation_mask() == masks
        tracker.initialize(frame(0)[0], {"init_mask": None, "init_bbox": box_of(0)})
        answer = tracker.track(frame(1)[0], {"previous_output": {}})
        assert close(answer["target_bbox"], box_of(1)) and ("segmentation" in answer) == masks


@pytest.mark.parametrize(("segmentation", "answered"), [("given", True), ("always", True), ("never", False)])
def test_one_object_from_a_mask(segmentation, answered):
    tracker = make(segmentation)
    image, labels = frame(0)
    tracker.initialize(image, {"init_mask": (labels == 1).astype(np.uint8), "init_bbox": [0, 0, 0, 0]})
    image, labels = frame(1)
    answer = tracker.track(image)
    assert close(answer["target_bbox"], box_of(1))
    assert ("segmentation" in answer) == answered
    if answered:
        assert answer["segmentation"].dtype == np.uint8
        assert overlap(answer["segmentation"] == 1, labels == 1) > 0.6


def test_several_objects_keep_pytrackings_ids_and_join_later():
    tracker = make("always")
    image, _ = frame(0)
    first = tracker.initialize(
        image, {"init_bbox": OrderedDict({"7": box_of(0)}), "init_object_ids": ["7"], "object_ids": ["7", "2"]}
    )
    assert first["target_bbox"] == {"7": box_of(0)} and set(np.unique(first["segmentation"])) == {0, 7}
    image, labels = frame(1)
    joined = tracker.track(image, {"init_object_ids": ["2"], "init_bbox": {"2": [0, 0, 0, 0]}, "init_mask": labels})
    image, labels = frame(2)
    answer = tracker.track(image, {})
    assert list(joined["target_bbox"]) == list(answer["target_bbox"]) == ["7", "2"]
    assert close(answer["target_bbox"]["7"], box_of(2)) and close(answer["target_bbox"]["2"], OTHER)
    assert overlap(answer["segmentation"] == 2, labels == 2) > 0.6
    assert set(answer["object_presence_score"]) == {"7", "2"}


def test_ids_over_255_are_kept_in_the_answer():
    tracker = make("always")
    image, labels = frame(0)
    names = np.array([0, 300, 70000])
    tracker.initialize(image, {"init_object_ids": ["300", "70000"], "init_mask": names[labels]})
    image, labels = frame(1)
    answer = tracker.track(image)
    assert list(answer["target_bbox"]) == ["300", "70000"] and close(answer["target_bbox"]["300"], box_of(1))
    for number in (1, 2):
        assert overlap(answer["segmentation"] == names[number], labels == number) > 0.6


def test_names_as_ids():
    tracker = make("always")
    image, labels = frame(0)
    boxes = OrderedDict({"cup": box_of(0), "hand": OTHER})
    first = tracker.initialize(image, {"init_object_ids": ["cup", "hand"], "init_bbox": boxes})
    assert first["target_bbox"] == boxes
    image, labels = frame(1)
    answer = tracker.track(image)
    assert close(answer["target_bbox"]["cup"], box_of(1)) and close(answer["target_bbox"]["hand"], OTHER)
    assert answer["segmentation"].dtype == np.uint8 and overlap(answer["segmentation"] == 2, labels == 2) > 0.5
    again = make("given")
    masks = {"cup": labels == 1, "hand": labels == 2}
    again.initialize(image, {"init_object_ids": ["cup", "hand"], "init_mask": masks})
    image, labels = frame(2)
    assert overlap(again.track(image)["segmentation"] == 1, labels == 1) > 0.6
    with pytest.raises(InputError, match=r"'cup', 'hand'.*masks by name"):
        make().initialize(image, {"init_object_ids": ["cup", "hand"], "init_mask": labels})


def test_objects_drawn_into_a_video_and_a_reset():
    tracker = make()
    nothing = {"object_ids": [], "init_object_ids": [], "init_bbox": OrderedDict()}
    drawn = {"init_object_ids": [1], "init_bbox": OrderedDict({1: box_of(0)}), "sequence_object_ids": [1]}
    assert tracker.track(frame(0)[0], drawn)["target_bbox"] == {1: box_of(0)}
    assert tracker.initialize(frame(0)[0], nothing) == {}
    again = {"init_object_ids": [1], "init_bbox": OrderedDict({1: OTHER}), "sequence_object_ids": [1]}
    assert tracker.track(frame(0)[0], again)["target_bbox"] == {1: OTHER}
    assert close(tracker.track(frame(1)[0], {})["target_bbox"][1], OTHER)


def test_two_trackers_at_once_do_not_disturb_each_other():
    one, other, alone = make(), make(), make()
    one.initialize(frame(0)[0], {"init_bbox": box_of(0)})
    other.initialize(frame(0)[0][::-1].copy(), {"init_bbox": [41, 48 - 44, 19, 19]})
    between = [one.track(frame(1)[0]), other.track(frame(1)[0][::-1].copy()), one.track(frame(2)[0])][-1]
    alone.initialize(frame(0)[0], {"init_bbox": box_of(0)})
    alone.track(frame(1)[0])
    assert alone.track(frame(2)[0]) == between


def test_bad_input():
    with pytest.raises(InputError, match="neither"):
        make().initialize(frame(0)[0], {})
    with pytest.raises(InputError, match="'sometimes'"):
        make("sometimes")


@pytest.fixture
def lookalike(tmp_path) -> Path:
    clone = tmp_path / "clone ć"
    for name in pytracking_install._A_CLONE_HAS:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text("theirs")
    return clone


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_install_repeat_uninstall(lookalike, capsys):
    before = contents(lookalike)
    command = ["install-pytracking", str(lookalike)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    installed = contents(lookalike)
    new = set(installed) - set(before)
    assert all(f"written   {name}" in printed for name in new) and before.items() <= installed.items()
    stems = {Path(name).stem for name in new if "/parameter/" in name}
    assert {"default", "masks", *(preset.replace("-", "_") for preset in PRESETS)} <= stems
    for name in new:
        compile(installed[name], name, "exec")

    assert main(command) == 0
    assert capsys.readouterr().out.count("unchanged ") == len(new) and contents(lookalike) == installed
    assert main([*command, "--uninstall"]) == 0
    assert capsys.readouterr().out.count("removed ") == len(new)
    assert contents(lookalike) == before and not (lookalike / "pytracking" / "tracker" / "msdeaot").exists()
    assert main([*command, "--uninstall"]) == 0
    assert "nothing of ours" in capsys.readouterr().out


def test_what_is_not_ours_stays(lookalike, capsys):
    theirs = lookalike / "pytracking" / "run_msdeaot.py"
    theirs.write_text("# somebody's own\n")
    before = contents(lookalike)
    assert main(["install-pytracking", str(lookalike)]) == 2
    assert "pytracking/run_msdeaot.py" in capsys.readouterr().err and contents(lookalike) == before
    theirs.unlink()
    main(["install-pytracking", str(lookalike)])
    changed = lookalike / "pytracking" / "parameter" / "msdeaot" / "default.py"
    changed.write_bytes(changed.read_bytes() + b"# mine\n")
    assert main(["install-pytracking", str(lookalike)]) == 2
    assert main(["install-pytracking", str(lookalike), "--uninstall"]) == 0
    assert "kept      pytracking/parameter/msdeaot/default.py" in capsys.readouterr().out
    assert set(contents(lookalike)) == {*before, changed.relative_to(lookalike).as_posix()} - {
        "pytracking/run_msdeaot.py"
    }


def test_files_of_an_earlier_version_are_replaced(lookalike):
    pytracking_install.install(lookalike)
    path = lookalike / "pytracking" / "run_msdeaot.py"
    current, body = path.read_bytes(), b"print('earlier')\n"
    path.write_bytes(pytracking_install._signature(body) + body)
    assert ("updated", "pytracking/run_msdeaot.py") in pytracking_install.install(lookalike)
    assert path.read_bytes() == current


def test_another_folder_is_no_clone(tmp_path, capsys):
    assert main(["install-pytracking", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "visionml/pytracking" in error and "pip install pytracking" in error
    assert not any(tmp_path.iterdir())


def test_the_other_project_of_that_name_is_reported(lookalike, tmp_path, monkeypatch, caplog):
    pytracking_install.install(lookalike)
    assert not caplog.records
    metadata = tmp_path / "pytracking-0.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pytracking\nVersion: 0.2\n")
    (metadata / "top_level.txt").write_text("pytracking\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    pytracking_install.install(lookalike)
    assert "another project" in caplog.text


needs_clone = pytest.mark.skipif(not CLONE, reason="MSDEAOT_PYTRACKING does not name a clone of visionml/pytracking")


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A copy with our files in it, and settings that point to small datasets."""
    folder = tmp_path_factory.mktemp("pytracking") / "clone"
    leave = shutil.ignore_patterns(
        ".git", "local.py", "*_results", "networks", "result_plots", "__pycache__", "msdeaot*"
    )
    shutil.copytree(CLONE, folder, ignore=leave)
    for left in ("evaluation/trek150dataset.py", "run_msdeaot.py"):
        (folder / "pytracking" / left).unlink(missing_ok=True)
    pytracking_install.install(folder)
    data = folder / "data"
    (folder / "pytracking" / "evaluation" / "local.py").write_text(
        "from pytracking.evaluation.environment import EnvSettings\n\n\n"
        "def local_env_settings():\n"
        "    settings = EnvSettings()\n"
        f"    settings.trek150_path = {str(data / 'trek150')!r}\n"
        f"    settings.lasot_path = {str(data / 'lasot')!r}\n"
        "    return settings\n"
    )
    write_trek150(data / "trek150")
    code = "from pytracking.evaluation import lasotdataset as d; print(*d.LaSOTDataset().sequence_list)"
    write_lasot(data / "lasot", run(folder, "-c", code).split())
    return folder


def write_frames(folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    for index in range(FRAMES):
        cv2.imwrite(str(folder / name.format(index + 1)), frame(index)[0][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])


def write_trek150(root: Path) -> None:
    for name in ("P01-a", "P02-b"):
        write_frames(root / name / "img", "frame_{:010d}.jpg")
        truth = [[-1] * 4 if index == 2 else box_of(index) for index in range(FRAMES)]
        np.savetxt(root / name / "groundtruth_rect.txt", truth, delimiter=",", fmt="%g")


def write_lasot(root: Path, names: list[str]) -> None:
    """The truth of all sequences, since pytracking reads it whatever it runs; frames of the first."""
    assert len(names) == 280
    for name in names:
        folder = root / name.split("-")[0] / name
        folder.mkdir(parents=True)
        np.savetxt(folder / "groundtruth.txt", [box_of(index) for index in range(FRAMES)], delimiter=",", fmt="%g")
        for label in ("full_occlusion", "out_of_view"):
            (folder / f"{label}.txt").write_text(",".join("0" * FRAMES))
    write_frames(root / names[0].split("-")[0] / names[0] / "img", "{:08d}.jpg")


def run(clone: Path, *command: str) -> str:
    environment = os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, *command], cwd=clone, env=environment, capture_output=True, encoding="utf-8", timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def results(clone: Path, parameters: str, name: str) -> np.ndarray:
    return np.loadtxt(clone / "pytracking" / "tracking_results" / "msdeaot" / parameters / f"{name}.txt")


def check_boxes(boxes: np.ndarray) -> None:
    assert len(boxes) == FRAMES
    assert all(close(box, box_of(index)) for index, box in enumerate(boxes))


@needs_clone
def test_run_tracker_on_lasot(clone):
    run(clone, "pytracking/run_tracker.py", "msdeaot", "default", "--dataset_name", "lasot", "--sequence", "0")
    check_boxes(results(clone, "default", "airplane-1"))


@needs_clone
def test_trek150_as_an_experiment_by_the_launcher_and_in_the_analysis(clone):
    run(clone, "pytracking/run_experiment.py", "msdeaot", "trek150_ope")
    launcher = ("pytracking/run_msdeaot.py", "msdeaot", "masks", "--dataset_name", "trek150", "--threads", "1")
    run(clone, *launcher)
    for name in ("P01-a", "P02-b"):
        check_boxes(results(clone, "default", name))
        np.testing.assert_array_equal(results(clone, "masks", name), results(clone, "default", name))
        masks = clone / "pytracking" / "segmentation_results" / "msdeaot" / "masks" / name
        assert len(list(masks.glob("*.png"))) == FRAMES
    printed = run(
        clone,
        "-c",
        "from pytracking.experiments import msdeaot\n"
        "from pytracking.analysis.plot_results import plot_results, print_results\n"
        "trackers, dataset = msdeaot.trek150_ope()\n"
        "assert [d.target_visible.tolist() for d in dataset] == [[True, True, False, True]] * 2\n"
        "options = dict(exclude_invalid_frames=True)\n"
        "print_results(trackers, dataset, 'small', plot_types=('success', 'prec'), **options)\n"
        "plot_results(trackers, dataset, 'small', plot_types=('success',), **options)\n",
    )
    printed_auc = float(next(x for x in printed.splitlines() if x.startswith("msdeaot_default")).split("|")[1])
    boxes = results(clone, "default", "P01-a")
    overlaps = [rectangle_iou(Box(*boxes[index]), Box(*box_of(index))) for index in (0, 1, 3)]
    auc = np.mean([np.array(overlaps) > threshold for threshold in np.linspace(0, 1, 21)])
    assert printed_auc == pytest.approx(100 * auc, abs=0.01)
    assert (clone / "pytracking" / "result_plots" / "small" / "success_plot.pdf").is_file()


@needs_clone
def test_several_objects_through_pytrackings_runner(clone):
    """A sequence with two objects, of which one joins on the second frame; masks in, masks and boxes out."""
    write_frames(clone / "data" / "two", "{:05d}.jpg")
    from PIL import Image

    for index in (0, 1):
        png = Image.fromarray(frame(index)[1])
        png.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
        png.save(clone / "data" / "two" / f"{index}.png")
    run(
        clone,
        "-c",
        "import numpy as np\n"
        "from pytracking.evaluation import Sequence, trackerlist\n"
        "from pytracking.evaluation.running import run_sequence\n"
        f"frames = [f'data/two/{{i:05d}}.jpg' for i in range(1, {FRAMES + 1})]\n"
        f"boxes = {{'1': {box_of(0)}, '2': {OTHER}}}\n"
        f"truth = {{k: np.tile(b, ({FRAMES}, 1)) for k, b in boxes.items()}}\n"
        "start = {i: {'object_ids': [k], 'bbox': {k: boxes[k]}, 'mask': f'data/two/{i}.png'} "
        "for i, k in enumerate(('1', '2'))}\n"
        "two = Sequence('two', frames, 'x', truth, init_data=start, object_ids=['1', '2'], multiobj_mode=True)\n"
        "run_sequence(two, trackerlist('msdeaot', 'default')[0], debug=0)\n",
    )
    check_boxes(results(clone, "default", "two_1"))
    joined = results(clone, "default", "two_2")
    assert len(joined) == FRAMES - 1 and all(close(box, OTHER) for box in joined)
    folder = clone / "pytracking" / "segmentation_results" / "msdeaot" / "default" / "two"
    last = np.array(Image.open(folder / f"{FRAMES:05d}.png"))
    for label in (1, 2):
        assert overlap(last == label, frame(FRAMES - 1)[1] == label) > 0.6


@needs_clone
@pytest.mark.parametrize("parameters", ["default", "masks"])
def test_run_video(clone, parameters):
    """With a stand-in for the window; its keyboard gives the space that starts the video."""
    video = clone / "data" / "video.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter_fourcc(*"MJPG"), 10, SIZE[::-1])
    for index in range(FRAMES):
        writer.write(frame(index)[0][..., ::-1].copy())
    writer.release()
    code = (
        "import sys, runpy, cv2\n"
        "keys = iter([32])\n"
        "cv2.waitKey = lambda *_: next(keys, -1)\n"
        "for name in ('namedWindow', 'resizeWindow', 'setMouseCallback', 'imshow', 'destroyAllWindows'):\n"
        "    setattr(cv2, name, lambda *_: None)\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    box = [str(value) for value in box_of(0)]
    run(
        clone,
        "-c",
        code,
        "pytracking/run_video.py",
        "msdeaot",
        parameters,
        str(video),
        "--optional_box",
        *box,
        "--save",
    )
    boxes = results(clone, parameters, "video_video_1")
    assert len(boxes) == FRAMES + 1  # pytracking tracks the first frame once more
    check_boxes(boxes[1:])
