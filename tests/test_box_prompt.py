"""The choice among a network's masks, and its memory of one image; the network here is one convolution."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from msdeaot_tracker.geometry import box_to_mask, ellipse_in_box, mask_to_box
from msdeaot_tracker.initializers.box_prompt import BoxPrompted, choose
from msdeaot_tracker.types import Box, TrackerError

IMAGE = np.random.default_rng(0).integers(0, 255, (24, 40, 3), np.uint8)
BOX = Box(10, 5, 20, 10)


def logits_of(*boxes: Box | None) -> torch.Tensor:
    """[M, 24, 40], +2 in each box and -2 around it."""
    masks = [box_to_mask(box, 24, 40) if box else np.zeros((24, 40), bool) for box in boxes]
    return torch.from_numpy(np.stack(masks)).float() * 4 - 2


def chosen(predicted_iou: list[float], *boxes: Box | None) -> int:
    return choose("sam", logits_of(*boxes), torch.tensor(predicted_iou), BOX, {}).details["chosen"]


def test_of_masks_that_fit_alike_the_one_predicted_better_is_taken():
    assert chosen([0.7, 0.9, 0.8], BOX, BOX, BOX) == 1


def test_of_masks_predicted_alike_the_one_that_fits_the_box_is_taken():
    assert chosen([0.9, 0.9, 0.9], Box(10, 5, 6, 4), Box(0, 0, 40, 24), Box(11, 5, 19, 10)) == 2


def test_quality_and_fit_are_multiplied():
    half, all_of_it = Box(10, 5, 10, 10), BOX
    assert chosen([0.99, 0.45], half, all_of_it) == 0  # 0.495 against 0.45
    assert chosen([0.99, 0.55], half, all_of_it) == 1


def test_a_prediction_above_one_counts_as_one():
    assert chosen([3.0, 1.0], Box(10, 5, 10, 10), BOX) == 1


def test_without_any_trust_in_the_masks_the_fit_decides():
    assert chosen([-0.1, -0.2, 0.9], Box(10, 5, 10, 10), BOX, None) == 1


def test_an_empty_mask_is_never_taken():
    assert chosen([1.0, 0.2, 1.0], None, BOX, None) == 1


def test_the_estimate_holds_the_numbers_of_all_masks():
    boxes = BOX, Box(10, 5, 10, 10), None
    estimate = choose("sam", logits_of(*boxes), torch.tensor([0.5, 0.75, 1.0]), BOX, {"precision": "float32"})
    assert estimate.details == {
        "precision": "float32", "chosen": 0,
        "predicted_iou_0": 0.5, "predicted_iou_1": 0.75, "predicted_iou_2": 1.0,
        "box_iou_0": 1.0, "box_iou_1": 0.5, "box_iou_2": 0.0,
    }  # fmt: skip
    assert mask_to_box(estimate.mask) == BOX and estimate.mask.dtype == bool
    assert estimate.probability.dtype == np.float32
    np.testing.assert_allclose(estimate.probability[[5, 0], [10, 0]], 1 / (1 + np.exp([-2.0, 2.0])), rtol=1e-6)


@pytest.mark.parametrize(
    ("boxes", "reason"), [((None, None, None), "empty"), ((None, Box(0, 20, 5, 4), None), "no mask meets the box")]
)
def test_nothing_usable_is_the_ellipse_with_a_warning(caplog, boxes, reason):
    with caplog.at_level(logging.WARNING):
        estimate = choose("sam", logits_of(*boxes), torch.tensor([0.9, 0.9, 0.9]), BOX, {})
    np.testing.assert_array_equal(estimate.mask, ellipse_in_box(BOX, 24, 40))
    assert estimate.probability is None
    assert reason in estimate.details["fallback"] and "chosen" not in estimate.details
    assert estimate.details["predicted_iou_2"] == pytest.approx(0.9)
    assert "ellipse" in caplog.text


class Brightness(BoxPrompted):
    """The object is what is brighter than the box's mean, in the picture's first, second or third colour."""

    def __init__(self, half: bool | None = False, gain: float = 1.0) -> None:
        layers = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.InstanceNorm2d(3))  # the gain cancels
        layers[0].weight.data = torch.eye(3)[..., None, None] * gain
        super().__init__("brightness", layers, torch.device("cpu"), half)
        self.encoded = 0

    def _encode(self, image):
        self.encoded += 1
        return (self.model(torch.from_numpy(image).permute(2, 0, 1)[None].float()),)

    def _decode(self, embedding, image, prompt):
        maps = embedding[0][0]
        inside = torch.from_numpy(box_to_mask(Box(*prompt.box), *image.shape[:2]))
        return maps - maps[:, inside].mean(1)[:, None, None], torch.tensor([0.9, 0.8, 0.7])


def test_further_boxes_on_an_image_do_not_encode_it_again():
    network = Brightness()
    first = network(IMAGE, BOX)
    network(IMAGE, Box(0, 0, 5, 5))
    np.testing.assert_array_equal(network(IMAGE.copy(), BOX).mask, first.mask)
    assert network.encoded == 1


def test_a_buffer_with_new_pixels_is_a_new_image():
    buffer = IMAGE.copy()
    network = Brightness()
    network(buffer, BOX)
    buffer[12, 20, 1] ^= 1
    network(buffer, BOX)
    assert network.encoded == 2
    buffer[:] = 255 - buffer
    expected = Brightness()(buffer.copy(), BOX)
    np.testing.assert_array_equal(network(buffer, BOX).mask, expected.mask)
    assert network.encoded == 3


def test_an_image_of_the_same_pixels_in_another_shape_is_a_new_image():
    network = Brightness()
    flat = np.full((24, 40, 3), 7, np.uint8)
    flat[0, 0] = 90
    network(flat, BOX)
    assert network(flat.reshape(40, 24, 3), Box(2, 5, 20, 10)).mask.shape == (40, 24)
    assert network.encoded == 2


def test_half_precision_is_used_where_it_suffices(caplog):
    estimate = Brightness(half=True)(IMAGE, BOX)
    assert estimate.details["precision"] == "float16" and not caplog.records
    assert estimate.probability.dtype == np.float32
    np.testing.assert_allclose(estimate.probability, Brightness()(IMAGE, BOX).probability, atol=5e-3)


def test_an_overflow_of_half_precision_is_repeated_in_float32_with_a_warning(caplog):
    network = Brightness(half=True, gain=1e5)
    estimate = network(IMAGE, BOX)
    assert estimate.details["precision"] == "float32 (float16 overflowed)"
    assert "half precision" in caplog.text
    np.testing.assert_array_equal(estimate.probability, Brightness(gain=1e5)(IMAGE, BOX).probability)
    assert network(IMAGE, Box(0, 0, 5, 5)).details["precision"] == "float32 (float16 overflowed)"
    assert network.encoded == 2  # once in each precision, for both boxes


def test_float32_is_the_rule_on_the_cpu():
    assert Brightness(half=None)(IMAGE, BOX).details["precision"] == "float32"


def test_numbers_that_are_not_finite_in_float32_are_an_error():
    with pytest.raises(TrackerError, match=r"brightness.*damaged"):
        Brightness(gain=float("nan"))(IMAGE, BOX)


def test_out_of_memory_names_the_remedy_and_leaves_nothing_half_remembered():
    network = Brightness()
    network(IMAGE, BOX)

    def fail(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    hook = network.model.register_forward_hook(fail)
    for _ in range(2):
        with pytest.raises(TrackerError, match=r"40x24 with brightness.*smaller weights.*cpu"):
            network(255 - IMAGE, BOX)
    hook.remove()
    expected = Brightness()(255 - IMAGE, BOX)
    np.testing.assert_array_equal(network(255 - IMAGE, BOX).mask, expected.mask)
