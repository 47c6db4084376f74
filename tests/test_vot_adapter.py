"""The TraX conversation, one tracker process at a time, driven by the toolkit's own runtime."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from msdeaot_integration import registry_path, requirements

vot = pytest.importorskip("vot", reason="needs the extra `vot`")
from vot.region import Mask, Polygon, Rectangle, RegionType  # noqa: E402
from vot.tracker import ObjectStatus, Registry, TrackerException  # noqa: E402

HERE = Path(__file__).parent
SIZE = (48, 64)
STATIC = "from msdeaot_integration.static_box import run; run()"


class Frames:
    """A bright disc that moves two pixels a frame, as the toolkit hands frames to a tracker: by file name."""

    def __init__(self, folder: Path) -> None:
        self.paths, self.masks = [], []
        noise = np.random.default_rng(0).integers(0, 60, (*SIZE, 3), dtype=np.uint8)
        for index in range(6):
            mask = cv2.circle(np.zeros(SIZE, np.uint8), (20 + 2 * index, 24), 9, 1, -1)
            image = np.where(mask[..., None] > 0, np.uint8([40, 200, 230]), noise)
            self.masks.append(mask)
            self.paths.append(folder / f"{index}.png")
            cv2.imwrite(str(self.paths[-1]), image)

    def __getitem__(self, index: int) -> _Frame:
        return _Frame(self.paths[index])


class _Frame:
    def __init__(self, path: Path) -> None:
        self.path = path

    def filename(self, channel: str | None = None) -> str:
        return str(self.path)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """On a busy machine threads that wait for each other take a hundred times as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Frames:
    return Frames(tmp_path_factory.mktemp("frames"))


@pytest.fixture(scope="module")
def shipped():
    """A tracker of the shipped registry by name; its process is kept for the tests that follow."""
    registry = Registry([str(registry_path())])
    started = {}

    def start(name: str):
        if name not in started:
            started[name] = registry[name].runtime()
        return started[name]

    yield start
    for runtime in started.values():
        runtime.stop()


@pytest.fixture
def started(tmp_path):
    """A tracker process of a Python command's own."""
    runtimes = []

    def start(command: str):
        registry = tmp_path / "trackers.ini"
        registry.write_text(f"[tracker]\nprotocol = traxpython\ncommand = {command}\npaths = {HERE}\ntimeout = 120\n")
        runtimes.append(Registry([str(registry)])["tracker"].runtime())
        return runtimes[-1]

    yield start
    for runtime in runtimes:
        runtime.stop()


def run(runtime, frames, region, count):
    """The states of `count` frames after initialization with `region` on the first."""
    answers = [runtime.initialize(frames[0], [ObjectStatus(region, {})])]
    answers += [runtime.update(frames[index]) for index in range(1, count)]
    return [states for states, _ in answers]


def pixels(region) -> np.ndarray:
    return region.rasterize((0, 0, SIZE[1] - 1, SIZE[0] - 1))


def test_a_second_video_reuses_the_process_and_starts_afresh(shipped, frames):
    tracker = shipped("MSDeAOT")
    first = run(tracker, frames, Mask(frames.masks[0], optimize=True), 4)
    process = tracker._process._process.pid
    run(tracker, frames, Mask(1 - frames.masks[0]), 2)
    again = run(tracker, frames, Mask(frames.masks[0], optimize=True), 4)
    assert tracker._process._process.pid == process
    for (one,), (other,) in zip(first, again, strict=True):
        np.testing.assert_array_equal(pixels(one.region), pixels(other.region))
        assert one.properties == other.properties
        assert 0 <= float(one.properties["confidence"]) <= 1


@pytest.mark.parametrize(
    ("section", "given", "answer"),
    [
        ("MSDeAOT", "mask", RegionType.MASK),
        ("MSDeAOT", "rectangle", RegionType.RECTANGLE),
        ("MSDeAOT_mask", "rectangle", RegionType.MASK),
        ("MSDeAOT_rectangle", "mask", RegionType.RECTANGLE),
    ],
)
def test_answers_come_in_the_region_type_asked_for(shipped, frames, section, given, answer):
    region = Mask(frames.masks[0]) if given == "mask" else Rectangle(11, 15, 19, 19)
    for (status,) in run(shipped(section), frames, region, 2):
        assert status.region.type == answer


def test_polygon_counts_as_its_upright_rectangle(started, frames):
    tracker = started(STATIC)
    ((status,),) = run(tracker, frames, Polygon([(10, 5), (20, 8.5), (17, 21), (8, 15)]), 1)
    box = status.region
    assert (box.x, box.y, box.width, box.height) == (8, 5, 12, 16)


@pytest.mark.parametrize("offset", [(30, 20), (-6, -4), (55, 40)])
def test_a_mask_given_as_a_patch_is_placed_in_the_frame(started, frames, offset):
    tracker = started(STATIC)
    patch = np.random.default_rng(0).integers(0, 2, (12, 14), dtype=np.uint8)
    ((status,),) = run(tracker, frames, Mask(patch, offset), 1)
    np.testing.assert_array_equal(pixels(status.region), pixels(Mask(patch, offset)))


def test_an_absent_object_is_an_empty_mask(started, frames):
    tracker = started("from vot_standins import forgetful; forgetful('mask')")
    states = run(tracker, frames, Mask(frames.masks[0]), 6)
    assert [pixels(status.region).any() for (status,) in states] == [True, True, False, False, True, True]
    assert [float(status.properties["confidence"]) for (status,) in states] == [1, 1, 0, 0, 1, 1]


def test_an_absent_object_is_its_last_rectangle(started, frames):
    tracker = started("from vot_standins import forgetful; forgetful('rectangle')")
    states = run(tracker, frames, Rectangle(11, 15, 19, 19), 4)
    box = states[3][0].region
    assert (box.x, box.y, box.width, box.height) == (7, 8, 9, 10)
    assert float(states[3][0].properties["confidence"]) == 0


def test_objects_join_later_and_keep_their_order(shipped, frames):
    tracker = shipped("MSDeAOT_multi")
    assert tracker.multiobject
    tracker.initialize(frames[0], [ObjectStatus(Mask(frames.masks[0]), {})])
    corner = np.zeros(SIZE, np.uint8)
    corner[:10, :12] = 1
    joined, _ = tracker.update(frames[1], [ObjectStatus(Mask(corner), {})])
    both, _ = tracker.update(frames[2])
    assert len(joined) == len(both) == 2
    np.testing.assert_array_equal(pixels(joined[1].region), corner)
    assert not (pixels(both[0].region) & pixels(both[1].region)).any()


def conversation_error(runtime, frames, count=3) -> TrackerException:
    with pytest.raises(TrackerException) as caught:
        run(runtime, frames, Mask(frames.masks[0]), count)
    return caught.value


def log_lines(error: TrackerException) -> list[str]:
    return [line for line in error.log.splitlines() if not line.startswith("@@TRAX:")]


def test_an_expected_error_is_one_line_in_the_log(started, frames):
    error = conversation_error(started("from vot_standins import failing; failing(True)"), frames)
    assert "the wheel" in str(error)
    warning, failure, *rest = log_lines(error)
    assert "previ" in warning and error.log.isascii()
    assert "TrackerError" in failure and "came off" in failure
    assert "Traceback" not in error.log and all("exited" in line for line in rest)


def test_an_unexpected_error_is_logged_with_its_traceback(started, frames):
    error = conversation_error(started("from vot_standins import failing; failing(False)"), frames)
    assert "KeyError" in str(error)
    assert "Traceback" in error.log and "came off" in error.log


def test_weights_that_are_not_there_are_one_line_in_the_log(started, frames):
    tracker = started("from msdeaot_integration.vot import run; run(weights='nowhere.safetensors')")
    line, *rest = log_lines(conversation_error(tracker, frames))
    assert "nowhere.safetensors" in line
    assert rest == ["Process not alive anymore, unable to retrieve return code"]


def test_a_damaged_frame_is_named_in_the_log(started, frames, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(frames.paths[0].read_bytes()[:40])
    tracker = started(STATIC)
    with pytest.raises(TrackerException, match=r"broken\.png") as caught:
        tracker.initialize(_Frame(broken), [ObjectStatus(Mask(frames.masks[0]), {})])
    assert "Traceback" not in caught.value.log


def test_an_empty_mask_is_refused(started, frames):
    with pytest.raises(TrackerException, match="empty"):
        run(started(STATIC), frames, Mask(np.ones((3, 3), np.uint8), (200, 200)), 1)


def test_other_projects_of_the_same_name_are_told_apart(tmp_path, monkeypatch):
    requirements.require_toolkit()
    (tmp_path / "trax").mkdir()
    (tmp_path / "trax" / "__init__.py").write_text("")
    metadata = tmp_path / "trax-1.4.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: trax\nVersion: 1.4.1\n")
    (metadata / "top_level.txt").write_text("trax\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError, match=r"'trax'.* comes from trax, another project.*msdeaot-tracker\[vot\]"):
        requirements.require_trax()


def test_a_missing_toolkit_names_the_extra(monkeypatch):
    monkeypatch.setattr(requirements, "find_spec", lambda module: None)
    with pytest.raises(ImportError, match=r"vot-toolkit is not installed: .*msdeaot-tracker\[vot\]"):
        requirements.require_toolkit()
