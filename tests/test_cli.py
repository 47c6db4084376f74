"""The command line as a user meets it: results on disk, messages, exit codes."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import msdeaot_tracker
import msdeaot_tracker.video as video_module
from msdeaot_tracker.checkpoints import file_sha256, save_checkpoint
from msdeaot_tracker.cli.main import main
from msdeaot_tracker.cli.results import ResultWriter
from msdeaot_tracker.config import find_preset
from msdeaot_tracker.device import pick_precision
from msdeaot_tracker.files import whole_file
from msdeaot_tracker.geometry import main_parts, margins, mask_to_box, with_margins
from msdeaot_tracker.images import read_mask, write_image, write_mask
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.types import Box, FrameResult
from msdeaot_tracker.video import Frame, open_source

FRAMES, HEIGHT, WIDTH = 4, 48, 64
BOX = "10,12,20,16"
DAVIS = Path(__file__).parents[2] / "shared" / "real" / "davis16_dev"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Frames this small gain nothing from more, and lose a lot on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> str:
    """Random weights: these tests are about everything around the network."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_checkpoint(path, MSDeAOT(find_preset("msdeaot-small")))
    return str(path)


def frame(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 60, (height, width, 3)).astype(np.uint8)
    image[12:28, 10 + index : 30 + index] += np.array([180, 90, 0], np.uint8)
    return image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "Bilder – 图像"
    path.mkdir()
    for index in range(FRAMES):
        write_image(path / f"{index}.png", frame(index))
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 20, (WIDTH, HEIGHT))
    for index in range(FRAMES):
        writer.write(frame(index)[..., ::-1])
    writer.release()
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out – 出"


@pytest.fixture
def track(weights, out):
    """Runs `msdeaot track` in this process and returns its exit code."""

    def run(source, *options) -> int:
        arguments = ["track", source, "--weights", weights, "--device", "cpu", "--out", out, *options]
        return main([str(argument) for argument in arguments])

    return run


def boxes(path: Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",", ndmin=2)


def summary(out: Path) -> dict:
    return json.loads((out / "result.json").read_text(encoding="utf-8"))


def check_whole(out: Path, frames: int, first: int = 0) -> dict:
    """Everything in the folder can be read and speaks of the same number of frames."""
    report = summary(out)
    assert report["frames"]["count"] == frames and report["frames"]["first"] == first
    assert len(report["frames"]["seconds"]) == len(report["frames"]["timestamps"]) == frames
    assert all(len(boxes(path)) == frames for path in out.glob("boxes*.txt"))
    masks = sorted((out / "masks").iterdir())
    assert [path.name for path in masks] == [f"{index:08d}.png" for index in range(first, first + frames)]
    assert all(read_mask(path).shape == (HEIGHT, WIDTH) for path in masks)
    assert len(list(open_source(out / "overlay.mp4"))) == frames
    return report


def check_refused(code: int, captured, *words: str) -> None:
    """One line that names what is wrong."""
    assert code == 2
    (line,) = [line for line in captured.err.splitlines() if "WARNING" not in line]
    assert line.startswith("msdeaot: error: ")
    assert "Traceback" not in captured.err
    for word in words:
        assert word in line


# What a run leaves


def test_a_folder_of_frames_from_a_box(track, folder, out, weights):
    exact = ("--set", "tracker.box_growth=None", "--set", "tracker.box_probability=0.5")
    assert track(folder, "--box", BOX, *exact) == 0
    report = check_whole(out, FRAMES)
    assert boxes(out / "boxes.txt")[0].tolist() == [10, 12, 20, 16]
    assert report["status"] == "complete" and report["error"] is None
    assert report["preset"] == "msdeaot-small" and report["settings"]["memory"]["long_term_max"] is not None
    assert report["weights"]["sha256"] == file_sha256(weights)
    assert report["versions"]["msdeaot-tracker"] == msdeaot_tracker.__version__
    assert report["versions"]["torch"] == torch.__version__
    assert report["precision"] == pick_precision("auto", torch.device("cpu"))
    assert report["objects"] == {"1": [10, 12, 20, 16]} and report["size"] == [WIDTH, HEIGHT]
    assert all(seconds > 0 for seconds in report["frames"]["seconds"])
    assert report["frames"]["timestamps"] == [None] * FRAMES
    rectangles = [
        mask_to_box(main_parts(read_mask(path) == 1, report["settings"]["tracker"]["box_share"]))
        for path in sorted((out / "masks").iterdir())
    ]
    room = margins(Box(10, 12, 20, 16), rectangles[0])
    for index in range(1, FRAMES):  # boxes, masks and absences tell one story
        box = rectangles[index]
        line = boxes(out / "boxes.txt")[index]
        expected = with_margins(box, room, HEIGHT, WIDTH) if box else [np.nan] * 4
        assert line == pytest.approx(expected, abs=0.01, nan_ok=True)
        assert (index in report["frames"]["absent"]["1"]) == (box is None)


def test_the_command_gives_what_the_library_gives(track, folder, out, weights):
    assert track(folder, "--box", BOX, "--initializer", "box") == 0
    model = msdeaot_tracker.load_model(weights=weights, device="cpu")
    tracker = msdeaot_tracker.Tracker(model, initializer="box")
    results = [tracker.initialize(frame(0), {1: (10, 12, 20, 16)})]
    results += [tracker.track(frame(index)) for index in range(1, FRAMES)]
    for result in results:
        np.testing.assert_array_equal(read_mask(out / "masks" / f"{result.frame_index:08d}.png"), result.labels)


def test_a_video_keeps_its_rate_and_times(track, video, out):
    assert track(video, "--box", BOX) == 0
    report = check_whole(out, FRAMES)
    assert report["fps"] == 20 and open_source(out / "overlay.mp4").fps == 20
    np.testing.assert_allclose(report["frames"]["timestamps"], np.arange(FRAMES) / 20, atol=1e-3)


def test_a_later_start(track, folder, out):
    assert track(folder, "--box", BOX, "--frame", 2) == 0
    check_whole(out, FRAMES - 2, first=2)
    assert boxes(out / "boxes.txt")[0].tolist() == [10, 12, 20, 16]


def test_several_objects_from_a_mask_and_a_box(track, folder, out, tmp_path):
    labels = np.zeros((HEIGHT, WIDTH), int)
    labels[4:10, 40:50], labels[12:28, 10:30] = 2, 7
    write_mask(tmp_path / "masks.png", labels)
    assert track(folder, "--mask", tmp_path / "masks.png", "--object", "3=50,30,10,12.5") == 0
    report = check_whole(out, FRAMES)
    assert sorted(path.name for path in out.glob("boxes*")) == ["boxes_2.txt", "boxes_3.txt", "boxes_7.txt"]
    assert boxes(out / "boxes_2.txt")[0].tolist() == [40, 4, 10, 6]
    assert boxes(out / "boxes_3.txt")[0].tolist() == [50, 30, 10, 12.5]
    first = read_mask(out / "masks" / "00000000.png")
    np.testing.assert_array_equal(first == 7, labels == 7)
    assert report["objects"] == {"2": "mask", "7": "mask", "3": [50, 30, 10, 12.5]}
    assert set(report["frames"]["absent"]) == {"2", "3", "7"}


def test_an_absent_object_is_nan_and_listed(out):
    labels = np.zeros((HEIGHT, WIDTH), np.int32)
    with ResultWriter(out, {}, {1: Box(1, 2, 3, 4)}, None) as writer:
        for index, box in enumerate([Box(1, 2, 3, 4), None, Box(5, 6, 7, 8)]):
            result = FrameResult(index, labels, {1: box}, {1: 0.5 if box else 0.0})
            writer.write(Frame(index + 10, frame(0), None, ""), result, 0.1)
    assert (out / "boxes.txt").read_text().splitlines() == ["1,2,3,4", "nan,nan,nan,nan", "5,6,7,8"]
    assert check_whole(out, 3, first=10)["frames"]["absent"] == {"1": [11]}


def test_a_second_run_replaces_the_first(track, folder, out):
    assert track(folder, "--box", BOX) == 0
    assert track(folder, "--object", f"5={BOX}", "--frame", 2) == 0
    check_whole(out, FRAMES - 2, first=2)


def test_files_of_the_user_are_not_removed(track, folder, out, capsys):
    (out / "masks").mkdir(parents=True)
    for name in ("00000000.png", "masks/00000000.png"):
        write_mask(out / name, np.ones((2, 2), int))
    check_refused(track(folder, "--box", BOX), capsys.readouterr(), "00000000.png", "another folder")
    assert len(list((out / "masks").iterdir())) == 1
    (out / "masks" / "00000000.png").unlink()
    assert track(folder, "--box", BOX) == 0 and track(folder, "--box", BOX) == 0
    assert read_mask(out / "00000000.png").shape == (2, 2)


@pytest.mark.parametrize("name", ["boxes.txt", "overlay.mp4", "result.json", "masks/notes.txt", "masks"])
def test_a_file_of_the_users_is_never_replaced(track, folder, out, capsys, name):
    path = out / name
    path.parent.mkdir(parents=True)
    path.write_text("the user's own")
    check_refused(track(folder, "--box", BOX), capsys.readouterr(), path.name, "another folder")
    assert [p for p in out.rglob("*") if p.is_file()] == [path] and path.read_text() == "the user's own"


def test_a_file_that_was_put_beside_earlier_results_is_kept(track, folder, out, capsys):
    assert track(folder, "--box", BOX) == 0
    (out / "boxes_2.txt").write_text("the user's own")
    assert track(folder, "--box", BOX) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()
    code = track(folder, "--object", f"1={BOX}", "--object", f"2={BOX}")
    check_refused(code, capsys.readouterr(), "boxes_2.txt is not from an earlier run")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_results_do_not_take_the_place_of_what_is_read(track, folder, out, capsys):
    assert track(folder, "--box", BOX) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for source, options in (
        (out / "overlay.mp4", ["--box", BOX]),
        (out / "masks", ["--box", BOX]),
        (folder, ["--mask", out / "masks" / "00000001.png"]),
    ):
        check_refused(track(source, *options), capsys.readouterr(), "is read by this run")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "text", ["[]", '{"files": ["../mine.txt"], "frames": {"first": 0, "count": 1}, "status": "running"}', "{", '"a"']
)
def test_a_result_file_of_another_origin_lists_nothing(track, folder, out, capsys, text):
    out.mkdir()
    (out.parent / "mine.txt").write_text("mine")
    (out / "result.json").write_text(text)
    (out / "boxes.txt").write_text("mine")
    check_refused(track(folder, "--box", BOX), capsys.readouterr(), "not from an earlier run")
    assert (out.parent / "mine.txt").read_text() == (out / "boxes.txt").read_text() == "mine"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    (tmp_path / "a.txt.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space.*a.txt'$"), whole_file(tmp_path / "a.txt") as partial:
        partial.write_bytes(bytes(2000))
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_place_of_a_folder_is_named(track, folder, out, capsys):
    out.write_text("mine")
    check_refused(track(folder, "--box", BOX, "--out", out), capsys.readouterr(), f"{out / 'masks'}: Not a directory")


def test_where_the_network_looks_is_a_setting_and_can_be_drawn(track, folder, out):
    frames = {}
    for view in ("full", "follow"):
        assert track(folder, "--box", BOX, "--out", out, "--draw-views", "--set", f"tracker.view={view}") == 0
        assert summary(out)["settings"]["tracker"]["view"] == view
        frames[view] = [frame.image for frame in open_source(out / "overlay.mp4")]
    assert any(not np.array_equal(a, b) for a, b in zip(*frames.values(), strict=True))


def test_settings_reach_the_tracker(track, folder, out):
    assert track(folder, "--box", BOX, "--set", "memory.long_term_max=3", "--set", "tracker.long_edge=32") == 0
    settings = summary(out)["settings"]
    assert settings["memory"]["long_term_max"] == 3 and settings["tracker"]["long_edge"] == 32


@pytest.mark.parametrize("kind", ["L", "LA", "RGBA", "16 bits"])
def test_frames_of_other_kinds(track, folder, out, kind):
    for path in folder.iterdir():
        if kind == "16 bits":
            cv2.imencode(".png", np.asarray(Image.open(path)).astype(np.uint16) * 257)[1].tofile(path)
        else:
            Image.open(path).convert(kind).save(path)
    assert track(folder, "--box", BOX) == 0
    check_whole(out, FRAMES)


# Bad input


@pytest.mark.parametrize(
    "box, words",
    [
        ("100,12,20,16", "(100, 12, 20, 16) lies outside"),
        ("-30,12,20,16", "(-30, 12, 20, 16) lies outside"),
        ("10,12,0,16", "(10, 12, 0, 16) has no area"),
        ("10,12,20,-16", "(10, 12, 20, -16) has no area"),
        ("nan,12,20,16", "(nan, 12, 20, 16) is not finite"),
        ("10,12,inf,16", "(10, 12, inf, 16) is not finite"),
    ],
)
def test_boxes_that_are_none(track, folder, out, capsys, box, words):
    check_refused(track(folder, "--box", box), capsys.readouterr(), words)
    assert not out.exists()


def test_a_box_partly_outside_is_clipped_with_a_warning(track, folder, out, caplog):
    assert track(folder, "--box", "-10,12,30,16", "--initializer", "box") == 0
    assert "(-10, 12, 30, 16)" in caplog.text and "clipped" in caplog.text
    assert boxes(out / "boxes.txt")[0].tolist() == [-10, 12, 30, 16]  # as it was given
    assert mask_to_box(read_mask(out / "masks" / "00000000.png")) == (0, 12, 20, 16)


@pytest.mark.parametrize(
    "options, words",
    [
        (["--box", "1,2,3"], "'1,2,3' is not X,Y,W,H"),
        (["--box", "1,2,3,wide"], "'1,2,3,wide' is not X,Y,W,H"),
        (["--object", "1,2,3,4"], "'1,2,3,4' is not ID=X,Y,W,H"),
        (["--box", BOX, "--mask", "m.png"], "not allowed with"),
    ],
)
def test_options_that_cannot_be_parsed(track, folder, capsys, options, words):
    with pytest.raises(SystemExit) as exit_:
        track(folder, *options)
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, words",
    [
        ([], "nothing to track"),
        (["--object", "0=1,2,3,4"], "object id 0"),
        (["--object", "255=1,2,3,4"], "object id 255"),
        (["--box", BOX, "--object", f"1={BOX}"], "--object 1"),
        (["--box", BOX, "--frame", "4"], "no frame 4"),
        (["--box", BOX, "--frame", "-1"], "-1 is negative"),
        (["--box", BOX, "--preset", "deaot-xl"], "unknown preset 'deaot-xl'"),
        (["--box", BOX, "--initializer", "sum"], "unknown initializer 'sum'"),
        (["--box", BOX, "--device", "cuda:99"], "cuda:99"),
        (["--box", BOX, "--device", "abacus"], "abacus"),
        (["--box", BOX, "--set", "memory.size=3"], "memory.size=3"),
        (["--box", BOX, "--mask=missing.png"], "not allowed"),
        (["--mask", "missing.png"], "missing.png does not exist"),
    ],
)
def test_options_that_make_no_sense(track, folder, out, capsys, options, words):
    try:
        code = track(folder, *options)
    except SystemExit:
        assert words == "not allowed" and words in capsys.readouterr().err
        return
    check_refused(code, capsys.readouterr(), words)
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["trak", "video.mp4"], "did you mean 'track'?"),
        (["track", "video.mp4", "--bx", "1,2,3,4", "--out", "o"], "did you mean '--box'?"),
        (["track", "video.mp4", "--box-from", "mas", "--out", "o"], "did you mean 'mask'?"),
    ],
)
def test_what_was_meant_is_named(capsys, arguments, words):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2 and words in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, words",
    [
        (["--preset", "msdeaot-smal"], "did you mean 'msdeaot-small'?"),
        (["--set", "memory.long_term_maks=3"], "did you mean 'long_term_max'?"),
        (["--initializer", "grabcat"], "did you mean 'grabcut'?"),
        (["--initializer", "grabcut", "--initializer-set", "iteration=3"], "did you mean 'iterations'?"),
        (["--set", "tracker.box_margins=perhaps"], "got 'perhaps'"),
    ],
)
def test_what_was_meant_is_named_for_values_too(track, folder, capsys, options, words):
    check_refused(track(folder, "--box", BOX, *options), capsys.readouterr(), words)


@pytest.mark.parametrize("word, value", [("yes", True), ("off", False), ("False", False)])
def test_switches_in_words(word, value):
    preset = msdeaot_tracker.override(find_preset("msdeaot-small"), f"tracker.box_margins={word}")
    assert preset.tracker.box_margins is value


def test_boxes_that_look_like_something_else_get_a_hint(track, folder, out, capsys, caplog):
    check_refused(track(folder, "--box", "40,80,60,90"), capsys.readouterr(), "lies outside")
    assert track(folder, "--box", "10,12,60,40", "--initializer", "box") == 0
    assert "if it was meant as two corners, (x, y, w, h) is (10, 12, 50, 28)" in caplog.text
    assert track(folder, "--box", "0.1,0.2,0.3,0.3", "--initializer", "box") == 0
    assert "fractions of the image are to be given in pixels" in caplog.text


def test_a_folder_of_videos_names_them(track, video, tmp_path, capsys):
    check_refused(track(tmp_path, "--box", BOX), capsys.readouterr(), "no images", "it holds 1 video", "clip.mp4")


def test_opencv_says_nothing_above_our_message(out, tmp_path):
    result = run_as_module("track", "977", "--box", BOX, "--out", out)
    assert result.returncode == 2
    assert result.stderr.splitlines() == ["msdeaot: error: camera 977 cannot be opened"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are not broken there")
def test_a_reader_that_has_enough_ends_the_command_silently():
    command = f"{sys.executable} -m msdeaot_tracker data list | true; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=600)
    assert result.returncode in (0, 141) and result.stderr == ""


def run_as_module(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "msdeaot_tracker", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_sources_that_are_none(track, folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("not a video")
    for name in ("missing.mp4", "empty", "text.mp4"):
        check_refused(track(tmp_path / name, "--box", BOX), capsys.readouterr(), name)


def test_a_first_frame_that_is_damaged(track, folder, out, capsys):
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:300])
    check_refused(track(folder, "--box", BOX), capsys.readouterr(), "frame 0", "0.png")
    assert not out.exists()


@pytest.mark.parametrize("trouble", ["damaged", "missing", "other size"])
def test_what_was_tracked_before_a_bad_frame_stays(track, folder, out, capsys, monkeypatch, trouble):
    path = folder / "2.png"
    words = ["frame 2", "2.png"]
    if trouble == "damaged":
        path.write_bytes(path.read_bytes()[:300])
    elif trouble == "other size":
        write_image(path, frame(2, HEIGHT + 1, WIDTH + 3))
        words += ["67x49", "64x48"]
    else:
        write = ResultWriter.write

        def write_and_lose_a_frame(self, *args):
            write(self, *args)
            path.unlink(missing_ok=True)

        monkeypatch.setattr(ResultWriter, "write", write_and_lose_a_frame)
    check_refused(track(folder, "--box", BOX), capsys.readouterr(), *words)
    report = check_whole(out, 2)
    assert report["status"] == "failed" and "frame 2" in report["error"]


def test_a_full_disk_is_named_while_the_next_frame_is_still_read(track, folder, out, capsys, monkeypatch):
    read, write = video_module.read_image, ResultWriter.write

    def read_slowly(path):
        time.sleep(0.6 if path.stem == "3" else 0)
        return read(path)

    def write_until_full(self, frame, *args):
        if frame.index == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, frame, *args)

    monkeypatch.setattr(video_module, "read_image", read_slowly)
    monkeypatch.setattr(ResultWriter, "write", write_until_full)
    check_refused(track(folder, "--box", BOX), capsys.readouterr(), "No space left")
    assert summary(out)["status"] == "failed"


def test_points_that_the_initializer_does_not_take_leave_earlier_results(track, folder, out, capsys):
    assert track(folder, "--box", BOX) == 0
    check_refused(track(folder, "--point", "1=15,15", "--initializer", "box"), capsys.readouterr(), "not of points")
    assert check_whole(out, FRAMES)["status"] == "complete"


def test_a_video_that_breaks_off(track, tmp_path, out, capsys):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 20, (WIDTH, HEIGHT))
    for index in range(20):
        writer.write(frame(index % 10)[..., ::-1])
    writer.release()
    data = bytearray(path.read_bytes())
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[begin + (end - begin) // 4 : end] = bytes(end - begin - (end - begin) // 4)
    path.write_bytes(data)
    check_refused(track(path, "--box", BOX), capsys.readouterr(), "clip.mp4")
    count = summary(out)["frames"]["count"]
    assert 0 < count < 20
    check_whole(out, count)


@pytest.mark.parametrize("kind", ["empty", "of another size", "coloured", "with id 300"])
def test_masks_that_are_none(track, folder, out, tmp_path, capsys, kind):
    path = tmp_path / "mask.png"
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    if kind == "empty":
        words = "is empty"
    elif kind == "of another size":
        labels, words = np.ones((9, 11), np.uint16), "11x9 pixels, the first frame is 64x48"
    elif kind == "coloured":
        labels, words = frame(0), "colours"
    else:
        labels[:5, :5], words = 300, "300"
    Image.fromarray(labels).save(path)
    check_refused(track(folder, "--mask", path), capsys.readouterr(), words)
    assert not out.exists()


@pytest.mark.parametrize("kind", ["missing", "truncated", "pickle", "text", "folder", "nothing"])
def test_weights_that_are_none(folder, out, weights, tmp_path, capsys, kind):
    path = tmp_path / "weights.pth"
    whole = Path(weights).read_bytes()
    truncated, hostile = whole[: len(whole) // 2], pickle.dumps({"state_dict": print}, protocol=2)
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes({"truncated": truncated, "pickle": hostile, "text": b"weights", "nothing": b""}[kind])
    code = main(["track", str(folder), "--box", BOX, "--weights", str(path), "--out", str(out)])
    check_refused(code, capsys.readouterr(), "weights.pth")
    assert not out.exists()


def test_weights_of_another_preset(folder, out, weights, capsys):
    code = main(["track", str(folder), "--box", BOX, "--preset", "deaot-t", "--weights", weights, "--out", str(out)])
    check_refused(code, capsys.readouterr(), "random.safetensors", "deaot-t")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_to_write(track, folder, out, capsys):
    out.mkdir(mode=0o500)
    check_refused(track(folder, "--box", BOX), capsys.readouterr(), out.name, "Permission denied")


def test_results_where_a_file_is(track, folder, out, capsys):
    out.write_text("a file")
    check_refused(track(folder, "--box", BOX), capsys.readouterr(), out.name)


def test_debug_shows_where_an_error_came_from(track, folder):
    with pytest.raises(msdeaot_tracker.InputError, match="lies outside"):
        track(folder, "--debug", "--box", "100,12,20,16")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends Ctrl-C to the whole console")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_leave_whole_results(tmp_path, out, weights, number):
    path = tmp_path / "long.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 20, (WIDTH, HEIGHT))
    for index in range(3000):
        writer.write(frame(index % 10)[..., ::-1])
    writer.release()
    command = [sys.executable, "-m", "msdeaot_tracker.cli.main", "track", path, "--box", BOX, "--weights", weights]
    process = subprocess.Popen(
        [*command, "--device", "cpu", "--out", out],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        while process.poll() is None and not (out / "masks" / "00000003.png").is_file():
            time.sleep(0.02)
        process.send_signal(number)
        errors = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "msdeaot: interrupted" and "Traceback" not in errors
    count = summary(out)["frames"]["count"]
    assert 4 <= count < 3000
    assert check_whole(out, count)["status"] == "interrupted"


# Windows


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can be without a display")
@pytest.mark.parametrize("options", [["--select"], ["--box", BOX, "--show"]])
def test_without_a_display(track, folder, out, capsys, monkeypatch, options):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    check_refused(track(folder, *options), capsys.readouterr(), "needs a display", options[-1].replace(BOX, "--show"))
    assert not out.exists()


@pytest.mark.skipif(not (shutil.which("xvfb-run") and shutil.which("xdotool")), reason="needs Xvfb and xdotool")
def test_a_box_drawn_with_the_mouse(tmp_path, out, weights):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(2):
        write_image(folder / f"{index}.png", np.zeros((300, 400, 3), np.uint8))
    script = tmp_path / "draw.sh"
    script.write_text(
        """
        "$@" & command=$!
        while kill -0 $command && ! window=$(xdotool search --onlyvisible --name '^msdeaot$'); do sleep 0.2; done
        sleep 1
        eval $(xdotool getwindowgeometry --shell $window)
        Y=$((Y + HEIGHT - 300))
        xdotool mousemove $((X + 50)) $((Y + 60)) sleep 0.2 mousedown 1 sleep 0.2
        xdotool mousemove $((X + 100)) $((Y + 100)) sleep 0.2 mousemove $((X + 250)) $((Y + 160)) sleep 0.2 mouseup 1
        sleep 0.2
        xdotool key --window $window Return
        wait $command
        """
    )
    command = [sys.executable, "-m", "msdeaot_tracker.cli.main", "track", folder, "--select", "--initializer", "box"]
    screen = ["xvfb-run", "-a", "-s", "-screen 0 800x600x24", "bash", script]
    subprocess.run([*screen, *command, "--weights", weights, "--out", out], check=True, timeout=120)
    x, y, w, h = boxes(out / "boxes.txt")[0]
    np.testing.assert_allclose([x, w, h], [50, 200, 100], atol=2)
    assert 30 <= y <= 120  # 60 plus or minus the bars above and below the image, which differ between builds


# The other commands


def test_version_and_help(capsys):
    for option, words in (("--version", msdeaot_tracker.__version__), ("--help", "evaluate")):
        with pytest.raises(SystemExit) as exit_:
            main([option])
        assert exit_.value.code == 0
        assert words in capsys.readouterr().out


def test_evaluate_prints_and_writes_the_scores(folder, weights, tmp_path, capsys):
    root = tmp_path / "data"
    for name in ("walk", "run"):
        shutil.copytree(folder, root / "JPEGImages" / name)
        (root / "Annotations" / name).mkdir(parents=True)
        for index in range(FRAMES):
            labels = np.zeros((HEIGHT, WIDTH), int)
            labels[12:28, 10 + index : 30 + index] = 1
            write_mask(root / "Annotations" / name / f"{index}.png", labels)
    command = ["evaluate", str(root), "--init", "mask", "--json", str(tmp_path / "scores.json")]
    assert main([*command, "--tracker", "static"]) == 0
    # Overlaps of a 20 pixels wide box shifted by 0 to 3: 1, 19/21, 18/22, 17/23, above 20, 19, 17 and 15 thresholds.
    success, overlap = (20 + 19 + 17 + 15) / (4 * 21), (19 / 21 + 18 / 22) / 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["sequence", "run", "walk", "mean"]
    assert all(line.split()[1:3] == [f"{success:.3f}", f"{overlap:.3f}"] for line in lines[1:])
    report = json.loads((tmp_path / "scores.json").read_text())
    assert report["mean"] == pytest.approx({"success": success, "jaccard": overlap})
    assert main([*command, "--weights", weights, "--device", "cpu"]) == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    assert [s["name"] for s in report["sequences"]] == ["run", "walk"]
    assert 0 <= report["mean"]["success"] <= 1


def test_evaluate_refuses_a_folder_without_sequences(tmp_path, capsys):
    check_refused(main(["evaluate", str(tmp_path), "--init", "box"]), capsys.readouterr(), "JPEGImages")


def test_evaluate_says_at_once_that_it_cannot_write(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "JPEGImages" / "a")
    (tmp_path / "Annotations" / "a").mkdir(parents=True)
    for index in range(FRAMES):
        write_mask(tmp_path / "Annotations" / "a" / f"{index}.png", np.ones((HEIGHT, WIDTH), int))
    json_file = tmp_path / "no such folder" / "scores.json"
    code = main(["evaluate", str(tmp_path), "--init", "box", "--tracker", "static", "--json", str(json_file)])
    captured = capsys.readouterr()
    check_refused(code, captured, "no such folder")
    assert not captured.out
