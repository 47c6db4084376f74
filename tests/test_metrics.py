from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msdeaot_tracker.evaluation import (
    Returns,
    StaticTracker,
    box_iou,
    find_sequences,
    one_pass_ious,
    returns,
    roc_area,
    run_sequence,
    success_curve,
    success_score,
)
from msdeaot_tracker.geometry import mask_iou, mask_to_box
from msdeaot_tracker.types import Box, FrameResult, InputError

DAVIS = Path(__file__).parents[2] / "shared" / "real" / "davis16_dev"
ABSENT = [np.nan] * 4


# Boxes


@pytest.mark.parametrize(
    ("visible", "found_on", "expected"),
    [
        ("111111", "", (0, 0, 0, 0)),
        ("110011", "4", (1, 1, 1, 1)),
        ("110010", "4", (1, 1, 0, 0)),
        ("110001", "5", (1, 1, 0, 0)),
        ("110011", "1", (1, 0, 1, 0)),
        ("10111001", "37", (2, 2, 1, 1)),
        ("1011101111", "9", (2, 0, 2, 0)),  # the fourth frame after it came back is too late
        ("001100", "2", (1, 1, 1, 1)),
    ],
)
def test_how_often_an_object_is_found_again(visible, found_on, expected):
    """That it came back; that it was found; that it stayed for two frames; that it did and was found."""
    ious = np.array([0.3 if str(t) in found_on else 0.29 for t in range(len(visible))])
    assert returns(ious, np.array([*visible]) == "1", within=3, stay=2, overlap=0.3) == Returns(*expected)


def test_roc_area_counts_pairs_in_order():
    assert roc_area(np.array([0.9, 0.6]), np.array([0.1, 0.6, 0.7])) == pytest.approx((3 + 1.5) / 6)
    assert np.isnan(roc_area(np.array([]), np.array([0.1])))


def test_box_iou_of_known_pairs():
    a = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 0, 0]], float)
    b = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [10, 0, 10, 10], [2, 2, 5, 5], [5, 5, 0, 0]], float)
    np.testing.assert_allclose(box_iou(a, b), [1, 50 / 150, 0, 0.25, 0])
    np.testing.assert_allclose(box_iou(b, a), box_iou(a, b))


def test_box_iou_agrees_with_counting_pixels():
    random = np.random.default_rng(0)
    boxes = np.column_stack([random.integers(0, 20, (50, 2)), random.integers(1, 20, (50, 2))])
    others = np.column_stack([random.integers(0, 20, (50, 2)), random.integers(1, 20, (50, 2))])

    def mask(x, y, w, h):
        filled = np.zeros((40, 40), bool)
        filled[y : y + h, x : x + w] = True
        return filled

    counted = [mask_iou(mask(*a), mask(*b)) for a, b in zip(boxes, others, strict=True)]
    np.testing.assert_allclose(box_iou(boxes, others), counted)


def test_an_absent_box_overlaps_nothing():
    assert box_iou(np.array([ABSENT, [0, 0, 1, 1]]), np.array([[0, 0, 1, 1], ABSENT])).tolist() == [0, 0]


def test_the_first_frame_counts_as_tracked_and_absent_truth_is_left_out():
    predicted = np.array([[90, 90, 1, 1], [0, 0, 10, 10], [0, 0, 10, 10], ABSENT, ABSENT])
    truth = np.array([[0, 0, 10, 10], [0, 0, 10, 10], ABSENT, [0, 0, 10, 10], ABSENT])
    assert one_pass_ious(predicted, truth).tolist() == [1, 1, 0]


# Success


def test_an_overlap_at_a_threshold_is_not_above_it():
    curve = success_curve(np.array([0.5]))
    assert curve.tolist() == [1] * 10 + [0] * 11
    assert success_score(np.array([0.0])) == 0
    assert success_score(np.array([1.0])) == pytest.approx(20 / 21)


def test_success_score_of_a_hand_made_run():
    # 1 is above 20 of the 21 thresholds, 0.52 above 11, 0.04 above 1, 0 above none.
    assert success_score(np.array([1, 0.52, 0.04, 0])) == pytest.approx((20 + 11 + 1 + 0) / (4 * 21))


def test_success_score_is_close_to_the_mean_overlap():
    ious = np.random.default_rng(0).random(5000)
    assert success_score(ious) == pytest.approx(ious.mean(), abs=0.01)


# Masks


def test_mask_iou():
    a, b = np.zeros((2, 4, 4), bool)
    assert mask_iou(a, b) == 1
    a[0] = True
    assert mask_iou(a, b) == 0
    b[:, 0] = True
    assert mask_iou(a, b) == pytest.approx(1 / 7)


# Sequences


def write_sequence(root: Path, name: str, annotations: list[np.ndarray], mode: str = "L") -> None:
    images, masks = root / "JPEGImages" / name, root / "Annotations" / name
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for index, labels in enumerate(annotations):
        Image.fromarray(np.full((*labels.shape, 3), index, np.uint8)).save(images / f"{index:05d}.png")
        image = Image.fromarray(labels.astype(np.uint8))
        if mode == "P":
            image.putpalette([200, 100, 0] * 256)
        image.save(masks / f"{index:05d}.png")


def square(row: int, column: int, side: int = 4) -> np.ndarray:
    labels = np.zeros((12, 16), np.uint8)
    labels[row : row + side, column : column + side] = 1
    return labels


class Replay:
    """Answers with given label maps and remembers what it was asked."""

    def __init__(self, labels: list[np.ndarray]):
        self.labels, self.images = labels, []

    def initialize(self, image, targets):
        self.targets = targets
        return self.track(image)

    def track(self, image):
        labels = self.labels[len(self.images)].astype(np.int32)
        self.images.append(image)
        boxes = {i: mask_to_box(labels == i) for i in self.targets}
        return FrameResult(len(self.images) - 1, labels, boxes, dict.fromkeys(boxes, 1.0))


@pytest.mark.parametrize("foreground", [1, 255])
def test_binary_annotations_of_both_kinds(tmp_path, foreground):
    write_sequence(tmp_path, "a", [square(2, 3) * foreground, square(2, 4) * foreground, square(0, 0, 0)])
    (sequence,) = find_sequences(tmp_path)
    assert len(sequence) == 3 and sequence.object_ids == (1,)
    np.testing.assert_array_equal(sequence.masks(1)[1], square(2, 4) == 1)
    assert not sequence.masks(2)[1].any()
    assert sequence.image(1)[0, 0].tolist() == [1, 1, 1]


def test_indexed_annotations_hold_several_objects(tmp_path):
    labels = square(1, 1) + 2 * square(6, 8)
    labels[0, 0] = 255
    write_sequence(tmp_path, "b", [labels], mode="P")
    write_sequence(tmp_path, "a", [square(0, 0)])
    first, second = find_sequences(tmp_path)
    assert (first.name, second.name) == ("a", "b")
    assert second.object_ids == (1, 2)
    np.testing.assert_array_equal(second.masks(0)[2], square(6, 8) == 1)


@pytest.mark.parametrize("init", ["mask", "box"])
def test_a_run_is_scored_frame_by_frame(tmp_path, init):
    truth = [square(2, 2), square(2, 4), square(2, 6), square(0, 0, 0), square(2, 6)]
    answers = [square(8, 12), square(2, 4), square(2, 8), square(0, 0), square(0, 0, 0)]
    write_sequence(tmp_path, "a", truth)
    tracker, steps = Replay(answers), []
    score = run_sequence(tracker, find_sequences(tmp_path)[0], init, progress=lambda: steps.append(1))
    if init == "mask":
        np.testing.assert_array_equal(tracker.targets[1], truth[0] == 1)
    else:
        assert tracker.targets == {1: Box(2, 2, 4, 4)}
    assert [int(image[0, 0, 0]) for image in tracker.images] == [0, 1, 2, 3, 4] and len(steps) == 5
    assert score.frames == 5
    # Boxes: 1 (given), 1, 1/3, truth absent, answer absent. 1/3 is above 7 thresholds.
    assert score.objects[1].success == pytest.approx((20 + 20 + 7 + 0) / (4 * 21))
    # Masks without the first and the last frame: 1, 1/3, and 0 for an answer where there is nothing.
    assert score.objects[1].jaccard == pytest.approx((1 + 1 / 3 + 0) / 3)
    # An overlap of 1 is a good frame; 1/3, an answer where there is nothing, and none where there is something are not.
    assert (len(score.objects[1].good), len(score.objects[1].poor)) == (1, 3)


def test_every_object_has_its_own_score(tmp_path):
    both = square(0, 0) + 2 * square(6, 8)
    write_sequence(tmp_path, "a", [both] * 3)
    score = run_sequence(Replay([both, square(0, 0), square(0, 0)]), find_sequences(tmp_path)[0], "mask")
    assert score.objects[1].jaccard == 1 and score.objects[2].jaccard == 0
    assert score.objects[2].success == pytest.approx(20 / 21 / 3)


def test_a_static_box_is_not_rounded():
    tracker, box = StaticTracker(), Box(3.25, 4.5, 10.75, 6.5)
    image = np.zeros((20, 30, 3), np.uint8)
    assert tracker.initialize(image, {1: box}).boxes[1] == tracker.track(image).boxes[1] == box


@pytest.mark.parametrize("init", ["mask", "box"])
def test_the_static_baseline_repeats_what_it_was_given(init):
    mask = square(2, 3) == 1
    mask[2, 3] = False
    tracker = StaticTracker()
    image = np.zeros((12, 16, 3), np.uint8)
    tracker.initialize(image, {4: mask if init == "mask" else Box(3, 2, 4, 4)})
    result = tracker.track(image + 1)
    assert result.boxes == {4: (3, 2, 4, 4)}
    np.testing.assert_array_equal(result.masks[4], mask if init == "mask" else square(2, 3) == 1)


@pytest.mark.parametrize("broken", ["nothing", "no annotation", "no object", "empty folder"])
def test_folders_that_cannot_be_evaluated(tmp_path, broken):
    if broken != "nothing":
        write_sequence(tmp_path, "a", [square(0, 0, 0 if broken == "no object" else 4)] * 2)
    annotation = tmp_path / "Annotations" / "a" / "00000.png"
    if broken == "no annotation":
        annotation.unlink()
    if broken == "empty folder":
        for path in (tmp_path / "JPEGImages" / "a").iterdir():
            path.unlink()
    expected = {
        "nothing": "JPEGImages",
        "no annotation": r"has no annotation .*a.00000\.png",
        "no object": r"a.00000\.png shows no object",
        "empty folder": "JPEGImages.a holds no images",
    }
    with pytest.raises(InputError, match=expected[broken]):
        find_sequences(tmp_path)


@pytest.mark.skipif(not DAVIS.is_dir(), reason="the real sequences are not here")
def test_static_scores_on_a_real_sequence():
    """Against scores computed elsewhere from the same files: 0.465 success and 0.322 J on all six."""
    scores = [run_sequence(StaticTracker(), sequence, "mask") for sequence in find_sequences(DAVIS)]
    objects = [score.objects[1] for score in scores]
    assert np.mean([s.success for s in objects]) == pytest.approx(0.465, abs=5e-4)
    assert np.mean([s.jaccard for s in objects]) == pytest.approx(0.322, abs=5e-4)
