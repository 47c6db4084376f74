"""A tracker from names: which initializer and which box refiner it gets."""

import numpy as np
import pytest

from msdeaot_tracker import InputError, MaskEstimate, load_tracker
from msdeaot_tracker.geometry import box_to_mask, mask_to_box
from msdeaot_tracker.initializers import INITIALIZERS

IMAGE = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
GIVEN = (20, 15, 30, 24)


class Seer:
    """Stands for Alpha-Refine, whose weights are not at hand: its boxes are `shift` pixels off."""

    def __init__(self, shift=1, device="auto"):
        self.shift, self.device = shift, device

    def __call__(self, image, box):
        return MaskEstimate(box_to_mask(box, *image.shape[:2]), "ar")

    def reference(self, image, box):
        return None

    def refine(self, image, box, reference):
        return MaskEstimate(box_to_mask(box, *image.shape[:2]), "ar", box=box._replace(x=box.x + self.shift))


@pytest.fixture(autouse=True)
def seer(monkeypatch):
    monkeypatch.setitem(INITIALIZERS, "ar", lambda: Seer)


def shift_of(**settings) -> float:
    tracker = load_tracker(device="cpu", box_from="ar", **settings)
    tracker.initialize(IMAGE, {1: GIVEN})
    result = tracker.track(IMAGE)
    return result.boxes[1].x - mask_to_box(result.masks[1]).x


def test_boxes_from_the_initializer_from_a_part_of_it_or_from_a_refiner_of_their_own():
    assert shift_of(initializer="ar", initializer_settings={"shift": 2}) == 2
    assert shift_of(initializer="ar+box", initializer_settings={"ar": {"shift": 3}}) == 3
    assert shift_of(initializer="box", initializer_settings={"ar": {"shift": 4}}) == 4
    assert shift_of(initializer="box") == 1


def test_boxes_from_alpha_refine_are_not_those_of_another_refiner(monkeypatch):
    class Other(Seer):
        def __init__(self, device="auto"):
            super().__init__(9, device)

    monkeypatch.setitem(INITIALIZERS, "other", lambda: Other)
    assert shift_of(initializer="other", initializer_settings={"ar": {"shift": 5}}) == 5
    assert shift_of(initializer="other+ar", initializer_settings={"ar": {"shift": 6}}) == 6


def test_settings_reach_model_and_initializer():
    settings = {"initializer": "grabcut", "initializer_settings": {"iterations": 2}}
    tracker = load_tracker(device="cpu", overrides=["memory.long_term_max=3"], **settings)
    assert tracker.model.preset.memory.long_term_max == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"box_from": "sam"}, "box_from='sam'"),
        ({"initializer": "box", "initializer_settings": {"ar": {}}}, "no setting 'ar'"),
        ({"initializer_settings": {"depth": 3}}, "no setting 'depth'"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(InputError, match=message):
        load_tracker(device="cpu", **settings)
