"""The got10k-style tracker: its contract, and the real got10k package driving it."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest
from msdeaot_integration.got10k import MSDeAOT
from PIL import Image

from msdeaot_tracker import InputError, TrackerError

SIZE = (48, 64)
FRAMES = 4


def frame(index: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright disc that moves two pixels a frame, and its mask."""
    noise = np.random.default_rng(0).integers(0, 60, (*SIZE, 3), dtype=np.uint8)
    mask = cv2.circle(np.zeros(SIZE, np.uint8), (20 + 2 * index, 24), 9, 1, -1)
    return np.where(mask[..., None] > 0, np.uint8([230, 200, 40]), noise), mask > 0


def box_of(index: int) -> list[float]:
    return [11.0 + 2 * index, 15.0, 19.0, 19.0]


@pytest.fixture(scope="module")
def tracker() -> MSDeAOT:
    return MSDeAOT("ours", device="cpu")


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_boxes_in_boxes_out_of_pil_images(tracker):
    tracker.init(Image.fromarray(frame(0)[0]), np.array(box_of(0)))
    for index in range(1, FRAMES):
        image, truth = frame(index)
        box = tracker.update(Image.fromarray(image))
        assert np.abs(box - box_of(index)).max() <= 3
        assert overlap(tracker.mask, truth) > 0.6
        assert 0.5 < tracker.score <= 1


def test_masks_in_masks_out(tracker):
    image, truth = frame(0)
    tracker.init(image, truth.astype(np.float64))  # as VISTA's toolkit gives them
    for index in range(1, FRAMES):
        image, truth = frame(index)
        mask = tracker.update(image)
        assert mask.shape == SIZE and mask.dtype == bool
        assert overlap(mask, truth) > 0.6


def test_where_the_object_is_gone_the_last_box_is_repeated_and_the_mask_is_empty(tracker):
    tracker.init(frame(0)[0], box_of(0))
    last = tracker.update(frame(1)[0])
    box = tracker.update(np.zeros((*SIZE, 3), np.uint8))
    assert not tracker.mask.any() and tracker.score == 0
    np.testing.assert_array_equal(box, last)


@pytest.mark.parametrize("kind", ["16-bit grey", "turned", "alpha"])
def test_pictures_are_read_as_the_command_line_reads_them(tracker, kind, tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(FRAMES)]
    for index, path in enumerate(paths):
        image = Image.fromarray(frame(index)[0])
        if kind == "16-bit grey":
            Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)
        elif kind == "turned":
            exif = Image.Exif()
            exif[0x0112] = 3  # lies upside down in the file
            image.rotate(180).save(path, exif=exif)
        else:
            image.putalpha(0)
            image.save(path)
    boxes, _ = tracker.track([str(path) for path in paths], np.array(box_of(0)))
    np.testing.assert_array_equal(boxes[0], box_of(0))
    for index in range(1, FRAMES):
        assert np.abs(boxes[index] - box_of(index)).max() <= 4
    tracker.init(Image.open(paths[0]), box_of(0))
    np.testing.assert_array_equal(tracker.update(Image.open(paths[1])), boxes[1])


def test_the_next_image_is_read_while_one_is_tracked(tracker, tmp_path, monkeypatch):
    asked = []

    def paths():
        for index in range(FRAMES):
            Image.fromarray(frame(index)[0]).save(tmp_path / f"{index}.png")
            asked.append(index)
            yield str(tmp_path / f"{index}.png")

    def update(image):
        until, seen = time.monotonic() + 30, len(updated)
        while len(asked) < min(seen + 3, FRAMES) and time.monotonic() < until:
            time.sleep(0.001)
        updated.append(list(asked))
        return np.array(box_of(0))

    updated = []
    monkeypatch.setattr(tracker, "update", update)
    tracker.track(paths(), np.array(box_of(0)))
    assert updated == [[0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]]


def test_a_missing_image_is_named_where_it_would_have_been_tracked(tracker, tmp_path):
    paths = [str(tmp_path / f"{index}.png") for index in range(3)]
    for index in range(2):
        Image.fromarray(frame(index)[0]).save(paths[index])
    threads = threading.active_count()
    with pytest.raises(InputError, match=r"2\.png"):
        tracker.track(paths, np.array(box_of(0)))
    assert np.abs(tracker.update(frame(2)[0]) - box_of(2)).max() <= 3  # the frame before it was tracked
    assert threading.active_count() == threads


def test_a_start_without_annotation_is_refused(tracker):
    with pytest.raises(InputError, match="NaN"):
        tracker.init(frame(0)[0], np.full(SIZE, np.nan))


def test_before_the_first_frame_there_is_no_mask():
    with pytest.raises(TrackerError, match="init first"):
        _ = MSDeAOT(device="cpu").mask


def test_the_real_package_runs_and_scores_it(tracker, tmp_path, monkeypatch):
    pytest.importorskip("got10k", reason="needs the extra `got10k`")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    from got10k.experiments import ExperimentGOT10k

    data = tmp_path / "data"
    for name in ("left", "right"):
        write_sequence(data / "val" / name)
    (data / "val" / "list.txt").write_text("left\nright\n")
    experiment = ExperimentGOT10k(data, subset="val", result_dir=tmp_path, report_dir=tmp_path)
    experiment.run(tracker)
    results = sorted((tmp_path / "GOT-10k" / "ours").glob("*/*_*.txt"))
    boxes = [path for path in results if "time" not in path.name]
    assert [path.name for path in boxes] == ["left_001.txt", "right_001.txt"]  # once each: it is deterministic
    assert np.loadtxt(boxes[0], delimiter=",").shape == (FRAMES, 4)
    assert experiment.report(["ours"])["ours"]["overall"]["ao"] > 0.7


def write_sequence(folder) -> None:
    """GOT-10k's own layout."""
    folder.mkdir(parents=True)
    for index in range(FRAMES):
        Image.fromarray(frame(index)[0]).save(folder / f"{index + 1:08d}.jpg", quality=95)
    np.savetxt(folder / "groundtruth.txt", [box_of(index) for index in range(FRAMES)], delimiter=",", fmt="%.4f")
    height, width = SIZE
    (folder / "meta_info.ini").write_text(f"[METAINFO]\nresolution: ({width}, {height})\n")
    for label, value in (("cover", 8), ("absence", 0), ("cut_by_image", 0)):
        (folder / f"{label}.label").write_text(f"{value}\n" * FRAMES)
