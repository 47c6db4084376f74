"""Results in the formats of others, read back by the tools that read such files."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from msdeaot_tracker.checkpoints import save_checkpoint
from msdeaot_tracker.cli.main import main
from msdeaot_tracker.cli.results import ResultWriter
from msdeaot_tracker.config import find_preset
from msdeaot_tracker.exports import EXPORTERS, exported_files
from msdeaot_tracker.exports.folder import video_name
from msdeaot_tracker.images import read_mask, write_image
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.types import Box, FrameResult, MaskEstimate
from msdeaot_tracker.video import Frame

HEIGHT, WIDTH, FIRST = 40, 60, 3
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
NAMES = ("a 07.jpg", "b,8.jpg", "ç9.jpg")  # of the frames of a folder


def labels(index: int) -> np.ndarray:
    """Object 2 is in two parts, of which one is a single pixel; object 5 has a hole, and leaves on the last frame."""
    drawn = np.zeros((HEIGHT, WIDTH), np.int32)
    drawn[4:14, 6 + index : 21 + index] = 2
    drawn[30, 2 + index] = 2
    if index < 2:
        cv2.circle(drawn, (40, 22), 9, 5, -1)
        drawn[20:24, 38:42] = 0
    return drawn


def box(mask: np.ndarray) -> Box | None:
    rows, columns = np.nonzero(mask)
    if not rows.size:
        return None
    return Box(columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)


def write_run(folder: Path, frames=range(3), names=NAMES, **options) -> Path:
    """What `msdeaot track` leaves of a folder of frames, from its fourth on; without names, of a video of 20 Hz."""
    given = {i: box(labels(0) == i) for i in (2, 5)}
    source = folder.parent / ("frames" if names else "clip.one.mp4")
    with ResultWriter(folder, {"source": str(source), "fps": None if names else 20}, given, None, **options) as writer:
        for index in frames:
            drawn = labels(index)
            boxes = {i: box(drawn == i) for i in (2, 5)}
            scores = {i: 0.75 if found else 0.0 for i, found in boxes.items()}
            estimates = {} if index else {2: MaskEstimate(drawn == 2, "given"), 5: MaskEstimate(drawn == 5, "lite")}
            result = FrameResult(index, drawn, boxes, scores, estimates)
            image = (None, "", names[index]) if names else (index / 20, "")
            writer.write(Frame(FIRST + index, IMAGE, *image), result, 0.1)
    return folder


@pytest.fixture
def run(tmp_path) -> Path:
    return write_run(tmp_path / "results")


def export(run: Path, formats: str, *options) -> int:
    return main(["export", str(run), "--format", formats, *map(str, options)])


def test_tables_have_a_row_per_frame_and_object(run, capsys):
    assert export(run, "csv,jsonl") == 0
    printed = capsys.readouterr().out
    assert printed == f"csv: {run / 'export' / 'tracks.csv'}\njsonl: {run / 'export' / 'tracks.jsonl'}\n"
    with (run / "export" / "tracks.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first = {"frame": "3", "time": "", "image": NAMES[0], "id": "2", "x": "2.0", "y": "4.0", "w": "19.0", "h": "27.0"}
    assert rows[0] == first | {"score": "0.75", "area": "151", "source": "given"}
    assert [(row["frame"], row["id"]) for row in rows] == [(str(3 + i // 2), "25"[i % 2]) for i in range(6)]
    assert [row["source"] for row in rows] == ["given", "lite", *["tracked"] * 4]
    assert rows[5]["image"] == NAMES[2] and rows[5]["x"] == rows[5]["h"] == "" and rows[5]["score"] == "0.0"
    lines = [json.loads(line) for line in (run / "export" / "tracks.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [str(line["area"]) for line in lines] == [row["area"] for row in rows]
    assert lines[0]["box"] == [2, 4, 19, 27] and lines[5]["box"] is None


def test_pycocotools_reads_the_masks_back(run):
    coco_api = pytest.importorskip("pycocotools.coco", reason="needs the extra `coco`")
    assert export(run, "coco") == 0
    coco = coco_api.COCO(str(run / "export" / "coco.json"))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == list(NAMES)
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["object 2", "object 5"]
    assert len(coco.anns) == 5  # what is absent has no annotation
    for annotation in coco.anns.values():
        assert isinstance(annotation["segmentation"]["counts"], str)
        index = coco.imgs[annotation["image_id"]]["frame_id"] - FIRST
        mask = labels(index) == annotation["track_id"]
        np.testing.assert_array_equal(coco.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum() and annotation["bbox"] == list(box(mask))
    assert coco.getAnnIds(imgIds=[FIRST + 3], catIds=[5]) == []


def test_motchallenge_counts_from_one(run):
    assert export(run, "mot") == 0
    rows = np.loadtxt(run / "export" / "mot.txt", delimiter=",")
    assert rows.shape == (5, 10)
    assert rows[0].tolist() == [FIRST + 1, 2, 3, 5, 19, 27, 0.75, -1, -1, -1]
    assert rows[:, 0].tolist() == [4, 4, 5, 5, 6] and rows[-1, 1] == 2


def test_motmetrics_reads_the_boxes_back(run):
    motmetrics = pytest.importorskip("motmetrics", reason="a reader of MOTChallenge's files, not of the extra `test`")
    assert export(run, "mot") == 0
    read = motmetrics.io.loadtxt(str(run / "export" / "mot.txt"), fmt="mot15-2D")
    for (number, object_id), row in read.iterrows():
        assert row[["X", "Y", "Width", "Height"]].tolist() == list(box(labels(number - 1 - FIRST) == object_id))


def filled(polygons: list[np.ndarray]) -> np.ndarray:
    """As readers of YOLO's files draw them: pixels, cut down to integers, filled with their outline."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [(polygon * (WIDTH, HEIGHT)).astype(np.int32)], 1)
    return mask.astype(bool)


def test_yolos_polygons_are_the_masks_without_their_holes(run):
    assert export(run, "yolo") == 0
    files = sorted((run / "export" / "yolo" / "labels").iterdir())
    assert [path.stem for path in files] == [Path(name).stem for name in NAMES]
    for index, path in enumerate(files):
        lines = [np.array(line.split(), float) for line in path.read_text().splitlines()]
        assert all(line[1:].min() >= 0 and line[1:].max() <= 1 and len(line) % 2 and len(line) > 6 for line in lines)
        for number, object_id in enumerate((2, 5)):
            mask = labels(index) == object_id
            if object_id == 5 and index < 2:
                mask[20:24, 38:42] = True
            polygons = [line[1:].reshape(-1, 2) for line in lines if line[0] == number]
            np.testing.assert_array_equal(filled(polygons), mask)
    assert '  0: "object 2"\n  1: "object 5"\n' in (run / "export" / "yolo" / "data.yaml").read_text()


def test_supervision_reads_yolos_folder(run):
    supervision = pytest.importorskip("supervision", reason="a reader of YOLO's folders, not of the extra `test`")
    assert export(run, "yolo") == 0
    images = run / "export" / "yolo" / "images"
    images.mkdir()
    for name in NAMES:
        cv2.imencode(".jpg", IMAGE)[1].tofile(images / name)
    places = (str(images), str(images.parent / "labels"), str(images.parent / "data.yaml"))
    read = supervision.DetectionDataset.from_yolo(*places, force_masks=True)
    assert read.classes == ["object 2", "object 5"] and len(read) == 3
    (detections,) = [found for path, _, found in read if Path(path).name == NAMES[1]]
    mask = detections.mask[detections.class_id == 0].any(axis=0)
    np.testing.assert_array_equal(mask, labels(1) == 2)


def test_names_that_the_user_gave_are_those_of_categories(run):
    summary = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(summary | {"names": {"2": 'the "cat", 猫'}}))
    assert export(run, "yolo,coco") == 0
    categories = json.loads((run / "export" / "coco.json").read_text())["categories"]
    assert [category["name"] for category in categories] == ['the "cat", 猫', "object 5"]
    first, second = (run / "export" / "yolo" / "data.yaml").read_text().splitlines()[-2:]
    assert first == "  0: " + json.dumps(categories[0]["name"]) and second == '  1: "object 5"'


def test_labels_are_named_like_the_frames(run):
    assert export(run, "davis") == 0
    folder = run / "export" / "davis" / "Annotations" / "frames"
    assert sorted(path.name for path in folder.iterdir()) == [f"{Path(name).stem}.png" for name in NAMES]
    for index, name in enumerate(NAMES):
        np.testing.assert_array_equal(read_mask(folder / f"{Path(name).stem}.png"), labels(index))


def test_frames_of_a_video_have_times_and_numbers_for_names(tmp_path):
    run = write_run(tmp_path / "results", names=None)
    assert export(run, "csv,davis", "--out", tmp_path / "out") == 0
    with (tmp_path / "out" / "tracks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["time"] for row in rows][::2] == ["0.0", "0.05", "0.1"] and not any(row["image"] for row in rows)
    assert (tmp_path / "out" / "davis" / "Annotations" / "clip.one" / "00000003.png").is_file()
    assert not (run / "export").exists()


def test_frames_come_in_the_videos_order_and_the_last_word_counts(tmp_path):
    """As of a run backward, or of one that was corrected."""
    run = write_run(tmp_path / "results", frames=(0, 2, 1))
    line = json.loads((run / "frames.jsonl").read_text().splitlines()[1])
    line["objects"]["2"]["score"] = 0.25
    with (run / "frames.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    assert export(run, "mot") == 0
    rows = np.loadtxt(run / "export" / "mot.txt", delimiter=",")
    assert rows[:, 0].tolist() == [4, 4, 5, 5, 6] and rows[:, 6].tolist() == [0.75] * 4 + [0.25]


def test_result_json_sums_the_scores_up(run):
    frames = json.loads((run / "result.json").read_text())["frames"]
    assert frames["file"] == "frames.jsonl"
    assert frames["scores"]["5"] == {"mean": 0.5, "lowest": 0.0, "lowest_frame": FIRST + 2, "frames": 3}


# From the run itself


@pytest.fixture
def track(tmp_path, monkeypatch):
    """Runs `msdeaot track` on what the first argument says of the two folders `one` and `two`, with random weights."""
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "random.safetensors", MSDeAOT(find_preset("msdeaot-small")))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for index in range(2):
            write_image(tmp_path / name / f"{name}{index}.png", IMAGE)
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> int:
        usual = ["--weights", "random.safetensors", "--device", "cpu", "--out", "out", "--object", "3=10,10,20,20"]
        return main(["track", *map(str, arguments), *usual, "--initializer", "box"])

    return run


def test_several_sources_have_a_folder_each_and_exports_in_it(track, tmp_path):
    assert track("one", "two", "--export", "csv,davis", "--no-overlay") == 0
    for name in ("one", "two"):
        assert not (tmp_path / "out" / name / "overlay.mp4").exists()
        with (tmp_path / "out" / name / "export" / "tracks.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["image"], row["id"]) for row in rows] == [(f"{name}{index}.png", "3") for index in range(2)]
        labels = tmp_path / "out" / name / "export" / "davis" / "Annotations" / name
        assert sorted(path.name for path in labels.iterdir()) == [f"{name}0.png", f"{name}1.png"]


def test_a_source_that_fails_does_not_keep_others_from_being_tracked(track, tmp_path, capsys, caplog):
    (tmp_path / "one" / "one1.png").write_text("no picture")
    assert track("one", "two", "--no-masks") == 2
    assert "1 of 2 sources could not be tracked: one" in capsys.readouterr().err and "one1.png" in caplog.text
    assert json.loads((tmp_path / "out" / "two" / "result.json").read_text())["status"] == "complete"
    assert not (tmp_path / "out" / "two" / "masks").exists()


@pytest.mark.parametrize(
    ("source", "is_folder", "name"),
    [
        ("a/clip.one.mp4", False, "clip.one"),
        ("a/clip.one", True, "clip.one"),
        ("a/b/%05d.jpg", False, "b"),
        ("a/b/*.jpg", False, "b"),
        ("rtsp://camera/street.sdp?user=me", False, "street"),
        ("http://camera", False, "camera"),
        ("camera 0", False, "camera 0"),
        (".", True, Path.cwd().name),
    ],
)
def test_results_are_called_like_their_source(source, is_folder, name):
    assert video_name(source, is_folder=is_folder) == name


# Bad input


def test_what_is_asked_of_a_run_is_checked_before_it(track, tmp_path, capsys):
    (tmp_path / "deep" / "one").mkdir(parents=True)
    write_image(tmp_path / "deep" / "one" / "0.png", IMAGE)
    for arguments, words in (
        (("one", "--export", "csv,csv"), "named twice"),
        (("one", "--export", "coco", "--no-masks"), "needs the masks"),
        (("one", "deep/one"), "the results of one and deep/one would both be out/one"),
        (("one", "three"), "source three is neither"),
    ):
        check_refused(track(*arguments), capsys.readouterr(), words)
        assert not (tmp_path / "out").exists()


def check_refused(code: int, captured, *words: str) -> None:
    (line,) = captured.err.splitlines()
    assert code == 2 and line.startswith("msdeaot: error: ") and all(word in line for word in words), line


@pytest.mark.parametrize(
    ("formats", "words"),
    [
        ("csv,csv", "format 'csv' is named twice: both would be tracks.csv"),
        ("cocoo", "unknown format 'cocoo', did you mean 'coco'?"),
        ("csv,", "unknown format ''"),
    ],
)
def test_formats_that_are_none(run, capsys, formats, words):
    check_refused(export(run, formats), capsys.readouterr(), words)
    assert not (run / "export").exists()


def test_no_two_exporters_write_to_one_place():
    assert len({exporter.name for exporter in EXPORTERS.values()}) == len(EXPORTERS)


def test_a_later_export_replaces_its_own_files_alone(run, capsys):
    out = run / "export"
    assert export(run, "csv,davis") == 0
    (out / "davis" / "notes.txt").write_text("mine")
    check_refused(export(run, "davis"), capsys.readouterr(), "notes.txt is not from an earlier export")
    (out / "davis" / "notes.txt").unlink()
    assert export(run, "davis,mot") == 0
    assert sorted(path.name for path in out.iterdir()) == ["davis", "exported.json", "mot.txt", "tracks.csv"]
    (out / "coco.json").write_text("mine")
    check_refused(export(run, "coco"), capsys.readouterr(), "coco.json is not from an earlier export")
    assert (out / "coco.json").read_text() == "mine"


def test_a_new_run_takes_the_exports_of_the_earlier_one_with_it(run):
    assert export(run, "csv,davis") == 0
    (run / "export" / "notes.txt").write_text("mine")
    write_run(run)
    assert [path.name for path in (run / "export").iterdir()] == ["notes.txt"]


def test_a_listing_from_elsewhere_leads_nowhere(run):
    (run.parent / "mine.txt").write_text("mine")
    (run / "export" / "yolo").mkdir(parents=True)
    names = ["yolo/../../../mine.txt", "../mine.txt", str(run.parent / "mine.txt"), "", 3]
    for name in names:
        (run / "export" / "exported.json").write_text(json.dumps({"files": [name]}))
        assert exported_files(run / "export") == [run / "export" / "exported.json"]
    write_run(run)
    assert (run.parent / "mine.txt").read_text() == "mine"


def test_another_export_at_work_is_left_alone(run, capsys):
    partial = run / "export" / ".exported.json.part"
    partial.mkdir(parents=True)
    check_refused(export(run, "csv"), capsys.readouterr(), "another export writes to")
    assert partial.is_dir()


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("result.json", None, "holds no results of `msdeaot track`"),
        ("result.json", "[1]", "was not written by `msdeaot track`"),
        ("result.json", '{"status": "complete", "frames": {"count": 3}}', "is not whole"),
        ("frames.jsonl", None, "frames.jsonl is missing"),
        ("frames.jsonl", "", "holds no frame"),
        ("frames.jsonl", '{"frame": 1}\n', "a line that is not of a frame"),
        ("masks/00000004.png", None, "00000004.png does not exist"),
        ("masks/00000004.png", "PNG", "00000004.png is not an image"),
    ],
)
def test_results_that_are_none_or_not_whole(run, capsys, file, content, words):
    (run / file).unlink() if content is None else (run / file).write_text(content)
    check_refused(export(run, "davis"), capsys.readouterr(), words)
    assert not (run / "export").exists()


def test_folders_of_another_kind(tmp_path, run, capsys):
    check_refused(export(tmp_path / "none", "csv"), capsys.readouterr(), "is not a folder with results")
    check_refused(export(tmp_path, "csv"), capsys.readouterr(), "there are results in results")
    summary = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(summary | {"files": ["boxes.txt"]}))
    check_refused(export(run, "csv"), capsys.readouterr(), "is of an earlier version")


def test_half_a_line_that_a_full_disk_left_is_no_frame(run):
    with (run / "frames.jsonl").open("a") as file:
        file.write('{"frame": 6, "time": nu')
    assert export(run, "jsonl") == 0
    lines = (run / "export" / "tracks.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["frame"] for line in lines} == {3, 4, 5}


def test_runs_that_are_not_over_or_ended_early(run, capsys, caplog):
    summary = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(summary | {"status": "running"}))
    check_refused(export(run, "csv"), capsys.readouterr(), "is not over, or was killed")
    (run / "result.json").write_text(json.dumps(summary | {"status": "interrupted"}))
    assert export(run, "csv") == 0
    assert "is interrupted: what it wrote is 3 frames" in caplog.text


def test_a_run_without_masks_has_boxes_alone(tmp_path, capsys):
    run = write_run(tmp_path / "results", masks=False, overlay=False)
    assert sorted(p.name for p in run.iterdir()) == ["boxes_2.txt", "boxes_5.txt", "frames.jsonl", "result.json"]
    check_refused(export(run, "csv,coco"), capsys.readouterr(), "format 'coco' needs the masks")
    assert export(run, "csv,jsonl,mot") == 0


def test_two_frames_of_one_name(tmp_path, capsys):
    run = write_run(tmp_path / "results", names=("1.jpg", "1.png", "2.png"))
    check_refused(export(run, "davis"), capsys.readouterr(), "two frames of the input are called 1")
    assert export(run, "csv,coco") == 0


def test_a_missing_package_is_named_by_its_extra(run):
    code = "import sys; sys.modules['pycocotools'] = None; from msdeaot_tracker.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "export", str(run), "--format", "csv,coco"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and 'pip install "msdeaot-tracker[coco]"' in done.stderr
    assert not (run / "export").exists()
