"""`msdeaot mask` and `msdeaot masks` as a user meets them: files, messages, exit codes."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from msdeaot_tracker.cli.main import main
from msdeaot_tracker.geometry import ellipse_in_box, mask_iou
from msdeaot_tracker.images import palette, read_image, read_mask, write_image
from msdeaot_tracker.types import Box

HEIGHT, WIDTH, FRAMES = 60, 80, 3
BOX = (20, 15, 30, 24)


@pytest.fixture(autouse=True)
def loggers_as_they_were():
    """`msdeaot masks` turns some of them down for the rest of the process."""
    loggers = [logging.getLogger(f"msdeaot_tracker.{name}") for name in ("initializers", "geometry")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def truth() -> np.ndarray:
    return ellipse_in_box(Box(*BOX), HEIGHT, WIDTH)


def picture() -> np.ndarray:
    """A bright ellipse on textured ground."""
    image = np.random.default_rng(0).integers(0, 60, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    image[truth()] += np.array([180, 90, 0], np.uint8)
    return image


@pytest.fixture
def image(tmp_path) -> Path:
    path = tmp_path / "Bild – 図.png"
    write_image(path, picture())
    return path


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def check_refused(code: int, captured, *words: str) -> None:
    """One line that names what is wrong."""
    assert code == 2
    lines = [line for line in captured.err.splitlines() if "WARNING" not in line]
    assert len(lines) == 1 and lines[0].startswith("msdeaot: error: ")
    for word in words:
        assert word in lines[0]


# msdeaot mask


def test_a_box_becomes_a_mask_and_a_picture_of_it(image, tmp_path, capsys):
    out = tmp_path / "mask.png"
    assert run("mask", image, "--box", "20,15,30,24", "--initializer", "grabcut", "--out", out) == 0
    labels = read_mask(out)
    assert set(np.unique(labels)) == {0, 1} and mask_iou(labels == 1, truth()) > 0.9
    overlay = read_image(tmp_path / "mask-overlay.jpg")
    assert overlay.shape == (HEIGHT, WIDTH, 3)
    tinted = overlay[20:34, 28:42].astype(int) - picture()[20:34, 28:42]
    assert tinted[..., 0].mean() > 0 > tinted[..., 1].mean()  # towards the colour of object 1, red
    printed = capsys.readouterr().out
    for word in ("object 1: grabcut", " ms", "rectangle", "IoU", "part_of_box", str(out)):
        assert word in printed


def test_the_numbers_are_those_of_the_mask(image, tmp_path, capsys):
    code = run("mask", image, "--box", "20.4,15,30,24", "--initializer", "box", "--out", tmp_path / "mask.png")
    assert code == 0
    printed = capsys.readouterr().out
    assert "720 pixels" in printed and "100 %" in printed and "rectangle 20,15,30,24" in printed
    assert f"IoU {29.6 / 30.4:.3f}" in printed


def test_several_objects_small_ones_on_top(image, tmp_path):
    out, overlay = tmp_path / "mask.png", tmp_path / "seen.png"
    objects = ["--object", "3=30,20,4,4", "--object", "2=0,0,5,5"]
    code = run(
        "mask", image, "--box", "20,15,30,24", *objects, "--initializer", "box", "--out", out, "--overlay", overlay
    )
    assert code == 0
    labels = read_mask(out)
    assert [int((labels == i).sum()) for i in (1, 2, 3)] == [30 * 24 - 16, 25, 16]
    assert (labels[20:24, 30:34] == 3).all()
    assert overlay.is_file() and not (tmp_path / "mask-overlay.jpg").exists()
    assert palette()[3].tolist() == [128, 128, 0]


def test_a_setting_of_the_initializer_changes_the_mask(image, tmp_path):
    for name, core in (("a", 0.9), ("b", 0.2)):
        options = ["--initializer", "grabcut", "--initializer-set", f"core={core}", "--out", tmp_path / f"{name}.png"]
        assert run("mask", image, "--box", "20,15,40,40", *options) == 0
    assert (read_mask(tmp_path / "a.png") != read_mask(tmp_path / "b.png")).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--box", "200,5,10,10"], ["(200, 5, 10, 10)", "outside"]),
        (["--box", "5,5,0,10"], ["no area"]),
        (["--box", "-30,5,10,10"], ["outside"]),
        ([], ["--box", "--object"]),
        (["--box", "5,5,9,9", "--object", "1=2,2,8,8"], ["--object 1"]),
        (["--object", "300=2,2,8,8"], ["300", "254"]),
        (["--box", "5,5,9,9", "--initializer", "magic"], ["'magic'", "grabcut"]),
        (["--box", "5,5,9,9", "--initializer-set", "wand=1"], ["'wand'"]),
        (["--box", "5,5,9,9", "--device", "abacus"], ["'abacus'"]),
        (["--box", "5,5,9,9", "--out", "mask.jpg"], ["mask.jpg", ".png"]),
        (["--box", "5,5,9,9", "--out", "nowhere/mask.png"], ["nowhere"]),
        (["--box", "5,5,9,9", "--overlay", "picture.txt"], ["picture.txt"]),
        (["--box", "5,5,9,9", "--overlay", "mask.png"], ["same"]),
    ],
)
def test_bad_input_is_one_line(image, tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.chdir(tmp_path)
    if "--out" not in options:
        options = [*options, "--out", "mask.png"]
    check_refused(run("mask", image, *options), capsys.readouterr(), *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == [image.name]


def test_pictures_that_cannot_be_read_or_written(image, tmp_path, capsys):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    for path in (tmp_path / "nowhere.png", broken):
        check_refused(
            run("mask", path, "--box", "5,5,9,9", "--out", tmp_path / "m.png"), capsys.readouterr(), str(path)
        )
    (tmp_path / "folder.png").mkdir()
    for out in (tmp_path / "folder.png", image):
        code = run("mask", image, "--box", "5,5,9,9", "--initializer", "box", "--out", out)
        check_refused(code, capsys.readouterr())
    assert (read_image(image) == picture()).all()


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "1;2;3;4"])
def test_text_that_is_no_box(image, tmp_path, capsys, box):
    with pytest.raises(SystemExit) as stopped:
        run("mask", image, "--box", box, "--out", tmp_path / "mask.png")
    assert stopped.value.code == 2 and box in capsys.readouterr().err


# msdeaot masks


@pytest.fixture
def lasot(tmp_path) -> Path:
    root = tmp_path / "LaSOT"
    for name in ("cat-1", "cat-2"):
        folder = root / "cat" / name
        (folder / "img").mkdir(parents=True)
        for number in range(1, FRAMES + 1):
            write_image(folder / "img" / f"{number:08d}.jpg", picture())
        (folder / "groundtruth.txt").write_text(f"{','.join(map(str, BOX))}\n" * FRAMES)
    return root


def test_a_dataset_with_faults(lasot, tmp_path, capsys):
    (lasot / "cat" / "cat-1" / "img" / "00000002.jpg").write_bytes(b"no picture")
    (lasot / "cat" / "cat-1" / "img" / "00000003.jpg").unlink()
    (lasot / "cat" / "cat-2" / "groundtruth.txt").write_text("20,15,30,24\n20,15,30,24\n20,10,30,40\n")
    out = tmp_path / "out"
    assert run("masks", "--boxes", f"lasot:{lasot}", "--initializer", "grabcut", "--min-iou", "0.8", "--out", out) == 0
    printed = capsys.readouterr().out
    for words in (
        "2 videos, 6 frames",
        "3 masks kept",
        "1 mask rejected, 2 frames unreadable",
        "cat-1, frame 00000002",
    ):
        assert words in printed
    assert "00000003.jpg does not exist" in printed
    assert sorted(path.name for path in (out / "Annotations" / "cat-2").iterdir()) == ["00000001.png", "00000002.png"]
    assert mask_iou(read_mask(out / "Annotations" / "cat-1" / "00000001.png") == 1, truth()) > 0.8
    assert read_image(out / "contact.jpg").shape[1] > 4 * 300
    settings = json.loads((out / "masks.json").read_text(encoding="utf-8"))
    assert settings["initializer"] == "grabcut" and settings["min_iou"] == 0.8


def test_going_on_with_other_settings_is_refused(lasot, tmp_path, capsys):
    command = ["masks", "--boxes", f"lasot:{lasot}", "--initializer", "box", "--sheet", "0", "--out", tmp_path / "out"]
    assert run(*command) == 0 and run(*command) == 0
    assert not (tmp_path / "out" / "contact.jpg").exists()
    capsys.readouterr()
    check_refused(run(*command, "--every", "2"), capsys.readouterr(), "every 1 (now 2)")
    assert run(*command, "--shard", "2/2", "--workers", "1") == 0  # is no setting of the masks
    assert "1 video, 3 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--every", "0"], ["every=0"]),
        (["--min-iou", "1.5"], ["min_iou=1.5"]),
        (["--min-iou", "nan"], ["min_iou=nan"]),
        (["--videos", "3"], ["3", "2"]),
        (["--shard", "3/2"], ["3/2"]),
        (["--workers", "0"], ["--workers 0"]),
        (["--initializer", "magic"], ["'magic'"]),
        (["--boxes", "lasot:nowhere"], ["nowhere"]),
    ],
)
def test_bad_options_leave_no_folder_behind(lasot, tmp_path, capsys, options, words):
    out = tmp_path / "out"
    check_refused(run("masks", "--boxes", f"lasot:{lasot}", "--out", out, *options), capsys.readouterr(), *words)
    assert not out.exists()


@pytest.mark.parametrize("option", [["--boxes", "imagenet:x"], ["--boxes", "lasot"], ["--shard", "two"]])
def test_options_of_a_wrong_form(lasot, tmp_path, capsys, option):
    with pytest.raises(SystemExit) as stopped:
        run("masks", "--boxes", f"lasot:{lasot}", "--out", tmp_path / "out", *option)
    assert stopped.value.code == 2 and option[1] in capsys.readouterr().err


def test_a_folder_with_other_files_is_not_written_into(lasot, capsys):
    check_refused(run("masks", "--boxes", f"lasot:{lasot}", "--out", lasot), capsys.readouterr(), "not empty")
    assert sorted(path.name for path in lasot.iterdir()) == ["cat"]


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_loses_one_frame_at_most(lasot, tmp_path):
    out = tmp_path / "out"
    boxes = lasot / "cat" / "cat-1" / "groundtruth.txt"
    for number in range(FRAMES + 1, 2000):
        os.link(lasot / "cat" / "cat-1" / "img" / "00000001.jpg", lasot / "cat" / "cat-1" / "img" / f"{number:08d}.jpg")
    boxes.write_text(boxes.read_text().splitlines()[0] + "\n" + "20,15,30,24\n" * 1998)
    command = [sys.executable, "-m", "msdeaot_tracker.cli.main", "masks", "--boxes", f"lasot:{lasot}", "--out", out]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(out.rglob("*.png"))) < 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    errors = process.communicate()[1]
    assert process.returncode == 130 and "interrupted" in errors and "Traceback" not in errors
    pictures = len(list(out.rglob("*.png")))
    rows = (out / "masks" / "cat-1.csv.part").read_text().splitlines()
    assert pictures < 1999 and 0 <= pictures - (len(rows) - 1) <= 1
