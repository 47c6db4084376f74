"""Clicks as targets: checked, made into masks by each initializer that can, and corrected on any frame."""

import numpy as np
import pytest
import torch
from colour_model import ColourModel, scene

from msdeaot_tracker import Points, Tracker, make_initializer
from msdeaot_tracker.geometry import box_to_mask, mask_iou
from msdeaot_tracker.initializers import INITIALIZERS, PointInitializer
from msdeaot_tracker.initializers.box_prompt import choose_by_clicks
from msdeaot_tracker.initializers.clicks import obeyed
from msdeaot_tracker.targets import check_points
from msdeaot_tracker.types import Box, InputError, MaskEstimate

SIZE = (96, 128)
RED, BLUE = (20, 30, 40, 30), (80, 20, 24, 40)  # in the scene
IMAGE = scene(SIZE, {1: RED, 3: BLUE})
TRUTH = box_to_mask(Box(*RED), *SIZE)


def checked(*clicks, **more) -> Points:
    return check_points(Points(*clicks, **more), *SIZE)


# What is refused


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (Points([(128, 5)]), "(128, 5) lies outside the image of 128x96"),
        (Points([(5, 5)], [(-0.1, 5)]), "background point (-0.1, 5) lies outside"),
        (Points([(5,)]), "a foreground point is two numbers"),
        (Points(["ab"]), "a foreground point is two numbers"),
        (Points([(float("nan"), 5)]), "is not finite"),
        (Points([(5, 5)], [(5.9, 5.2)]), "both foreground and background"),
        (Points([(5, 5)], box=(1, 2, 3)), "a box is four numbers"),
        (Points([(5, 5)], mask=np.ones((3, 3), bool)), "mask is bool (3, 3)"),
        (Points(), "to show where the object is"),
        (Points([], [(5, 5)]), "to show where the object is"),
    ],
)
def test_bad_points_are_named_and_change_nothing(points, words):
    tracker = Tracker(ColourModel(), initializer="grabcut")
    tracker.initialize(IMAGE, {1: RED})
    before = tracker.snapshot()
    with pytest.raises(InputError) as error:
        tracker.track(IMAGE, {2: points})
    assert words in str(error.value)
    assert tracker.snapshot() == before and tracker.object_ids == (1,)


@pytest.mark.parametrize("name", ["box", "box+grabcut"])
def test_an_initializer_that_takes_boxes_alone_says_so(name):
    tracker = Tracker(ColourModel(), initializer=name)
    with pytest.raises(InputError, match=r"boxes, not of points; grabcut, lite, sam and sam-hf take points"):
        tracker.initialize(IMAGE, Points([(30, 40)]))


def test_the_message_names_all_that_take_points():
    assert {n for n, find in INITIALIZERS.items() if hasattr(find(), "from_points")} == {
        "grabcut",
        "lite",
        "sam",
        "sam-hf",
    }


# Masks of clicks


@pytest.mark.parametrize("name", ["grabcut", "lite"])
def test_one_click_finds_what_stands_out(name):
    estimate = make_initializer(name, device="cpu").from_points(IMAGE, checked([(40, 45)]))
    assert mask_iou(estimate.mask, TRUTH) > 0.8
    assert estimate.source == name


@pytest.mark.parametrize("name", ["grabcut", "lite"])
def test_every_click_has_its_way(name):
    initializer, random = make_initializer(name, device="cpu"), np.random.default_rng(5)
    for round_ in range(3):
        clicks = [
            (float(x), float(y)) for x, y in zip(random.uniform(0, 128, 5), random.uniform(0, 96, 5), strict=True)
        ]
        mask = [None, np.roll(TRUTH, 12, axis=1), TRUTH][round_]
        points = checked(clicks[:3], clicks[3:], mask=mask)
        mask = initializer.from_points(IMAGE, points).mask
        assert obeyed(mask, points) == 1 and mask.shape == SIZE and mask.dtype == bool


@pytest.mark.parametrize("name", ["grabcut", "lite"])
def test_nothing_outside_the_box_of_clicks_is_the_object_far_away(name):
    estimate = make_initializer(name, device="cpu").from_points(IMAGE, checked([(90, 30)], box=BLUE))
    assert mask_iou(estimate.mask, box_to_mask(Box(*BLUE), *SIZE)) > 0.8


def test_a_click_corrects_a_mask_near_it_and_leaves_it_far_away():
    half = box_to_mask(Box(20, 30, 20, 30), *SIZE)
    both = half | box_to_mask(Box(*BLUE), *SIZE)
    grabcut = make_initializer("grabcut")
    grown = grabcut.from_points(IMAGE, checked([(52, 45)], mask=half)).mask
    assert mask_iou(grown, TRUTH) > 0.85 > mask_iou(half, TRUTH)
    less = grabcut.from_points(IMAGE, checked([(25, 40)], [(90, 40)], mask=TRUTH | both)).mask
    assert mask_iou(less, TRUTH) > 0.85 > mask_iou(TRUTH | both, TRUTH)


def test_the_mask_with_the_clicks_on_its_side_is_chosen():
    def logits(*boxes):
        return torch.from_numpy(np.stack([box_to_mask(Box(*b), *SIZE) for b in boxes])).float() * 4 - 2

    points = Points(((30.0, 40.0),), ((90.0, 30.0),))
    whole = (0, 0, 128, 96)
    chosen = choose_by_clicks("sam", logits(whole, RED, BLUE), torch.tensor([1.0, 0.2, 0.9]), points, {})
    assert chosen.details["chosen"] == 1 and chosen.details["obeyed_0"] == 0.5
    equal = choose_by_clicks("sam", logits(RED, RED), torch.tensor([0.1, 0.2]), points, {})
    assert equal.details["chosen"] == 1
    with pytest.raises(InputError, match="finds no object at these points"):
        choose_by_clicks("sam", logits(BLUE), torch.tensor([0.9]), points, {})


# In a video


class Recording:
    """Masks are discs around the first click; keeps what it was asked."""

    def __init__(self):
        self.asked: list[Points] = []

    def __call__(self, image, box):
        return MaskEstimate(box_to_mask(box, *image.shape[:2]), "recording")

    def from_points(self, image, points):
        self.asked.append(points)
        return MaskEstimate(TRUTH, "recording")


def test_clicks_on_a_tracked_object_correct_what_is_seen_of_it_on_that_frame():
    initializer = Recording()
    assert isinstance(initializer, PointInitializer)
    tracker = Tracker(ColourModel(), initializer=initializer)
    tracker.initialize(IMAGE, {1: RED})
    moved = scene(SIZE, {1: (26, 33, 40, 30), 3: BLUE})
    seen = tracker.snapshot()
    propagated = tracker.track(moved).masks[1]
    for clicks, mask in ((([(40, 45)],), propagated), (([], [(5, 5)]), propagated), (([(100, 80)],), None)):
        tracker.restore(seen)
        result = tracker.track(moved, {1: Points(*clicks)})
        assert (initializer.asked[-1].mask is None) == (mask is None)
        assert mask is None or np.array_equal(initializer.asked[-1].mask, mask)
        assert result.sources == {1: "prompted"} and np.array_equal(result.masks[1], TRUTH)
    own = box_to_mask(Box(0, 0, 9, 9), *SIZE)
    tracker.track(moved, {1: Points([(40, 45)], mask=own)})
    assert np.array_equal(initializer.asked[-1].mask, own)


def test_masks_can_be_looked_at_before_they_count():
    tracker = Tracker(ColourModel(), initializer="grabcut")
    tracker.initialize(IMAGE, {1: RED})
    before = tracker.snapshot()
    shown = tracker.estimate(IMAGE, {2: Points([(90, 40)]), 3: BLUE})
    assert list(shown) == [2, 3] and tracker.snapshot() == before
    result = tracker.track(IMAGE, {2: Points([(90, 40)])})
    np.testing.assert_array_equal(result.masks[2], shown[2].mask)
    assert result.sources == {1: "tracked", 2: "prompted"}


def test_a_snapshot_is_gone_back_to_as_often_as_one_likes():
    tracker = Tracker(ColourModel(), initializer="box")
    tracker.initialize(IMAGE, {1: RED})
    frames = [scene(SIZE, {1: (20 + 5 * i, 30, 40, 30)}) for i in range(4)]
    results, snapshots = [], []
    for image in frames:
        results.append(tracker.track(image))
        snapshots.append(tracker.snapshot())
    tracker.remove(1)
    for at in (2, 0):
        tracker.restore(snapshots[at])
        again = tracker.track(frames[at + 1])
        assert again.frame_index == results[at + 1].frame_index == at + 2
        assert again.scores == results[at + 1].scores
        np.testing.assert_array_equal(again.labels, results[at + 1].labels)
