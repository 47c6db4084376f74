"""Baselines in processes of their own: OpenCV's trackers, a stand-in of a clone of pytracking, and what goes wrong."""

import ast
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from msdeaot_tracker.cli.main import main
from msdeaot_tracker.evaluation import PipeTracker, StaticTracker, check_baseline, make_baseline, pipe
from msdeaot_tracker.geometry import rectangle_iou
from msdeaot_tracker.types import Box, InputError, TrackerError

FRAMES = 8
CONTRIB = os.environ.get("MSDEAOT_OPENCV_CONTRIB")  # a python with opencv-contrib-python, or its headless kind
PROGRAM = Path(pipe.__file__).parent / "child" / "__main__.py"


def picture(index: int) -> np.ndarray:
    """A red and yellow board that goes right over a dark ground; pixels are RGB."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 60, (90, 160, 3), dtype=np.uint8)
    board = np.kron(rng.integers(0, 2, (6, 6)), np.ones((5, 5), int))[..., None]
    image[30:60, 30 + 3 * index : 60 + 3 * index] = np.where(board, [230, 210, 30], [200, 20, 40])
    return image


def truth(index: int) -> Box:
    return Box(30.0 + 3 * index, 30, 30, 30)


def follow(tracker, frames: int = FRAMES) -> list[Box]:
    tracker.initialize(picture(0), {1: truth(0)})
    return [tracker.track(picture(index)).boxes[1] for index in range(1, frames)]


# OpenCV's


def test_mil_follows_and_each_run_is_the_first():
    tracker = make_baseline("opencv:mil")
    boxes = follow(tracker)
    overlaps = [rectangle_iou(box, truth(index)) for index, box in enumerate(boxes, start=1)]
    assert min(overlaps) > 0.4 and np.mean(overlaps) > 0.55
    assert follow(tracker) == boxes  # MIL draws random numbers
    result = tracker.track(picture(0))
    assert result.frame_index == FRAMES and result.labels.shape == (90, 160) and set(np.unique(result.labels)) == {0, 1}
    assert tracker.about() == f"OpenCV {cv2.__version__}"
    tracker.close()


@pytest.mark.skipif(CONTRIB is None, reason="MSDEAOT_OPENCV_CONTRIB names no python with opencv-contrib-python")
@pytest.mark.parametrize("name", ["opencv:csrt", "opencv:kcf", "opencv:mil"])
def test_trackers_of_another_environment(name):
    boxes = follow(make_baseline(name, python=CONTRIB))
    assert min(rectangle_iou(box, truth(index)) for index, box in enumerate(boxes, start=1)) > 0.4


@pytest.mark.skipif(hasattr(cv2, "TrackerCSRT_create"), reason="this OpenCV has CSRT")
@pytest.mark.parametrize("name", ["opencv:csrt", "opencv:kcf"])
def test_what_this_opencv_lacks_is_named_with_its_remedy(name):
    with pytest.raises(TrackerError, match=rf"has no {name[7:].upper()}: opencv-contrib-python has it.* with --python"):
        make_baseline(name).about()


# pytracking's


CLONE = '''
import os, sys, time

class Parameters:
    pass

class Tracker:
    """As pytracking's, as far as it is used: its trackers are made of the parameters, anew for each run."""

    def __init__(self, name, parameter_name):
        self.name, self.parameter_name = name, parameter_name
        self.tracker_class = Kind if name == "kind" else None

    def get_parameters(self):
        return Parameters()

    def create_tracker(self, parameters):
        assert parameters.debug == 0 and not parameters.visualization
        return Kind(self.parameter_name)

class Kind:
    def __init__(self, how):
        self.how, self.frame, self.features = how, 0, False

    def initialize_features(self):
        self.features = True

    def initialize(self, image, info):
        assert self.features
        self.box = info["init_bbox"]
        print("this is not an answer")
        self.bright = image.max() == 255

    def track(self, image, info):
        self.frame += 1
        os.write(1, b"nor is this" + os.linesep.encode())
        if self.frame == 3 and (self.bright or "always" in self.how):
            if "exit" in self.how:
                print("CUDA is on fire", file=sys.stderr)
                os._exit(9)
            if "raise" in self.how:
                raise KeyError("scale")
            if "hang" in self.how:
                time.sleep(600)
            if "nan" in self.how:
                return {"target_bbox": [1.0, 2.0, float("nan"), 3.0]}
            if "lost" in self.how:
                return {"target_bbox": None}
        x, y, w, h = self.box
        return {"target_bbox": [x + image[0, 0, 0] + 100 * image[0, 0, 2] + self.frame, y, w, h]}
'''


@pytest.fixture
def clone(tmp_path) -> Path:
    folder = tmp_path / "clone" / "pytracking" / "evaluation"
    folder.mkdir(parents=True)
    (folder / "tracker.py").write_text(CLONE)
    (folder / "__init__.py").write_text("from .tracker import Tracker")
    (folder.parent / "__init__.py").touch()
    (tmp_path / "clone" / "torch.py").write_text("__version__ = '0.0.stand-in'")
    return tmp_path / "clone"


def test_a_tracker_of_a_clone(clone):
    tracker = make_baseline("pytracking:kind/steady", pytracking=clone)
    assert tracker.about() == "pytracking, PyTorch 0.0.stand-in"
    image = np.zeros((4, 6, 3), np.uint8)
    image[0, 0] = 7, 0, 2  # red, green, blue
    for _ in range(2):  # the frames of a run begin anew
        tracker.initialize(image, {5: Box(1, 2, 3, 4)})
        assert [tracker.track(image).boxes for _ in range(2)] == [{5: (209.0, 2, 3, 4)}, {5: (210.0, 2, 3, 4)}]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("always_exit", "ended with exit status 9; CUDA is on fire"),
        ("always_raise", "KeyError: 'scale'"),
        ("always_hang", r"did not answer within 1.5 seconds"),
        ("always_nan", r"answered \[1.0, 2.0, nan, 3.0\] for a box"),
    ],
)
def test_what_goes_wrong_ends_the_run_and_no_other(clone, how, message):
    tracker = make_baseline(f"pytracking:kind/{how}", pytracking=clone, timeout=1.5 if "hang" in how else 60)
    for _ in range(2):
        with pytest.raises(TrackerError, match=f"pytracking:kind/{how}:? {message}"):
            follow(tracker)
    if "exit" in how:
        with pytest.raises(TrackerError, match="ended on an earlier frame"):
            tracker.track(picture(4))
    assert tracker.initialize(picture(0), {1: truth(0)}).boxes == {1: truth(0)}


def test_where_the_object_is_not_found_there_is_no_box(clone):
    boxes = follow(make_baseline("pytracking:kind/always_lost", pytracking=clone))
    assert [box is None for box in boxes] == [False, False, True, False, False, False, False]


@pytest.fixture
def dataset(tmp_path) -> Path:
    for name, brightest in (("bright", 255), ("dark", 200)):
        folder = tmp_path / "data" / name
        (folder / "img").mkdir(parents=True)
        for index in range(1, 7):
            Image.fromarray(np.full((12, 16, 3), brightest, np.uint8)).save(folder / "img" / f"{index:05d}.png")
        (folder / "groundtruth_rect.txt").write_text("1,2,5,6\n" * 6)
    return tmp_path / "data"


def test_in_an_evaluation_the_rest_goes_on(dataset, clone, tmp_path, capsys):
    command = ["evaluate", str(dataset), "--dataset", "trek150", "--protocol", "ope", "--out", str(tmp_path / "out")]
    command += ["--tracker", "pytracking:kind/exit"]
    assert main([*command, "--pytracking", str(clone)]) == 1
    captured = capsys.readouterr()
    assert "bright (ope) failed: pytracking:kind/exit ended with exit status 9" in captured.err
    assert "1 runs done, 0 were finished before, 1 failed" in captured.out
    folder = tmp_path / "out" / "TREK-150" / "pytracking-kind-exit" / "ope"
    assert sorted(path.name for path in folder.glob("*.txt")) == ["dark.txt"]
    assert (folder / "dark.txt").read_text().startswith("1.000,2.000,5.000,6.000\n")
    assert "stand-in" in (folder / "settings.json").read_text()
    assert main(command) == 2
    assert "needs a clone of github.com/visionml/pytracking, named with --pytracking" in capsys.readouterr().err


def test_what_a_clone_lacks_is_named(clone, tmp_path):
    tracker = make_baseline("pytracking:atom/default", pytracking=clone)
    for _ in range(2):
        with pytest.raises(TrackerError, match="the clone has no tracker 'atom'"):
            tracker.initialize(picture(0), {1: truth(0)})
    with pytest.raises(InputError, match=r"has no pytracking/evaluation/tracker\.py"):
        make_baseline("pytracking:atom/default", pytracking=tmp_path)


# All


@pytest.mark.parametrize(
    "name", ["opencv", "opencv:nano", "pytracking:atom", "pytracking:../x/y", "static:1", "", "siam"]
)
def test_names_that_are_none(name, capsys):
    with pytest.raises(InputError, match="is none of static, opencv:mil"):
        check_baseline(name)
    with pytest.raises(SystemExit):
        main(["evaluate", ".", "--tracker", name])
    assert "is none of static" in capsys.readouterr().err


def test_static_needs_no_process():
    assert isinstance(make_baseline("static"), StaticTracker)


def test_other_evaluations_have_no_baselines_that_follow_boxes(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path), "--init", "box", "--tracker", "opencv:mil"]) == 2
    assert "opencv:mil follows boxes: it needs --dataset" in capsys.readouterr().err


def test_a_python_that_is_none(tmp_path):
    with pytest.raises(InputError, match=r"--python .*nothing"):
        make_baseline("opencv:mil", python=str(tmp_path / "nothing")).about()


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script is no program there")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (r"printf '\377\377\377\377'; sleep 20", "answered something else: an answer of 4294967295 bytes"),
        (r"printf '\000\000\000\002{]'; sleep 20", "answered something else"),
        (r"printf '\000\000\000\002[]'; sleep 20", "answered something else: an answer that is not an object"),
        (r"printf '\000\000\000\002{}'; sleep 20", "speaks version None of the messages, not 1"),
        ("exit 3", "ended with exit status 3"),
    ],
)
def test_a_program_that_is_no_tracker(tmp_path, words, message):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{words}\n")
    program.chmod(0o755)
    with pytest.raises(TrackerError, match=message):
        PipeTracker("opencv:mil", str(program), timeout=30).about()


def test_a_process_starts_from_a_box_of_one_object():
    with pytest.raises(InputError, match="starts from a box, not from a mask"):
        make_baseline("opencv:mil").initialize(picture(0), {1: np.ones((90, 160), bool)})


def test_the_program_needs_nothing_of_ours():
    names = set()
    for node in ast.walk(ast.parse(PROGRAM.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module.split(".")[0])
    assert names - set(sys.stdlib_module_names) == {"cv2", "numpy", "pytracking", "torch"}
