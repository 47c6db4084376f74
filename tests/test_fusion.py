"""Two initializers for one box: masks that agree, masks that do not, and what the estimate says of it."""

from dataclasses import dataclass

import numpy as np
import pytest

from msdeaot_tracker.geometry import mask_iou
from msdeaot_tracker.initializers import make_initializer
from msdeaot_tracker.initializers.fusion import Fusion, fuse
from msdeaot_tracker.types import Box, InputError, MaskEstimate

BOX = Box(10, 10, 20, 12)


def rectangle(x: int, y: int, w: int, h: int) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[y : y + h, x : x + w] = True
    return mask


def estimate(mask: np.ndarray, source: str, probability: float | None = None, **more) -> MaskEstimate:
    """Where the mask is, `probability`; elsewhere 1 - probability."""
    soft = None if probability is None else np.where(mask, probability, 1 - probability).astype(np.float32)
    return MaskEstimate(mask, source, soft, **more)


@dataclass(frozen=True)
class Fixed:
    """Answers the same whatever it is asked, and remembers what it was asked."""

    answer: MaskEstimate
    asked: list

    def __call__(self, image: np.ndarray, box: Box) -> MaskEstimate:
        self.asked.append(box)
        return self.answer


def test_masks_that_agree_are_averaged():
    a = estimate(rectangle(10, 10, 20, 12), "ar", 0.9)
    b = estimate(rectangle(10, 10, 18, 12), "sam", 0.7)
    fused = fuse(a, b, BOX)
    assert fused.source == "ar+sam: mean"
    assert fused.details["iou_masks"] == pytest.approx(18 / 20)
    assert fused.details["iou_ar_box"] == 1 and fused.details["iou_sam_box"] == pytest.approx(18 / 20)
    assert fused.probability[15, 15] == pytest.approx(0.8) and fused.probability[0, 0] == pytest.approx(0.2)
    # In the strip that only the first has, (0.9 + 0.3) / 2 is above one half.
    assert np.array_equal(fused.mask, a.mask)
    assert np.array_equal(fuse(a, estimate(b.mask, "sam", 0.95), BOX).mask, b.mask)  # (0.9 + 0.05) / 2 is not


def test_a_mask_without_probabilities_decides_only_where_the_other_one_hesitates():
    hard = estimate(rectangle(10, 10, 20, 12), "grabcut")
    soft = np.zeros((40, 60), np.float32)
    soft[10:22, 10:32] = 0.9  # two columns more than the hard mask has
    soft[10:12, 10:30] = 0.4  # rows of which it is not sure
    soft[20:22, 10:30] = 0.1  # rows that are none, it says
    fused = fuse(hard, MaskEstimate(soft > 0.5, "sam", soft), BOX, agreement=0.5)
    assert fused.source == "grabcut+sam: mean"
    assert np.array_equal(fused.mask, rectangle(10, 10, 20, 10) | rectangle(30, 10, 2, 12))
    assert fused.probability[15, 15] == pytest.approx(0.825)


def test_what_both_masks_have_is_in_the_mean_whatever_its_probability():
    mask = rectangle(10, 10, 20, 12)
    doubtful = MaskEstimate(mask, "ar", np.where(mask, 0.4, 0.1).astype(np.float32))  # a threshold below one half
    assert np.array_equal(fuse(doubtful, doubtful, BOX).mask, doubtful.mask)


@pytest.mark.parametrize("first_fits", [True, False])
def test_of_masks_that_disagree_the_one_that_fits_the_box_is_taken(first_fits):
    fitting, other = estimate(rectangle(10, 10, 20, 11), "ar", 0.9), estimate(rectangle(10, 10, 5, 5), "sam", 0.9)
    pair = (fitting, other) if first_fits else (other, fitting)
    fused = fuse(*pair, BOX)
    assert fused.source == f"{pair[0].source}+{pair[1].source}: ar"
    assert fused.mask is fitting.mask and fused.probability is fitting.probability
    assert fused.details["iou_masks"] == mask_iou(fitting.mask, other.mask)


def test_the_threshold_of_agreement_decides():
    a, b = estimate(rectangle(10, 10, 20, 12), "ar", 0.9), estimate(rectangle(10, 10, 16, 12), "sam", 0.9)
    assert fuse(a, b, BOX, agreement=0.8).source == "ar+sam: mean"
    assert fuse(a, b, BOX, agreement=0.81).source == "ar+sam: ar"


def test_both_masks_are_kept_the_fitting_one_first():
    a, b = estimate(rectangle(10, 10, 5, 5), "ar"), estimate(rectangle(10, 10, 20, 12), "sam")
    fused = Fusion(Fixed(a, []), Fixed(b, []), combine="both")(None, BOX)
    assert fused.source == "ar+sam: both" and fused.mask is b.mask and fused.alternatives == (a.mask,)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("first_found", [True, False])
@pytest.mark.parametrize("width", [5, 19])  # the stand-in disagrees with what was found, or does not
def test_a_stand_in_gives_way_to_what_was_found(width, first_found, both):
    found = estimate(rectangle(10, 10, width, 12), "sam", 0.9)
    stand_in = estimate(rectangle(10, 10, 20, 12), "ar", details={"fallback": "nothing there"})
    pair = (found, stand_in) if first_found else (stand_in, found)
    fused = fuse(*pair, BOX, both=both)
    assert fused.mask is found.mask and fused.source == f"{pair[0].source}+{pair[1].source}: sam"
    assert not fused.alternatives and "fallback" not in fused.details
    assert fuse(stand_in, stand_in, BOX, both=both).details["fallback"] == "nothing there"


def test_details_and_exact_box_of_the_parts_are_kept():
    a = estimate(rectangle(10, 10, 20, 12), "ar", 0.9, box=Box(9.5, 10, 20, 12), details={"peak": 0.5})
    b = estimate(rectangle(10, 10, 20, 12), "sam", 0.9, details={"chosen": 2})
    fused = fuse(a, b, BOX)
    assert fused.box == a.box and fused.details["ar.peak"] == 0.5 and fused.details["sam.chosen"] == 2


@pytest.mark.parametrize(("exact", "asked"), [(Box(12, 10, 18, 12), "exact"), (Box(40, 30, 5, 5), "given")])
def test_the_second_is_prompted_with_the_exact_box_of_the_first_if_it_can_be_believed(exact, asked):
    second = Fixed(estimate(rectangle(12, 10, 18, 12), "sam", 0.9), [])
    first = Fixed(estimate(rectangle(10, 10, 20, 12), "ar", 0.9, box=exact), [])
    image = np.zeros((40, 60, 3), np.uint8)
    answer = Fusion(first, second, combine="prompt")(image, BOX)
    assert first.asked == [BOX] and second.asked == [exact if asked == "exact" else BOX]
    assert answer.source == ("ar+sam: prompted" if asked == "exact" else "ar+sam: given box")
    assert answer.mask is second.answer.mask and answer.box == exact


def test_by_name_with_settings_of_the_whole_and_of_the_parts():
    fusion = make_initializer("grabcut+box", combine="both", agreement=0.5, grabcut={"iterations": 2})
    assert fusion.combine == "both" and fusion.agreement == 0.5 and fusion.first.iterations == 2
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    assert fusion(image, BOX).source == "grabcut+box: both"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("grabcut+sum", {}, "unknown initializer 'sum'"),
        ("grabcut+grabcut", {}, "two different"),
        ("a+b+c", {}, "two different"),
        ("grabcut+box", {"combine": "max"}, "combine='max'"),
        ("grabcut+box", {"agreement": 2}, "agreement=2"),
        ("grabcut+box", {"agreement": "high"}, "agreement='high'"),
        ("grabcut+box", {"iterations": 2}, "no setting 'iterations'"),
        ("grabcut+box", {"grabcut": 2}, "grabcut.KEY=VALUE"),
        ("grabcut+box", {"grabcut": {"depth": 2}}, "'grabcut' has no setting 'depth'"),
        ("grabcut+box", {"first": None}, "no setting 'first'"),
        ("box", {"depth": 2}, "'box' has no setting 'depth'; it has: none"),
    ],
)
def test_wrong_names_and_settings(name, options, message):
    with pytest.raises(InputError, match=message):
        make_initializer(name, **options)
