"""DAVIS' own layout and the plain one: every entrance takes both, reads all that can be read, and says the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msdeaot_tracker.cli.main import main
from msdeaot_tracker.data.datasets.box_sequences import read_dataset
from msdeaot_tracker.data.datasets.catalogue import open_dataset
from msdeaot_tracker.data.datasets.mask_sequences import find_sequences
from msdeaot_tracker.evaluation import StaticTracker, run_sequence
from msdeaot_tracker.images import write_image, write_mask
from msdeaot_tracker.types import InputError

FRAMES = 6
SIZE = (48, 64)
SHIPPED = Path(__file__).parents[1] / "msdeaot_tracker/weights/msdeaot-small.safetensors"


def write(root: Path, name: str, *, inner: str = "", known=range(FRAMES), size: tuple[int, int] = SIZE) -> None:
    """A square that goes right by two pixels a frame; annotations of the `known` frames, of `size`."""
    images, masks = (root / kind / inner / name for kind in ("JPEGImages", "Annotations"))
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    for index in range(FRAMES):
        labels = np.zeros(size, np.uint8)
        labels[10:30, 5 + 2 * index : 25 + 2 * index] = 1
        write_image(images / f"{index:05d}.jpg", noise)
        if index in known:
            write_mask(masks / f"{index:05d}.png", labels)


def official(root: Path) -> Path:
    for name in ("bear", "dog", "swan"):
        write(root, name, inner="480p")
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/train.txt").write_text("bear\ndog\n")
    return root


def plain(root: Path) -> Path:
    for name in ("bear", "dog"):
        write(root, name)
    return root


def run(*command: object) -> int:
    return main([str(part) for part in command])


@pytest.mark.parametrize("layout", [official, plain])
def test_every_entrance_takes_both_layouts(tmp_path, layout, capsys):
    root, out = layout(tmp_path / "davis"), tmp_path / "out"
    count = 3 if layout is official else 2
    assert run("evaluate", root, "--init", "mask", "--tracker", "static") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + count + 1 and "ROC area" in lines[-1]
    evaluate = ["evaluate", root, "--dataset", "davis", "--protocol", "ope", "--tracker", "static", "--out", out]
    assert run(*evaluate) == 0
    assert run("score", root, "--dataset", "davis", "--protocol", "ope", "--results", out) == 0
    assert run("data", "check", "davis", root, "--rows", "0") == 0
    assert "2 videos, 12 frames" in capsys.readouterr().out
    assert run("workspace", "davis", tmp_path / "ws", "--dataset", root) == 0
    assert "sequences:    " + str(count) in capsys.readouterr().out
    quick = ["--device", "cpu", "--size", "49", "--precision", "32-true", "--workers", "0", "--dry-run"]
    for data in (f"davis={root}", root):
        assert run("train", "--finetune", SHIPPED, "--data", data, *quick) == 0
        assert "found: 2 videos" in capsys.readouterr().out


def test_what_is_evaluated_is_not_what_is_trained_on(tmp_path):
    root = official(tmp_path)
    (root / "ImageSets/2017/val.txt").write_text("swan\n")
    assert [sequence.name for sequence in find_sequences(root)] == ["swan"]
    assert [sequence.name for sequence in read_dataset("davis", root)] == ["swan"]
    assert list(open_dataset("davis", root).names) == list(open_dataset("folder", root).names) == ["bear", "dog"]
    (root / "ImageSets/2017/train.txt").unlink()
    with pytest.raises(InputError, match=r"train\.txt does not exist"):
        open_dataset("davis", root)


def test_the_lists_of_davis_2016_are_read(tmp_path):
    root = official(tmp_path)
    (root / "ImageSets/2017/train.txt").unlink()
    (root / "ImageSets/480p").mkdir()
    pair = "/JPEGImages/480p/{0}/{1:05d}.jpg /Annotations/480p/{0}/{1:05d}.png \n"
    text = "".join(pair.format(name, index) for name in ("dog", "swan") for index in range(FRAMES))
    (root / "ImageSets/480p/train.txt").write_text(text)
    assert list(open_dataset("davis", root).names) == ["dog", "swan"]
    (root / "ImageSets/480p/val.txt").write_text("/../..\n")
    with pytest.raises(InputError, match="line 1"):
        find_sequences(root)


def test_a_bad_sequence_is_named_and_counted_and_the_others_run(tmp_path, capsys, caplog):
    """Masks of another size, a damaged frame, a first frame without annotation, truth of the first frame alone."""
    root = tmp_path / "davis"
    write(root, "good")
    write(root, "large", size=(60, 80))
    write(root, "damaged")
    (root / "JPEGImages/damaged/00003.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    write(root, "unknown", known=range(1, FRAMES))
    write(root, "first", known=[0])
    assert run("evaluate", root, "--init", "mask", "--tracker", "static", "--json", tmp_path / "scores.json") == 1
    printed = capsys.readouterr()
    assert "4 of 5 sequences left out" in printed.out and "Traceback" not in printed.err
    said = printed.err + caplog.text
    assert "80x60 pixels, its frame" in said and "00003.jpg" in said
    assert "unknown: frame" in said and "first: there is truth of its first frame alone" in said
    report = json.loads((tmp_path / "scores.json").read_text())
    assert [entry["name"] for entry in report["sequences"]] == ["good"] and len(report["left_out"]) == 4

    caplog.clear()
    evaluate = ["evaluate", root, "--dataset", "davis", "--protocol", "ope", "--tracker", "static"]
    assert run(*evaluate, "--out", tmp_path / "out") == 1
    assert "80x60 pixels" in caplog.text
    assert sorted(path.stem for path in (tmp_path / "out").rglob("ope/*.txt")) == ["first", "good"]
    assert run("workspace", "davis", tmp_path / "ws", "--dataset", root) == 0
    names = (tmp_path / "ws/sequences/list.txt").read_text().split()
    assert "large" not in names and "good" in names
    assert "80x60 pixels" in caplog.text


def test_evaluate_says_that_files_were_at_fault(tmp_path, capsys):
    """All is scored, but not all files are as they should be: that makes its exit status."""
    write(tmp_path, "good")
    annotations = tmp_path / "Annotations/good"
    shutil.copy(annotations / "00001.png", annotations / "00099.png")
    assert run("evaluate", tmp_path, "--init", "mask", "--tracker", "static") == 1
    printed = capsys.readouterr().out
    assert "1 fault of files named above" in printed and "left out" not in printed


def test_nothing_to_score_is_an_error_that_says_why(tmp_path, capsys):
    write(tmp_path, "large", size=(60, 80))
    assert run("evaluate", tmp_path, "--init", "mask", "--tracker", "static") == 2
    assert "80x60 pixels" in capsys.readouterr().err


def test_sparse_truth_is_scored_where_it_is(tmp_path):
    """The scores of the annotated frames alone, from both entrances."""
    write(tmp_path / "dense", "a")
    write(tmp_path / "sparse", "a", known=[0, 2, 4])
    (dense,), (sparse,) = (find_sequences(tmp_path / kind) for kind in ("dense", "sparse"))
    assert sparse.masks(1) is None and not sparse.problems and len(sparse) == FRAMES

    class Seen(StaticTracker):
        frames = 0

        def track(self, image):
            self.frames += 1
            return super().track(image)

    tracker = Seen()
    score = run_sequence(tracker, sparse, "mask")
    assert tracker.frames == FRAMES - 1 and score.frames == FRAMES
    shifts = np.array([4, 8])  # of the square of 20 pixels, on frames 2 and 4
    ious = (20 - shifts) / (20 + shifts)
    assert score.objects[1].jaccard == pytest.approx(ious.mean())
    thresholds = np.linspace(0, 1, 21)
    curve = (np.array([1, *ious])[:, None] > thresholds).mean(axis=0)
    assert score.objects[1].success == pytest.approx(curve.mean())
    (boxes,) = read_dataset("davis", tmp_path / "sparse")
    assert boxes.visible.tolist() == [True, False] * 3 and not boxes.problems
    assert run_sequence(tracker, dense, "mask").objects[1].success != score.objects[1].success


@pytest.mark.parametrize(
    ("known", "regular"), [([0, 5], True), ([0, 3, 5], True), ([0, 1, 2, 3, 4], False), ([0, 2, 3, 4, 5], False)]
)
def test_annotations_that_look_lost_are_a_problem(tmp_path, known, regular):
    write(tmp_path, "a", known=known)
    (sequence,) = find_sequences(tmp_path)
    (boxes,) = read_dataset("davis", tmp_path)
    assert sequence.problems == boxes.problems and bool(boxes.problems) == (not regular)


def test_a_frame_on_its_side_has_the_size_that_is_seen(tmp_path):
    write(tmp_path, "a")
    for path in (tmp_path / "JPEGImages/a").iterdir():
        picture = Image.open(path).transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.save(path, exif=exif)
    (sequence,) = find_sequences(tmp_path)
    assert sequence.image(0).shape[:2] == SIZE == sequence.masks(0)[1].shape
