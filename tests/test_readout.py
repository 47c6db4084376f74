"""From logits of groups, each in its view, to labels and scores: as if all were computed at every pixel."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from parity import merge_groups
from torch.nn import functional as F

from msdeaot_tracker import readout
from msdeaot_tracker.dense_readout import read_at_once
from msdeaot_tracker.readout import Answer, read_labels
from msdeaot_tracker.views import View

FRAME = (97, 131)
WHOLE = (0, 0, 131, 97)
WINDOWS = [(-20, 10, 60, 60), (25, 30, 50, 50), (60, 45, 90, 70), (100, -10, 31, 31)]  # the last one overlaps none


def view_of(rectangle, align: bool) -> View:
    x, y, w, h = rectangle
    return View(x, y, w, h, (113, 145), FRAME, align)


def answers(rectangles, objects: int, sharp: float, align: bool) -> list[Answer]:
    """Smooth logits; the background is ahead in most places."""
    generator = torch.Generator().manual_seed(objects)
    found = []
    for group, rectangle in enumerate(rectangles):
        coarse = torch.randn(objects + 1, 6, 7, generator=generator) * sharp
        coarse[0] += 1.7 * sharp + 0.5
        logits = F.interpolate(coarse[None], (29, 37), mode="bicubic")[0]
        found.append(Answer(tuple(range(10 * group + 3, 10 * group + 3 + objects)), view_of(rectangle, align), logits))
    return found


def enlarged(answer: Answer) -> torch.Tensor:
    """[K + 1, H, W] on the whole image, all background where the view is not."""
    view, (height, width) = answer.view, FRAME
    rows, columns = view.inside
    everywhere = torch.full((len(answer.logits), height, width), -torch.inf)
    everywhere[0] = 0
    here = F.interpolate(
        answer.logits[None], (view.height, view.width), mode="bilinear", align_corners=view.align_corners
    )
    down, across = (slice(s.start - at, s.stop - at) for s, at in ((rows, view.top), (columns, view.left)))
    everywhere[:, rows, columns] = here[0, :, down, across]
    return everywhere


def read_everywhere(groups: list[Answer]) -> tuple[np.ndarray, dict[int, float]]:
    logits = [enlarged(answer) for answer in groups]
    merged = logits[0] if len(logits) == 1 else merge_groups([each.softmax(dim=0) for each in logits])
    ids = torch.tensor([0, *(i for answer in groups for i in answer.object_ids)])
    sure, channel = merged.double().softmax(dim=0).max(dim=0)
    scores = {int(i): float(sure[channel == c].mean()) for c, i in enumerate(ids) if c and (channel == c).any()}
    return ids[channel].numpy(), {int(i): scores.get(int(i), 0.0) for i in ids[1:]}


@pytest.mark.parametrize("rows", [7, 32, 1000])
@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize("sharp", [1.0, 4.0])
@pytest.mark.parametrize(
    ("rectangles", "objects"),
    [([WHOLE], 1), ([WHOLE], 4), ([WINDOWS[0]], 2), ([WINDOWS[2]], 1), ([WHOLE] * 3, 3), (WINDOWS[:3], 2)],
    ids=["one", "four", "window", "beyond the corner", "groups", "windows"],
)
def test_labels_and_scores_are_those_of_all_pixels(monkeypatch, rectangles, objects, sharp, align, rows):
    monkeypatch.setitem(readout._ROWS, "cpu", rows)
    groups = answers(rectangles, objects, sharp, align)
    labels, scores, wider = read_labels(groups, *FRAME, probability=0.2)
    expected_labels, expected_scores = read_everywhere(groups)
    assert 0 < (expected_labels > 0).mean() < 0.95
    assert (labels != expected_labels).sum() <= 1  # a near tie
    assert scores == pytest.approx(expected_scores, abs=1e-3 if (labels != expected_labels).any() else 1e-5)
    lowered = torch.tensor([np.log(0.25)] + [0] * objects, dtype=torch.float32)[:, None, None]  # of the background
    expected_wider, _ = read_everywhere([replace(answer, logits=answer.logits + lowered) for answer in groups])
    assert (wider != expected_wider).sum() <= 1 and (wider > 0).sum() > (labels > 0).sum()
    at_once, means = read_at_once(groups, *FRAME, probability=0.2)  # as on other devices
    assert np.array_equal(at_once, np.stack([labels, wider]))
    assert means.tolist() == pytest.approx(list(scores.values()), abs=1e-5)


def test_what_is_not_finite_is_read_without_an_error():
    """Whether it is, other devices say together with the labels."""
    for groups in (answers([WHOLE], 4, 1.0, True), answers([WHOLE] * 2, 1, 1.0, True)):
        for number in (torch.nan, torch.inf, -torch.inf):
            groups[0].logits[:, 10:12] = number
            assert read_at_once(groups, *FRAME)[0].shape == (1, *FRAME)


@pytest.mark.parametrize("place", [(200, 10), (-60, 10), (10, 200), (10, -60)])
def test_a_view_beside_the_image_has_nothing_to_read(place):
    (answer,) = answers([(*place, 30, 30)], 2, 4.0, True)
    labels, scores = read_at_once([answer], *FRAME)
    assert not labels.any() and scores.tolist() == [0, 0] == list(read_labels([answer], *FRAME).scores.values())


def test_views_that_do_not_overlap_are_read_each_by_itself():
    together, apart = answers(WINDOWS[:3], 2, 4.0, True), answers([WINDOWS[3]], 1, 4.0, True)
    apart[0] = Answer((90,), apart[0].view, apart[0].logits - torch.tensor([8.0, 0])[:, None, None])
    for everything in ([*together, *apart], [*apart, *together]):
        labels, scores, wider = read_labels(everything, *FRAME)
        assert wider is None
        for groups in (together, apart):
            own, own_scores, _ = read_labels(groups, *FRAME)
            assert own.any() and np.array_equal(np.where(own > 0, labels, 0), own)
            assert own_scores.items() <= scores.items()


def test_what_lies_in_the_corner_between_overlapping_views_stays():
    certain = torch.tensor([0.0, 9.0])[:, None, None].expand(2, 29, 37)
    rectangles = [(100, 25, 31, 60), (0, 0, 60, 97), (50, 0, 81, 20)]
    groups = [Answer((i,), view_of(r, True), certain) for i, r in enumerate(rectangles, 1)]
    for labels in (read_labels(groups, *FRAME).labels, read_at_once(groups, *FRAME)[0][0].numpy()):
        assert (labels[25:85, 100:131] == 1).all()


def test_two_unlikely_objects_in_different_views_are_together_ahead_of_the_background():
    """Each has less than half of its group, and neither view alone says more."""
    unlikely = torch.tensor([0.0, np.log(0.9)], dtype=torch.float32)[:, None, None].expand(2, 29, 37)
    views = [view_of(WHOLE, True), view_of((-5, -5, 141, 107), True)]
    groups = [Answer((i,), view, unlikely) for i, view in enumerate(views, 1)]
    assert read_labels(groups, *FRAME).labels.all()


@pytest.mark.parametrize("same_view", [True, False])
def test_many_unlikely_objects_of_other_groups_take_from_the_background(same_view):
    """In each group the background is ahead; in all of them together it is not."""
    views = [view_of(WHOLE, True), view_of(WHOLE if same_view else (-5, -5, 141, 107), True)]
    likely = torch.tensor([0.0, np.log(0.6)], dtype=torch.float32)
    unlikely = torch.tensor([0.0] + [np.log(0.2)] * 20, dtype=torch.float32)
    maps = [each[:, None, None].expand(-1, 29, 37) for each in (likely, unlikely)]
    groups = [Answer(ids, view, on) for ids, view, on in zip([(1,), tuple(range(2, 22))], views, maps, strict=True)]
    labels, scores, _ = read_labels(groups, *FRAME)
    expected_labels, expected_scores = read_everywhere(groups)
    assert (labels == 1).all() and np.array_equal(labels, expected_labels)
    assert scores == pytest.approx(expected_scores, abs=1e-5)


def test_only_what_may_be_an_object_is_enlarged(monkeypatch):
    """Elsewhere the background is certain: of a small object at most the bands that it touches."""
    pixels = []
    on = readout.Enlarged.on

    def counted(self, rows, columns):
        pixels.append((rows.stop - rows.start) * len(columns))
        return on(self, rows, columns)

    monkeypatch.setattr(readout.Enlarged, "on", counted)
    logits = torch.zeros(3, 29, 37)
    logits[0] = 5
    logits[1, 10:13, 20:22] = 9
    without = logits.clone()
    without[1] = 0
    _, scores, _ = read_labels(
        [Answer((i, i + 1), view_of(WHOLE, True), x) for i, x in ((1, logits), (3, without))], *FRAME
    )
    assert scores[1] > 0.5 and scores[2] == scores[3] == scores[4] == 0.0
    assert sum(pixels) <= 2 * 64 * 20


def test_merging_groups_follows_the_formula():
    first = torch.tensor([0.5, 0.3, 0.2])[:, None, None]
    second = torch.tensor([0.1, 0.9])[:, None, None]
    merged = merge_groups([first, second])
    assert torch.allclose(merged.sigmoid().flatten(), torch.tensor([0.05, 0.3, 0.2, 0.9]), atol=1e-6)


@pytest.mark.parametrize("logit", [50.0, 5000.0])
def test_certain_groups_are_merged_within_the_clamps(logit):
    """Two groups claim all for themselves: the first one has it, and neither is sure."""
    certain = torch.tensor([-logit, logit])[:, None, None].expand(2, 29, 37)
    labels, scores, _ = read_labels([Answer((i,), view_of(WHOLE, True), certain) for i in (4, 2)], *FRAME)
    assert (labels == 4).all()
    assert scores == {4: pytest.approx(0.5, abs=1e-4), 2: 0.0}
    alone = read_labels([Answer((4,), view_of(WHOLE, True), certain)], *FRAME)
    assert (alone.labels == 4).all() and alone.scores == {4: 1.0}


@pytest.mark.parametrize("channels", [1, 2, 10, 300])
def test_the_first_of_the_highest_channels_is_found(channels):
    torch.manual_seed(0)
    values = torch.randint(3, (channels, 40, 50)).float()  # many are as high as another
    expected = torch.from_numpy(values.numpy().argmax(axis=0)) + 1
    assert torch.equal(readout._first(values, values.amax(dim=0)).long(), expected)


def test_of_two_certain_objects_of_a_group_the_more_certain_one_counts():
    view = View(0, 0, 8, 8, (8, 8), (8, 8), True)
    groups = [Answer((i, i + 1), view, torch.tensor([0.0, 90.0, 100.0])[:, None, None].expand(3, 2, 2)) for i in (1, 3)]
    assert set(np.unique(read_labels(groups[:1], 8, 8).labels)) == {2}
    assert set(np.unique(read_labels(groups, 8, 8).labels)) <= {2, 4}
