"""Masks from boxes: what is kept, what is said of the rest, and runs that stop half-way."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from msdeaot_tracker.data.contact_sheet import GREEN, Sample, write_contact_sheet
from msdeaot_tracker.data.datasets.egotracks import read_egotracks
from msdeaot_tracker.data.datasets.mask_sequences import find_sequences
from msdeaot_tracker.data.mask_records import claim_folder, read_records, records_path
from msdeaot_tracker.data.masks.making import MaskRules, contact_samples, judge_frame
from msdeaot_tracker.data.masks.training_boxes import choose_videos, list_videos
from msdeaot_tracker.data.masks.workers import make_dataset, make_in_parallel
from msdeaot_tracker.geometry import box_to_mask
from msdeaot_tracker.images import read_image, read_mask, write_image
from msdeaot_tracker.types import Box, InputError, MaskEstimate

HEIGHT, WIDTH, FRAMES = 40, 60, 6
NAMES = ("cat-1", "cat-2", "dog-1", "dog-2", "dog-3")


def box_of(index: int) -> tuple[int, int, int, int]:
    return 5 + 4 * index, 8, 20, 16


def picture(index: int) -> np.ndarray:
    """Dark, with the object bright."""
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    x, y, w, h = box_of(index)
    image[y : y + h, x : x + w] = 220
    return image


def write_lines(path: Path, lines) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def write_video(folder: Path, frames: str = "") -> Path:
    (folder / frames).mkdir(parents=True, exist_ok=True)
    for index in range(FRAMES):
        write_image(folder / frames / f"{index + 1:08d}.jpg", picture(index))
    write_lines(folder / "groundtruth.txt", (",".join(map(str, box_of(i))) for i in range(FRAMES)))
    return folder


@pytest.fixture
def lasot(tmp_path) -> Path:
    root = tmp_path / "LaSOT – 図"
    for name in NAMES:
        write_video(root / name.split("-")[0] / name, "img")
    return root


def bright(image: np.ndarray, box: Box) -> MaskEstimate:
    """An initializer that finds the objects of these pictures."""
    return MaskEstimate(image[..., 0] > 128, source="bright")


def slow_bright(image: np.ndarray, box: Box) -> MaskEstimate:
    time.sleep(0.05)
    return bright(image, box)


def make_bright():
    return bright


def make_slow():
    return slow_bright


def run(videos, out: Path, segment=bright, **rules) -> dict:
    """Reports by video."""
    return {report.name: report for report in make_dataset(videos, segment, out, MaskRules(**rules))}


def files(folder: Path) -> dict[str, bytes]:
    """Contents by path; of a link, those of what it leads to."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


# What is made


def test_masks_lie_beside_links_to_their_frames_as_training_reads_them(lasot, tmp_path):
    reports = run(list_videos("lasot", lasot), tmp_path / "out")
    assert sorted(reports) == list(NAMES)
    assert all((r.kept, r.rejected, r.unreadable) == (FRAMES, 0, 0) for r in reports.values())
    assert all(r.iou_sum / r.kept > 0.9 for r in reports.values())
    sequences = find_sequences(tmp_path / "out")
    assert [sequence.name for sequence in sequences] == list(NAMES)
    for index in range(FRAMES):
        x, y, w, h = box_of(index)
        mask = sequences[0].masks(index)[1]
        assert mask[y + 2 : y + h - 2, x + 2 : x + w - 2].all() and mask.sum() < 1.2 * w * h
        assert np.abs(sequences[0].image(index).astype(int) - picture(index)).max() < 40
    if os.name != "nt":
        assert (tmp_path / "out" / "JPEGImages" / "cat-1" / "00000001.jpg").is_symlink()


def test_every_third_frame_of_those_with_a_box(lasot, tmp_path):
    (lasot / "cat" / "cat-1" / "full_occlusion.txt").write_text("1,0,0,0,0,0")
    (lasot / "cat" / "cat-1" / "out_of_view.txt").write_text("0,0,0,0,0,1")
    run(list_videos("lasot", lasot), tmp_path / "out", every=3)
    of = {path.name: sorted(p.stem for p in path.iterdir()) for path in (tmp_path / "out" / "Annotations").iterdir()}
    assert of["cat-1"] == ["00000002", "00000005"]
    assert of["dog-1"] == ["00000001", "00000004"]


def test_a_mask_that_does_not_fit_its_box_is_rejected(lasot, tmp_path):
    lines = (lasot / "cat" / "cat-1" / "groundtruth.txt").read_text().splitlines()
    lines[1] = "9,8,20,30"  # the object is 16 high: overlap 0.53
    lines[2] = "300,300,5,5"
    lines[3] = "10,10,0,7"
    write_lines(lasot / "cat" / "cat-1" / "groundtruth.txt", lines)
    out = tmp_path / "out"
    report = run(list_videos("lasot", lasot), out)["cat-1"]
    assert (report.kept, report.rejected) == (FRAMES - 3, 3)
    records = {record.frame: record for record in read_records(records_path(out, "cat-1"))}
    assert records["00000002"].iou == pytest.approx(16 / 30, abs=0.03)
    assert "0.7" in records["00000002"].reason
    assert "outside" in records["00000003"].reason and records["00000003"].iou is None
    assert "area" in records["00000004"].reason
    written = sorted(path.stem for path in (out / "Annotations" / "cat-1").iterdir())
    assert written == ["00000001", "00000005", "00000006"]
    assert sorted(path.stem for path in (out / "JPEGImages" / "cat-1").iterdir()) == written


def test_a_stand_in_for_a_mask_is_rejected_although_it_fits(lasot):
    def stand_in(image, box):
        return MaskEstimate(box_to_mask(box, HEIGHT, WIDTH), source="none", details={"fallback": "nothing found"})

    path = lasot / "cat" / "cat-1" / "img" / "00000001.jpg"
    judged = judge_frame(path, Box(*box_of(0)), stand_in, 0.7)
    assert judged.record.status == "rejected" and "nothing found" in judged.record.reason and judged.record.iou == 1


def test_broken_and_missing_frames_are_named_and_cost_only_themselves(lasot, tmp_path):
    frames = lasot / "dog" / "dog-1" / "img"
    (frames / "00000002.jpg").write_bytes(b"not a JPEG")
    whole = (frames / "00000004.jpg").read_bytes()
    (frames / "00000004.jpg").write_bytes(whole[: len(whole) // 2])
    (frames / "00000005.jpg").unlink()
    reports = run(list_videos("lasot", lasot), tmp_path / "out")
    assert (reports["dog-1"].kept, reports["dog-1"].unreadable) == (FRAMES - 3, 3)
    for number, fault in zip((2, 4, 5), reports["dog-1"].faults, strict=True):
        assert "dog-1" in fault and f"{number:08d}" in fault
    assert "does not exist" in reports["dog-1"].faults[2]
    mask = read_mask(tmp_path / "out" / "Annotations" / "dog-1" / "00000006.png") == 1
    x, y, w, h = box_of(5)  # later frames have their own boxes still
    assert mask[y + h // 2, x + w // 2] and mask.sum() < 1.2 * w * h
    assert reports["dog-2"].kept == FRAMES


def test_a_video_whose_boxes_cannot_be_read_is_left_out_and_not_taken_for_done(lasot, tmp_path):
    truth = lasot / "dog" / "dog-2" / "groundtruth.txt"
    text = truth.read_text()
    truth.write_text(text.replace("8,20", "eight,20", 1))
    report = run(list_videos("lasot", lasot), tmp_path / "out")["dog-2"]
    assert "eight" in report.problem and str(truth) in report.problem
    truth.write_text(text)
    assert run(list_videos("lasot", lasot), tmp_path / "out")["dog-2"].kept == FRAMES


# Stopping, going on, sharing


class Interrupted(Exception):
    pass


def test_a_run_that_stops_goes_on_with_the_frame_it_was_at(lasot, tmp_path):
    videos = list_videos("lasot", lasot)
    run(videos, tmp_path / "whole")
    seen = []

    def counted(image, box):
        seen.append(box)
        if len(seen) == FRAMES + 4:
            raise Interrupted
        return bright(image, box)

    with pytest.raises(Interrupted):
        run(videos, tmp_path / "out", counted)
    part = records_path(tmp_path / "out", "cat-2").with_name("cat-2.csv.part")
    assert len(part.read_text().splitlines()) == 1 + 3
    with part.open("a") as file:
        file.write("00000004,/some")  # a row that was cut off
    run(videos, tmp_path / "out", counted)
    assert len(seen) == 1 + len(NAMES) * FRAMES
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_shards_together_make_what_one_run_does(lasot, tmp_path):
    videos = list_videos("lasot", lasot)
    run(videos, tmp_path / "whole")
    shards = [choose_videos(videos, sample=None, seed=0, shard=(i, 2)) for i in (1, 2)]
    assert sorted(video.name for shard in shards for video in shard) == list(NAMES)
    for shard in shards:
        assert len(run(shard, tmp_path / "out")) == len(shard)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_killed_run_of_several_processes_is_gone_on_from_by_several(lasot, tmp_path):
    videos, out = list_videos("lasot", lasot), tmp_path / "out"
    run(videos, tmp_path / "whole")
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_mask_making import *\n"
        "if __name__ == '__main__':\n"
        f"    videos, out = list_videos('lasot', Path({str(lasot)!r})), Path({str(out)!r})\n"
        "    list(make_in_parallel(videos, make_slow, out, MaskRules(), 2))\n",
        encoding="utf-8",
    )
    process = subprocess.Popen([sys.executable, program])
    try:
        deadline = time.monotonic() + 120
        while len(list(out.rglob("*.png"))) < 8:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    time.sleep(0.5)  # for its workers to notice
    written = files(out)
    time.sleep(0.5)
    assert files(out) == written, "a worker goes on without its parent"
    done = sum(
        max(path.read_bytes().count(b"\n") - 1, 0) for path in (out / "masks").iterdir()
    )  # rows below the header
    assert 6 <= done < len(NAMES) * FRAMES
    counts = []
    reports = make_in_parallel(videos, make_bright, out, MaskRules(), 2, on_frames=counts.append)
    assert {report.name: report.kept for report in reports} == dict.fromkeys(NAMES, FRAMES)
    assert sum(counts) == len(NAMES) * FRAMES - done
    assert files(out) == files(tmp_path / "whole")


def failing():
    raise InputError("no such weights")


def test_an_error_of_a_worker_is_that_of_the_run(lasot, tmp_path):
    with pytest.raises(InputError, match="no such weights"):
        list(make_in_parallel(list_videos("lasot", lasot), failing, tmp_path / "out", MaskRules(), 1))


def test_samples_are_the_same_for_the_same_seed(lasot):
    videos = list_videos("lasot", lasot)
    names = [
        [v.name for v in choose_videos(videos, sample=3, seed=seed, shard=(1, 1))] for seed in (0, 0, *range(1, 9))
    ]
    assert names[0] == names[1] and len(set(map(tuple, names))) > 1
    assert all(len(set(chosen)) == 3 and chosen == sorted(chosen) for chosen in names)
    for shard, sample in (((3, 2), None), ((0, 2), None), ((1, 1), 6), ((1, 1), 0)):
        with pytest.raises(InputError):
            choose_videos(videos, sample=sample, seed=0, shard=shard)


def test_a_folder_goes_on_only_with_its_own_settings(tmp_path):
    claim_folder(tmp_path / "out", {"every": 2, "initializer": "sam"})
    claim_folder(tmp_path / "out", {"every": 2, "initializer": "sam"})
    with pytest.raises(InputError, match=r"initializer 'sam' \(now 'ar'\)"):
        claim_folder(tmp_path / "out", {"every": 2, "initializer": "ar"})
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(InputError, match="not empty"):
        claim_folder(tmp_path, {})
    (tmp_path / "out" / "masks.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        claim_folder(tmp_path / "out", {})


def test_records_that_were_tampered_with_are_refused(lasot, tmp_path):
    run(list_videos("lasot", lasot), tmp_path / "out")
    path = records_path(tmp_path / "out", "cat-1")
    whole = path.read_text(encoding="utf-8")
    for damaged in (whole.replace("frame,", "film,", 1), whole + "1,2,3\n", whole.replace("kept", "fine", 1)):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(InputError, match="cat-1"):
            run(list_videos("lasot", lasot), tmp_path / "out")


# The datasets


def test_lasot_trains_on_its_training_set(lasot):
    (lasot / "testing_set.txt").write_text("cat-2\ndog-3\n")
    assert [video.name for video in list_videos("lasot", lasot)] == ["cat-1", "dog-1", "dog-2"]
    (lasot / "training_set.txt").write_text("dog-1\ncat-1\n")
    videos = list_videos("lasot", lasot)
    assert [video.name for video in videos] == ["cat-1", "dog-1"]
    sequence = videos[0].read()
    assert sequence.frames[2] == lasot / "cat" / "cat-1" / "img" / "00000003.jpg"
    assert sequence.boxes[2].tolist() == list(box_of(2))


def test_got10k(tmp_path):
    folder = write_video(tmp_path / "train" / "GOT-10k_Train_000001")
    write_lines(folder / "absence.label", [0, 1, 0, 0, 0, 0])
    write_lines(folder / "cover.label", [8, 8, 0, 1, 8, 8])
    write_lines(tmp_path / "train" / "list.txt", ["GOT-10k_Train_000001"])
    for root in (tmp_path, tmp_path / "train"):
        (video,) = list_videos("got10k", root)
        sequence = video.read()
        assert sequence.visible.tolist() == [True, False, False, True, True, True]
        assert all(frame.is_file() for frame in sequence.frames)
    write_lines(folder / "absence.label", [0, 1])
    with pytest.raises(InputError, match=r"absence\.label: 2 flags for 6 boxes"):
        video.read()


def test_a_folder_that_is_not_the_dataset(tmp_path):
    for layout in ("lasot", "got10k", "egotracks"):
        with pytest.raises(InputError, match=tmp_path.name):
            list_videos(layout, tmp_path)
        with pytest.raises(InputError):
            list_videos(layout, tmp_path / "nowhere")
    with pytest.raises(InputError, match="imagenet"):
        list_videos("imagenet", tmp_path)


CLIP = "0b3dd5a9-b0a4-4e62-9d2f-4f4f9d2f3f11"


def ego_box(index: int, scale: int = 1, **more) -> dict:
    x, y, w, h = (scale * side for side in box_of(index))
    number = {"exported_clip_frame_number": 6 * index, "frame_number": index}
    return {"x": x, "y": y, "width": w, "height": h, "rotation": 0, **number, **more}


def ego_object(boxes: list, **more) -> dict:
    return {"is_valid": True, "object_title": "mug / cup: 1", "visual_crop": boxes[-1], "lt_track": boxes[:-1], **more}


@pytest.fixture
def egotracks(tmp_path):
    """Writes the annotations of these objects, and their clip's frames."""
    (tmp_path / "frames" / CLIP).mkdir(parents=True)
    for index in range(FRAMES):
        write_image(tmp_path / "frames" / CLIP / f"{6 * index}.jpg", picture(index))

    def write(objects: dict) -> Path:
        clips = [{"exported_clip_uid": CLIP, "annotations": [{"query_sets": objects}]}]
        clips.append({"exported_clip_uid": None, "annotations": []})
        content = {"version": "v2", "videos": [{"video_uid": "v", "clips": clips}]}
        (tmp_path / "egotracks_train.json").write_text(json.dumps(content))
        return tmp_path

    return write


def test_egotracks(egotracks, tmp_path):
    boxes = [ego_box(index) for index in range(FRAMES)]
    flat = ego_object([ego_box(0, width=0), *boxes[1:]])
    rough = ego_object(boxes, lt_track=[ego_box(0, x=0), boxes[2]], visual_clip=[boxes[0]], object_title="книга")
    others = {"3": {**flat, "is_valid": False}, "4": {"is_valid": True, "object_title": "a", "visual_crop": boxes[0]}}
    root = egotracks({"1": flat, "2": rough, **others})
    videos = list_videos("egotracks", root)
    assert [video.name for video in videos] == [f"{CLIP}_1_mug_cup_1", f"{CLIP}_2_книга"]
    sequence = videos[0].read()
    assert sequence.visible.tolist() == [False] + [True] * (FRAMES - 1)
    assert [frame.name for frame in sequence.frames] == [f"{6 * index}.jpg" for index in range(FRAMES)]
    assert videos[1].read().boxes.tolist() == [list(box_of(index)) for index in (0, 2, FRAMES - 1)]
    reports = run(videos, tmp_path / "out")
    assert [report.kept for report in reports.values()] == [FRAMES - 1, 3]


def test_egotracks_boxes_of_a_larger_picture_fit_the_frames(egotracks):
    size = {"original_width": 3 * WIDTH, "original_height": 3 * HEIGHT}
    root = egotracks({"1": ego_object([ego_box(index, scale=3, **size) for index in range(FRAMES)])})
    (root / "frames" / CLIP / "0.jpg").write_bytes(b"damaged")  # the size is had from another frame then
    (video,) = list_videos("egotracks", root)
    np.testing.assert_allclose(video.read().boxes, [box_of(index) for index in range(FRAMES)])


def test_egotracks_objects_without_frame_numbers_are_left_out_and_said_so(egotracks, caplog):
    boxes = [ego_box(index) for index in range(FRAMES)]
    unnumbered = {key: value for key, value in boxes[0].items() if key != "exported_clip_frame_number"}
    root = egotracks({"1": ego_object(boxes), "2": ego_object([unnumbered, *boxes])})
    assert len(list_videos("egotracks", root)) == 1
    assert "1 objects left out" in caplog.text


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda c: c.pop("videos"), "no 'videos'"),
        (lambda c: c.update(videos={}), r"\.videos is dict"),
        (lambda c: c["videos"].__setitem__(0, 5), r"videos\[0\] is int"),
        (lambda c: c["videos"][0]["clips"][0].update(exported_clip_uid="../../etc"), r"clips\[0\]\.exported_clip_uid"),
        (lambda c: sets(c).update({"../1": sets(c)["1"]}), "query_sets"),
        (lambda c: sets(c)["1"].update(lt_track="none"), r"query_sets\.1\.lt_track is str"),
        (lambda c: sets(c)["1"].update(object_title=None), "object_title is NoneType"),
        (lambda c: sets(c)["1"].update(is_valid="yes"), "is_valid is str"),
        (lambda c: sets(c)["1"]["lt_track"][1].update(x=float("nan")), r"lt_track\[1\]\.x"),
        (lambda c: sets(c)["1"]["lt_track"][1].update(width=10**400), r"lt_track\[1\]\.width"),
        (lambda c: sets(c)["1"]["lt_track"][1].update(y=True), r"lt_track\[1\]\.y is bool"),
        (lambda c: sets(c)["1"]["lt_track"][1].pop("height"), r"lt_track\[1\] has no 'height'"),
        (lambda c: sets(c)["1"]["lt_track"].__setitem__(1, [1, 2, 3, 4]), r"lt_track\[1\] is list"),
        (lambda c: sets(c)["1"]["lt_track"][0].update(exported_clip_frame_number=-1), "exported_clip_frame_number"),
        (lambda c: sets(c)["1"]["lt_track"][0].update(exported_clip_frame_number=10**30), "exported_clip_frame_number"),
        (lambda c: sets(c)["1"]["lt_track"][0].update(original_width=0, original_height=5), "0x5"),
        (lambda c: sets(c).clear(), "no tracks"),
    ],
)
def test_hostile_egotracks_files_are_refused_with_the_place(egotracks, change, place):
    root = egotracks({"1": ego_object([ego_box(index) for index in range(FRAMES)])})
    path = root / "egotracks_train.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=place) as error:
        read_egotracks(path)
    assert str(path) in str(error.value) and len(str(error.value)) < len(str(path)) + 200


def sets(content: dict) -> dict:
    return content["videos"][0]["clips"][0]["annotations"][0]["query_sets"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[" * 100_000, b"{", b"3"])
def test_files_that_are_not_egotracks(tmp_path, content):
    path = tmp_path / "egotracks_train.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"egotracks_train\.json"):
        read_egotracks(tmp_path)


# The picture of samples


def test_the_contact_sheet_shows_both_kinds(lasot, tmp_path):
    write_lines(lasot / "cat" / "cat-1" / "groundtruth.txt", ["9,8,20,30"] * FRAMES)
    run(list_videos("lasot", lasot), tmp_path / "out")
    samples = list(contact_samples(tmp_path / "out", 8, bright))
    assert len(samples) == 8
    rejected = [sample for sample in samples if sample.colour != GREEN]
    assert rejected and all("rejected" in s.caption[0] and "cat-1" in s.caption[1] for s in rejected)
    assert len({sample.caption[1].split()[0] for sample in samples}) == len(NAMES)  # every video is there
    assert all(sample.mask.any() for sample in samples)
    again = contact_samples(tmp_path / "out", 8, bright)
    assert [sample.caption for sample in samples] == [sample.caption for sample in again]


def test_a_tile_shows_the_object_with_its_mask(tmp_path):
    image = np.zeros((200, 400, 3), np.uint8)
    mask = box_to_mask(Box(10, 150, 30, 20), 200, 400)
    for count, (columns, rows) in {1: (1, 1), 5: (4, 2)}.items():
        samples = [Sample(image, mask, Box(10, 150, 30, 20), ("kept " * 30, "video"), GREEN)] * count
        write_contact_sheet(tmp_path / "sheet.png", samples)
        sheet = read_image(tmp_path / "sheet.png")
        height, width = sheet.shape[0] // rows, sheet.shape[1] // columns
        assert sheet.shape == (rows * height, columns * width, 3)
        tile = sheet[:height, :width]
        assert (tile.reshape(-1, 3) == GREEN).all(axis=1).sum() > 2000  # the bar of the caption
        tinted = (tile[..., 0] > 60) & (tile[..., 2] < 20) & (tile[..., 1] > 50)
        assert tinted.mean() > 0.05  # a small object in a corner is shown large
    with pytest.raises(InputError):
        write_contact_sheet(tmp_path / "sheet.png", [])


def test_the_table_is_plain_csv(lasot, tmp_path):
    run(list_videos("lasot", lasot), tmp_path / "out")
    with records_path(tmp_path / "out", "cat-1").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == FRAMES and rows[0]["status"] == "kept" and rows[0]["source"] == "bright"
    assert Path(rows[0]["image"]) == (lasot / "cat" / "cat-1" / "img" / "00000001.jpg").absolute()
    assert [float(rows[0][side]) for side in "xywh"] == list(box_of(0))
