import logging

import numpy as np
import pytest
import torch

from msdeaot_tracker import Box, InputError
from msdeaot_tracker.geometry import (
    box_to_mask,
    clip_box,
    grown,
    main_box,
    main_parts,
    margins,
    mask_to_box,
    network_size,
    one_hot,
    share_inside,
    with_margins,
)


def test_box_and_mask_are_inverse_on_whole_pixels():
    box = Box(3, 5, 7, 2)
    assert mask_to_box(box_to_mask(box, 20, 30)) == box
    assert mask_to_box(np.zeros((4, 5), bool)) is None


def test_the_box_of_scattered_pixels_spans_them_all():
    mask = np.zeros((10, 12), bool)
    mask[2, 9] = mask[7, 3] = True
    assert mask_to_box(mask) == Box(3, 2, 7, 6)


def test_main_parts_are_those_with_a_share_of_the_mask():
    mask = np.zeros((20, 40), np.uint8)
    mask[2:8, 2:12] = 1  # 60 pixels
    mask[8, 12] = 1  # touches by a corner only
    mask[10:15, 20:26] = 1  # 30
    mask[18, 30:39] = 1  # 9
    assert mask_to_box(main_parts(mask, 0.0)) == mask_to_box(mask)
    assert mask_to_box(main_parts(mask, 0.1)) == Box(2, 2, 24, 13)
    assert mask_to_box(main_parts(mask, 0.31)) == mask_to_box(main_parts(mask, 1.0)) == Box(2, 2, 11, 7)
    assert not main_parts(np.zeros((5, 6), bool), 0.5).any()


def test_of_parts_too_far_off_for_one_object_the_one_in_its_place_counts():
    mask = np.zeros((60, 100), np.uint8)
    mask[20:26, 10:20] = mask[30:40, 10:20] = 1  # cut in two by a pole, as it were
    mask[5:25, 60:90] = 1  # what looks like it elsewhere, and larger
    object_, other = Box(10, 20, 10, 20), Box(60, 5, 30, 20)

    def box(last, growth):
        return mask_to_box(main_parts(mask, 0.05, last=last, growth=growth))

    for last in (object_, Box(8, 17, 10, 20), Box(13, 25, 9, 16)):
        assert box(last, 2.0) == object_
    assert box(Box(70, 10, 10, 20), 2.0) == other
    assert box(Box(30, 45, 10, 10), 2.0) == other  # lies nowhere near any: the largest
    assert mask_to_box(main_parts(mask, 0.3, last=object_, growth=2.0)) == object_  # little beside the other
    assert box(object_, 1e3) == box(object_, None) == box(None, 2.0) == mask_to_box(mask)
    assert box(Box(10, 20, 10, 6), 1.5) == Box(10, 20, 10, 6) and box(Box(10, 20, 10, 6), 3.5) == object_


def test_parts_far_above_a_narrow_object_are_not_its_own_though_the_area_fits():
    mask = np.zeros((90, 60), np.uint8)
    mask[50:80, 20:30] = 1  # half as wide as usual
    mask[2:9, 22:30] = 1  # makes the box 2.6 times as high, and not 1.5 times the usual area
    upright, last = Box(20, 50, 10, 30), Box(15, 50, 20, 30)
    assert mask_to_box(main_parts(mask, 0.0, last=last, growth=1.5)) == upright
    assert mask_to_box(main_parts(mask.T, 0.0, last=Box(50, 15, 30, 20), growth=1.5)) == Box(50, 20, 30, 10)
    assert mask_to_box(main_parts(mask, 0.0, last=last, growth=3.0)) == mask_to_box(mask)


def test_of_parts_on_both_sides_that_fit_alone_one_counts():
    mask = np.zeros((90, 60), np.uint8)
    mask[40:60, 20:30] = mask[32:36, 20:30] = mask[65:68, 20:30] = 1  # 28 rows with either, 36 with both
    last = Box(20, 40, 10, 20)
    assert mask_to_box(main_parts(mask, 0.0, last=last, growth=1.5)) == Box(20, 32, 10, 28)
    assert mask_to_box(main_parts(mask, 0.0, last=last, growth=1.8)) == mask_to_box(mask)


@pytest.mark.parametrize("settings", [{}, {"last": Box(20, 10, 12.5, 9), "growth": 1.5}])
def test_the_main_box_is_that_of_the_main_parts(settings):
    random = np.random.default_rng(0)
    for share in (0.0, 0.2, 0.9):
        mask = random.random((40, 60)) < 0.2
        assert main_box(mask, share, **settings) == mask_to_box(main_parts(mask, share, **settings))
    assert main_box(np.zeros((4, 5), bool), 0.2, **settings) is None


def test_a_box_partly_outside_is_clipped_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        assert clip_box((-5, 2, 20, 100), height=50, width=40) == Box(0, 2, 15, 48)
    assert "(-5, 2, 20, 100)" in caplog.text


def test_a_box_inside_is_left_alone(caplog):
    assert clip_box((0.25, 2.5, 39.75, 3), height=50, width=40) == Box(0.25, 2.5, 39.75, 3)
    assert not caplog.text


@pytest.mark.parametrize(
    "box",
    [(50, 0, 10, 10), (0, -20, 5, 20), (1, 1, 0, 5), (1, 1, 5, -2), (float("nan"), 0, 1, 1), (1, 2, 3), "abcd", None],
)
def test_an_unusable_box_is_an_error(box):
    with pytest.raises(InputError):
        clip_box(box, height=50, width=40)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # Worked by hand from PARITY 19: int() truncation, then round-half-even to 16k+1.
        ((480, 854), (481, 849)),
        ((1080, 1920), (577, 1041)),
        ((161, 161), (161, 161)),
        ((10, 300), (17, 305)),
    ],
)
def test_network_size_with_aligned_corners(size, expected):
    assert network_size(*size, long_edge=1040, short_edge=0, align_corners=True) == expected


def test_network_size_for_swin_and_for_small_images():
    assert network_size(480, 854, long_edge=1040, short_edge=0, align_corners=False) == (480, 848)
    assert network_size(240, 320, long_edge=1040, short_edge=480, align_corners=True) == (481, 641)
    assert max(network_size(100, 1000, long_edge=1040, short_edge=480, align_corners=True)) <= 1041


def test_one_hot_leaves_unknown_labels_out():
    mask = one_hot(torch.tensor([[[0, 2], [255, 1]]]), objects=2)
    assert mask.shape == (1, 3, 2, 2)
    assert mask.sum(dim=1).tolist() == [[[1, 1], [0, 1]]]


def test_margins_are_those_of_the_given_box_wherever_the_mask_goes():
    outer, inner = Box(10.5, 20, 40, 60), Box(15, 20, 20, 50)
    added = margins(outer, inner)
    assert added == pytest.approx((4.5 / 20, 0, 15.5 / 20, 10 / 50))
    assert with_margins(inner, added, 200, 200) == pytest.approx(outer)
    # Twice as large, elsewhere: so are the margins.
    assert with_margins(Box(50, 30, 40, 100), added, 200, 200) == pytest.approx((41, 30, 80, 120))
    assert with_margins(Box(-3, 170, 40, 40), added, 200, 60) == pytest.approx((0, 170, 60, 30))  # the image's part
    assert with_margins(outer, margins(inner, outer), 200, 200) == pytest.approx(inner)  # a mask beyond its box


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((5, 5), (20, 30, 10, 20)),  # no smaller than it is
        ((20, 20), (16, 30, 20, 20)),  # two fifths are missing to the left of it, and three to the right
        ((99, 30), (10, 30, 35, 30)),
        ((99, 99), (10, 30, 35, 60)),  # no larger than the other one
    ],
)
def test_a_box_grows_in_another_to_the_size_asked_for(wanted, expected):
    assert grown(Box(20, 30, 10, 20), Box(10, 30, 35, 60), *wanted) == pytest.approx(expected)


def test_the_share_of_a_box_that_an_object_covers_in_it():
    labels = np.zeros((40, 40), np.int32)
    labels[10:20, 10:20] = labels[30:35, 30:35] = 1
    assert share_inside(labels, 1, Box(10, 10, 20, 10)) == 0.5
    assert share_inside(labels, 1, Box(-10, 10, 30, 10)) == pytest.approx(1 / 3)
    assert share_inside(labels, 1, None) == 0.0
