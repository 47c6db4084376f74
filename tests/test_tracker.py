import logging

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from msdeaot_tracker import PRESETS, Box, InputError, MaskEstimate, Tracker, TrackerError, override
from msdeaot_tracker.boxes import drop_strays
from msdeaot_tracker.config import MemoryConfig, ModelConfig, Preset, Stage, TrackerConfig
from msdeaot_tracker.geometry import main_parts, mask_to_box
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.parts import LabelParts

SIZE = (64, 80)


@pytest.fixture(scope="module")
def model() -> MSDeAOT:
    """Random weights, a minute network: what a tracker does with objects, memory and sizes does not need more."""
    torch.manual_seed(0)
    stages = (Stage(16, 1, 16), Stage(8, 1, 16, memory_stride=2))
    config = ModelConfig("resnet_small", stages, window=2)
    return MSDeAOT(Preset("tiny", config, MemoryConfig(), TrackerConfig(long_edge=96, precision="float32"))).eval()


@pytest.fixture(scope="module")
def video() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    still = rng.integers(0, 256, (SIZE[0], SIZE[1] + 40, 3), dtype=np.uint8)
    return [np.ascontiguousarray(still[:, t : t + SIZE[1]]) for t in range(40)]


def mask_at(x: int, y: int, w: int = 16, h: int = 12) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + h, x : x + w] = True
    return mask


def assert_consistent(result, object_ids):
    assert result.labels.shape == SIZE and result.labels.dtype == np.int32
    assert set(result.boxes) == set(result.scores) == set(result.masks) == set(object_ids)
    assert set(np.unique(result.labels)) <= {0, *object_ids}
    for object_id, mask in result.masks.items():
        assert mask.dtype == bool and np.array_equal(mask, result.labels == object_id)
        assert result.boxes[object_id] == mask_to_box(mask)
        assert (result.scores[object_id] == 0.0) == (not mask.any())
        assert 0 <= result.scores[object_id] <= 1


def test_the_first_result_is_what_was_given(model, video):
    result = Tracker(model).initialize(video[0], {3: mask_at(10, 20), 8: mask_at(40, 30)})
    assert_consistent(result, {3, 8})
    assert np.array_equal(result.masks[3], mask_at(10, 20))
    assert result.boxes[8] == Box(40, 30, 16, 12)
    assert result.scores == {3: 1.0, 8: 1.0}


def test_ids_stay_over_the_video(model, video):
    tracker = Tracker(model)
    tracker.initialize(video[0], {300: mask_at(10, 20), 7: mask_at(40, 30)})
    for index, image in enumerate(video[1:8], start=1):
        result = tracker.track(image)
        assert result.frame_index == index
        assert_consistent(result, {7, 300})


def test_a_box_becomes_a_mask_through_the_initializer(model, video):
    seen = []

    def initializer(image, box):
        seen.append(box)
        return MaskEstimate(mask_at(5, 6), source="test")

    result = Tracker(model, initializer=initializer).initialize(video[0], {1: (4, 5, 30, 20)})
    assert seen == [Box(4, 5, 30, 20)]
    assert np.array_equal(result.masks[1], mask_at(5, 6))


def test_of_overlapping_targets_the_smaller_one_stays_on_top(model, video):
    result = Tracker(model).initialize(video[0], {1: mask_at(20, 20, 4, 4), 2: mask_at(10, 10, 40, 40)})
    assert result.masks[1].sum() == 16 and result.masks[2].sum() == 1600 - 16


def test_objects_come_and_go(model, video):
    tracker = Tracker(model)
    tracker.initialize(video[0], {1: mask_at(10, 20)})
    tracker.track(video[1])
    result = tracker.track(video[2], {5: mask_at(50, 40)})
    assert_consistent(result, {1, 5})
    assert np.array_equal(result.masks[5], mask_at(50, 40))
    tracker.remove([1])
    assert tracker.object_ids == (5,)
    assert_consistent(tracker.track(video[3]), {5})
    tracker.remove([5])
    assert_consistent(tracker.track(video[4]), set())
    assert_consistent(tracker.track(video[5], {1: mask_at(0, 0)}), {1})


def test_reinitializing_replaces_the_mask_and_adds_a_reference(model, video):
    tracker = Tracker(model)
    tracker.initialize(video[0], {1: mask_at(10, 20)})
    tracker.track(video[1])
    before = tracker.memory_tokens
    result = tracker.track(video[2], {1: mask_at(50, 40)})
    assert np.array_equal(result.masks[1], mask_at(50, 40))
    assert tracker.memory_tokens == 2 * before


def test_a_frame_with_targets_is_remembered_like_a_first_frame(model, video):
    """It reads itself with the new masks; what was propagated to it from before does not enter (PARITY 11, 22)."""
    later, first = Tracker(model), Tracker(model)
    later.initialize(video[0], {1: mask_at(10, 20)})
    later.track(video[1], {1: mask_at(50, 40)})
    first.initialize(video[1], {1: mask_at(50, 40)})
    for again, expected in zip(*(t._groups[0].memory.view().short_term for t in (later, first)), strict=True):
        for one, other in zip(again.tensors, expected.tensors, strict=True):
            assert torch.allclose(one, other, atol=1e-5)


def test_more_objects_than_identities_encode_each_frame_once(model, video):
    tracker = Tracker(model)
    calls = []
    handle = model.encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        targets = {i: mask_at(4 * i, 3 * i, 4, 3) for i in range(1, 16)}
        assert_consistent(tracker.initialize(video[0], targets), set(targets))
        assert_consistent(tracker.track(video[1]), set(targets))
        added = tracker.track(video[2], {99: mask_at(0, 50)})
    finally:
        handle.remove()
    assert_consistent(added, {*targets, 99})
    assert len(calls) == 3


def test_the_slot_of_a_removed_object_is_not_given_to_another(model, video):
    """Otherwise a new object would inherit what memory holds of the old one."""
    one, two = Tracker(model), Tracker(model)
    one.initialize(video[0], {1: mask_at(10, 20), 2: mask_at(40, 30)})
    two.initialize(video[0], {1: mask_at(10, 20), 2: mask_at(40, 30)})
    one.remove([2])
    assert_consistent(one.track(video[1], {3: mask_at(60, 5)}), {1, 3})
    assert_consistent(two.track(video[1], {3: mask_at(60, 5)}), {1, 2, 3})
    assert one.memory_tokens == two.memory_tokens


def test_what_is_remembered_for_long_are_frames_that_the_tracker_is_sure_of(model, video):
    held = {}
    for score in (0.0, 1.0):
        tracker = Tracker(model, preset=override(model.preset, "memory.long_term_gap=1", f"memory.sure_score={score}"))
        tracker.initialize(video[0], {3: mask_at(10, 20), 8: mask_at(40, 30)})
        before = tracker.memory_tokens
        for image in video[1:4]:
            tracker.track(image)
        held[score] = tracker.memory_tokens / before
    assert held == {0.0: 4.0, 1.0: 1.0}


def test_one_memory_per_object(model, video):
    preset = override(model.preset, "tracker.objects_per_memory=1")
    shared, apart = Tracker(model), Tracker(model, preset=preset)
    targets = {1: mask_at(10, 20), 2: mask_at(40, 30), 3: mask_at(60, 5)}
    for tracker in (shared, apart):
        tracker.initialize(video[0], targets)
        assert_consistent(tracker.track(video[1]), set(targets))
    assert apart.memory_tokens == 3 * shared.memory_tokens
    # A group of one does not know the others: with a single object both settings are the same computation.
    alone, single = Tracker(model), Tracker(model, preset=preset)
    for tracker in (alone, single):
        tracker.initialize(video[0], {1: mask_at(10, 20)})
    assert np.array_equal(alone.track(video[1]).labels, single.track(video[1]).labels)


def test_each_object_remembers_its_own_frames(model, video):
    preset = override(model.preset, "memory.policy=per_object", "memory.long_term_gap=1", "memory.long_term_max=2")
    tracker = Tracker(model, preset=preset)
    tracker.initialize(video[0], {1: mask_at(10, 10)})
    tracker.track(video[1], {2: mask_at(50, 20)})
    for image in video[2:5]:
        tracker.track(image)
    held = tracker._groups[0].memory.long_term.frames_by_object
    assert held[0][-2:] == (0, 1) and held[1][-2:] == (0, 1)  # references
    assert held[2][-1] == 1 and 0 not in held[2]
    assert all(len(frames) <= 2 for frames in held.values())


def test_specks_of_a_propagated_mask_do_not_stretch_its_box(model, video):
    targets = {1: mask_at(10, 20) | mask_at(70, 2, 2, 2)}
    plain = Tracker(model)
    cleaned = Tracker(model, preset=override(model.preset, "tracker.box_share=0.3"))
    assert cleaned.initialize(video[0], targets).boxes == plain.initialize(video[0], targets).boxes  # as given
    shrunk = 0
    for image in video[1:12]:
        box, expected = cleaned.track(image).boxes[1], plain.track(image)
        assert np.array_equal(cleaned.track(image).labels, plain.track(image).labels)
        rows, columns = np.nonzero(main_parts(expected.masks[1], 0.3))
        assert box == Box(columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
        shrunk += box != expected.boxes[1]
    assert shrunk
    with pytest.raises(InputError, match="box_share"):
        override(model.preset, "tracker.box_share=1.5")


def test_strays_are_parts_of_a_mask_that_are_not_where_the_object_is():
    def dropped(**settings):
        labels = np.where(mask_at(10, 20) | mask_at(30, 22, 4, 4) | mask_at(60, 2, 6, 6), 3, 0) + 7 * mask_at(50, 40)
        drop_strays(LabelParts(labels), {3: Box(10, 20, 18, 14)}, TrackerConfig(**settings))
        return labels

    everything = dropped()
    assert np.array_equal(dropped(drop_strays=True), everything)  # any box would do
    assert np.array_equal(dropped(box_growth=2.0), everything)
    kept = dropped(drop_strays=True, box_growth=2.0)
    assert np.array_equal(kept == 3, mask_at(10, 20) | mask_at(30, 22, 4, 4))
    assert np.array_equal(kept == 7, everything == 7)


def test_boxes_keep_the_margins_of_the_box_that_was_given(model, video):
    def left_half(image, box):
        return MaskEstimate(mask_at(int(box.x), int(box.y), int(box.w) // 2, int(box.h)), source="test")

    plain = Tracker(model, initializer=left_half)
    fitted = Tracker(model, initializer=left_half, preset=override(model.preset, "tracker.box_margins=True"))
    targets = {1: (10, 20, 32, 12), 2: mask_at(60, 20)}
    assert plain.initialize(video[0], targets).boxes == {1: Box(10, 20, 16, 12), 2: Box(60, 20, 16, 12)}
    assert fitted.initialize(video[0], targets).boxes == {1: Box(10, 20, 32, 12), 2: Box(60, 20, 16, 12)}
    wider = 0
    for image in video[1:8]:
        expected, found = plain.track(image), fitted.track(image)
        assert np.array_equal(found.labels, expected.labels)
        assert found.boxes[2] == expected.boxes[2]  # a mask that was given has no margins
        if (box := expected.boxes[1]) is not None:
            width = min(2 * box.w, SIZE[1] - box.x)
            assert found.boxes[1] == pytest.approx((box.x, box.y, width, box.h))
            wider += width > box.w
    assert wider
    again = {1: mask_at(30, 20)}
    assert fitted.track(video[8], again).boxes[1] == Box(30, 20, 16, 12)
    result = fitted.track(video[9])
    assert result.boxes[1] == mask_to_box(result.masks[1])


def test_trackers_share_a_model_without_disturbing_each_other(model, video):
    def run(*others):
        tracker = Tracker(model)
        tracker.initialize(video[0], {1: mask_at(10, 20)})
        labels = []
        for image in video[1:6]:
            labels.append(tracker.track(image).labels)
            for other in others:
                other.track(image)
        return np.stack(labels)

    other = Tracker(model)
    other.initialize(video[0], {1: mask_at(40, 30), 2: mask_at(0, 0)})
    assert np.array_equal(run(), run(other))


def test_initialize_again_is_a_fresh_video(model, video):
    tracker = Tracker(model)
    tracker.initialize(video[9], {4: mask_at(0, 0), 6: mask_at(30, 9)})
    for image in video[10:25]:
        tracker.track(image)
    fresh = Tracker(model)
    for t in (tracker, fresh):
        t.initialize(video[0], {1: mask_at(10, 20)})
    again, first = (t.track(video[1]) for t in (tracker, fresh))
    assert np.array_equal(again.labels, first.labels) and again.scores == first.scores
    assert again.frame_index == 1 and tracker.memory_tokens == fresh.memory_tokens


def test_a_new_video_may_have_another_size(model, video):
    tracker = Tracker(model)
    tracker.initialize(video[0], {1: mask_at(10, 20)})
    wide = np.zeros((50, 200, 3), np.uint8)
    assert tracker.initialize(wide, {1: np.ones((50, 200), bool)}).labels.shape == (50, 200)
    assert tracker.track(wide).labels.shape == (50, 200)


def test_memory_after_200_frames_is_that_after_2000(model):
    stages = (Stage(16, 1, 8),)
    torch.manual_seed(0)
    small = MSDeAOT(Preset("smallest", ModelConfig("resnet_small", stages, window=1))).eval()
    tracker = Tracker(small)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    tracker.initialize(image, {1: np.eye(16, dtype=bool)})
    held = {}
    for frame in range(1, 2001):
        tracker.track(image)
        held[frame] = tracker.memory_tokens, _stored_bytes(tracker)
    assert held[200] == held[2000]
    assert held[1] < held[200]


def _stored_bytes(tracker: Tracker) -> int:
    """Of all memories of the tracker, whatever holds them, each storage once."""
    found = {}
    for group in tracker._groups:
        view = group.memory.view()
        entries = [view.long_term, *group.memory.long_term._entries, *(entry for _, entry in group.memory._recent)]
        for tensor in (t for entry in entries for tokens in entry for t in tokens.tensors):
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


class NoFloat64(TorchDispatchMode):
    """Stands for a device without float64 (mps): every operation that makes such a tensor is an error."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outcome = function(*args, **(kwargs or {}))
        for tensor in outcome if isinstance(outcome, tuple | list) else (outcome,):
            assert not (isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64), function
        return outcome


def test_nothing_needs_float64(model, video):
    with pytest.raises(AssertionError), NoFloat64():
        torch.zeros(1, dtype=torch.float64)
    with NoFloat64():
        tracker = Tracker(model)
        tracker.initialize(video[0], {i: mask_at(4 * i, 3 * i, 4, 3) for i in range(1, 13)})
        assert_consistent(tracker.track(video[1], {20: (40, 30, 16, 12)}), {*range(1, 13), 20})
        assert_consistent(tracker.track(video[2]), {*range(1, 13), 20})


def test_scores_and_boxes_of_absent_objects(model, video):
    """An object that loses every pixel to another one is absent: empty mask, no box, score 0."""
    tracker = Tracker(model)
    tracker.initialize(video[0], {1: mask_at(10, 20)})
    result = tracker.track(video[1], {2: np.ones(SIZE, bool)})
    assert result.boxes[1] is None and result.scores[1] == 0.0 and not result.masks[1].any()


class TestBadInput:
    @pytest.mark.parametrize(
        ("image", "named"),
        [
            (np.zeros((64, 80, 2), np.uint8), r"\(64, 80, 2\)"),
            (np.zeros((64, 80, 3), np.int32), "int32"),
            (np.zeros((64, 80, 3), np.float32), "float32"),
            (np.zeros((0, 80, 3), np.uint8), "empty"),
            ([[1, 2, 3]], "list"),
        ],
    )
    def test_images(self, model, image, named):
        with pytest.raises(InputError, match=named):
            Tracker(model).initialize(image, {1: (1, 1, 5, 5)})

    @pytest.mark.parametrize(
        ("targets", "named"),
        [
            ({}, "at least one"),
            ({0: (1, 1, 5, 5)}, "0"),
            ({-3: (1, 1, 5, 5)}, "-3"),
            ({"a": (1, 1, 5, 5)}, "'a'"),
            ({True: (1, 1, 5, 5)}, "True"),
            ({1: (1, 1, 0, 5)}, "no area"),
            ({1: (1, 1, 5, -1)}, "no area"),
            ({1: (500, 1, 5, 5)}, "outside"),
            ({1: (1, float("nan"), 5, 5)}, "finite"),
            ({1: (1, 2, 3)}, "four numbers"),
            ({1: np.zeros(SIZE, bool)}, "object 1.*empty"),
            ({1: np.ones((9, 9), bool)}, r"\(9, 9\)"),
        ],
    )
    def test_targets(self, model, video, targets, named):
        tracker = Tracker(model)
        with pytest.raises(InputError, match=named):
            tracker.initialize(video[0], targets)
        with pytest.raises(TrackerError):
            tracker.track(video[0])

    def test_a_bad_target_leaves_a_running_video_as_it_was(self, model, video):
        tracker, untouched = Tracker(model), Tracker(model)
        for t in (tracker, untouched):
            t.initialize(video[0], {1: mask_at(10, 20)})
        with pytest.raises(InputError):
            tracker.track(video[1], {2: np.zeros(SIZE, bool)})
        with pytest.raises(InputError):
            tracker.initialize(video[1], {2: (1, 1, -1, 4)})
        assert np.array_equal(tracker.track(video[1]).labels, untouched.track(video[1]).labels)

    def test_frames_that_change_size(self, model, video):
        tracker = Tracker(model)
        tracker.initialize(video[0], {1: mask_at(10, 20)})
        with pytest.raises(InputError, match=r"\(32, 80\).*\(64, 80\)"):
            tracker.track(video[1][:32])

    def test_a_box_partly_outside_is_clipped_with_a_warning(self, model, video, caplog):
        with caplog.at_level(logging.WARNING):
            result = Tracker(model, initializer="box").initialize(video[0], {1: (-10, 20, 30, 20)})
        assert result.boxes[1] == Box(0, 20, 20, 20)
        assert "clipped" in caplog.text

    def test_removing_an_unknown_object(self, model, video):
        tracker = Tracker(model)
        tracker.initialize(video[0], {1: mask_at(10, 20)})
        with pytest.raises(InputError, match="object 2"):
            tracker.remove([2])

    def test_track_before_initialize(self, model, video):
        with pytest.raises(TrackerError, match="initialize"):
            Tracker(model).track(video[0])


def test_presets_bound_memory_by_default():
    assert all(preset.memory.long_term_max is not None for preset in PRESETS.values())


# Initializers during tracking


def fixed(mask, **more):
    """An initializer that answers the same to everything, and the boxes it was asked about."""
    asked = []

    def initializer(image, box):
        asked.append(box)
        return MaskEstimate(mask, source="fixed", **more)

    return initializer, asked


def test_a_result_tells_where_the_masks_of_given_objects_come_from(model, video):
    initializer, _ = fixed(mask_at(5, 6), details={"sides": 4})
    tracker = Tracker(model, initializer=initializer)
    result = tracker.initialize(video[0], {1: (4, 5, 30, 20), 2: mask_at(40, 50)})
    assert {i: e.source for i, e in result.estimates.items()} == {1: "fixed", 2: "given"}
    assert result.estimates[1].details == {"sides": 4}
    assert tracker.track(video[1]).estimates == {}


def test_the_initializer_is_asked_again_every_so_many_frames(model, video):
    initializer, asked = fixed(mask_at(5, 6))
    preset = override(model.preset, "tracker.refine_every=3", "tracker.refine_agreement=0.0")
    tracker = Tracker(model, initializer=initializer, preset=preset)
    tracker.initialize(video[0], {1: mask_at(5, 6)})
    results = [tracker.track(image) for image in video[1:8]]
    refined = [result.frame_index for result in results if result.estimates]
    assert refined == [3, 6] and len(asked) == 2
    assert all(np.array_equal(results[i - 1].masks[1], mask_at(5, 6)) for i in refined)


def test_a_refinement_must_confirm_the_propagated_mask_and_take_nothing_from_others(model, video):
    everywhere = np.ones(SIZE, bool)
    targets = {1: mask_at(5, 6), 2: mask_at(40, 50)}
    plain = Tracker(model)
    plain.initialize(video[0], targets)
    without = plain.track(video[1])
    results = {}
    for agreement in (0.0, 0.99):
        settings = "tracker.refine_every=1", f"tracker.refine_agreement={agreement}"
        tracker = Tracker(model, initializer=fixed(everywhere)[0], preset=override(model.preset, *settings))
        tracker.initialize(video[0], targets)
        results[agreement] = tracker.track(video[1])
    assert np.array_equal(results[0.99].labels, without.labels) and not results[0.99].estimates
    assert (results[0.0].labels > 0).all() and set(results[0.0].estimates) == {1, 2}
    for object_id in targets:
        assert not (without.masks[object_id] & ~results[0.0].masks[object_id]).any()


def test_refining_every_zeroth_frame_is_refused(model):
    with pytest.raises(InputError, match="refine_every=0"):
        override(model.preset, "tracker.refine_every=0")


def test_alternatives_are_remembered_as_further_references(model, video):
    one, _ = fixed(mask_at(5, 6))
    same, _ = fixed(mask_at(5, 6), alternatives=(mask_at(5, 6),))
    other, _ = fixed(mask_at(5, 6), alternatives=(mask_at(30, 40),))
    results = {}
    for name, initializer in {"one": one, "same": same, "other": other}.items():
        tracker = Tracker(model, initializer=initializer)
        first = tracker.initialize(video[0], {1: (4, 5, 30, 20)})
        assert np.array_equal(first.masks[1], mask_at(5, 6))
        results[name] = tracker.memory_tokens, tracker.track(video[1])
    assert results["same"][0] == results["other"][0] == 2 * results["one"][0]
    assert results["one"][1].scores[1] == pytest.approx(results["same"][1].scores[1], abs=1e-5)
    assert results["one"][1].scores[1] != pytest.approx(results["other"][1].scores[1], abs=1e-5)


class Refiner:
    """Finds every object 1 pixel left of where it is looked for, but never the one it first saw at x = 40."""

    def __init__(self):
        self.seen = []

    def reference(self, image, box):
        self.seen.append(box)
        return box.x

    def refine(self, image, box, reference):
        found = None if reference == 40 else Box(box.x - 1, box.y, box.w, box.h)
        return MaskEstimate(mask_at(5, 6), source="refiner", box=found)


def test_boxes_can_come_from_a_refiner(model, video):
    tracker, refiner = Tracker(model), Refiner()
    refined = Tracker(model, box_refiner=refiner)
    targets = {1: mask_at(5, 6), 2: mask_at(40, 50)}
    assert tracker.initialize(video[0], targets).boxes == refined.initialize(video[0], targets).boxes
    assert refiner.seen == [mask_to_box(mask) for mask in targets.values()]
    plain, exact = tracker.track(video[1]), refined.track(video[1])
    assert np.array_equal(plain.labels, exact.labels)
    assert exact.boxes[1] == plain.boxes[1]._replace(x=plain.boxes[1].x - 1)
    assert exact.boxes[2] == plain.boxes[2]


def test_a_full_device_is_explained(model, video, monkeypatch):
    tracker = Tracker(model)
    tracker.initialize(video[0], {1: mask_at(5, 6)})

    def fail(*_):
        raise torch.cuda.OutOfMemoryError("2 GiB")

    monkeypatch.setattr(model, "propagate", fail)
    with pytest.raises(TrackerError, match=r"tracking 1 objects at 81x65 .*long_edge"):
        tracker.track(video[1])


def test_an_object_that_is_lost_on_its_first_frame_is_named(model, video, caplog):
    tracker = Tracker(model)
    result = tracker.initialize(video[0], {4: mask_at(10, 20), 9: mask_at(10, 20)})
    assert "object 4 has the same pixels as object 9" in caplog.text and not result.masks[4].any()
    caplog.clear()
    tracker.initialize(video[0], {4: (10, 20, 16, 12), 9: (10, 20, 16, 12)})
    assert "object 4 has the same pixels as object 9" in caplog.text
    caplog.clear()
    tracker.initialize(video[0], {1: mask_at(10, 20)})
    tracker.track(video[0], {2: np.ones(SIZE, bool)})
    assert "object 1 has the same pixels as object 2" in caplog.text
    caplog.clear()
    tracker.initialize(video[0], {1: mask_at(10, 20), 2: mask_at(12, 22, 4, 4), 3: mask_at(40, 30)})
    assert "same pixels" not in caplog.text


def test_an_object_that_vanishes_at_the_networks_size_is_named(model, caplog):
    image = np.zeros((640, 800, 3), np.uint8)
    mask = np.zeros((640, 800), bool)
    mask[[301, 104], [401, 103]] = True  # far apart, and between the pixels that the network sees
    Tracker(model).initialize(image, {6: mask, 7: ~mask})
    assert "object 6 is so thin that none of its 2 pixels is left at 97x81: it is not seen" in caplog.text
    assert "object 7" not in caplog.text


def test_images_and_masks_in_other_spellings_track_alike(model, video):
    plain, other = Tracker(model), Tracker(model)
    plain.initialize(video[0], {1: mask_at(10, 20)})
    other.initialize(torch.from_numpy(video[0]).permute(2, 0, 1), {1: torch.from_numpy(mask_at(10, 20))[None].float()})
    for image in video[1:4]:
        expected, found = plain.track(image), other.track(np.dstack([image, image[..., 0]]))
        np.testing.assert_array_equal(found.labels, expected.labels)
