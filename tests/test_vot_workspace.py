"""The files written for vot-toolkit, read back by the toolkit itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msdeaot_integration import registry_path, stack_path
from msdeaot_integration.workspace import format_region, spread_anchors, write_sequence, write_workspace

pytest.importorskip("vot", reason="needs the extra `vot`")

FRAMES = np.full((4, 24, 32, 3), (200, 100, 20), np.uint8)
BOXES = [(1, 2, 10, 8), (2.5, 2, 10, 8), None, (4, 2, 10, 8)]


def _mask(seed: int, density: float) -> np.ndarray:
    return np.random.default_rng(seed).random((24, 32)) < density


@pytest.mark.parametrize("mask", [_mask(0, 0.5), _mask(1, 0.02), np.ones((24, 32), bool), np.eye(3, 5, 1, dtype=bool)])
def test_masks_survive_the_toolkits_reader(mask):
    from vot.region.io import parse_region

    read = parse_region(format_region(mask)).rasterize((0, 0, mask.shape[1] - 1, mask.shape[0] - 1))
    np.testing.assert_array_equal(read, mask)


def test_boxes_and_absence_survive_the_toolkits_reader():
    from vot.region import RegionType
    from vot.region.io import parse_region

    box = parse_region(format_region((1.25, 2.5, 300, 41)))
    assert (box.x, box.y, box.width, box.height) == (1.25, 2.5, 300, 41)
    assert parse_region(format_region(None)).type == RegionType.SPECIAL
    assert parse_region(format_region(np.zeros((3, 3), bool))).type == RegionType.SPECIAL


def test_the_toolkit_loads_a_sequence(tmp_path):
    from vot.dataset import load_sequence

    write_sequence(tmp_path / "clip", FRAMES, BOXES, anchors={0: 1, 3: -1}, fps=25)
    sequence = load_sequence(str(tmp_path / "clip"))
    assert len(sequence) == 4 and sequence.size == (32, 24) and int(sequence.metadata("fps")) == 25
    assert [sequence.values(i)["anchor"] for i in range(4)] == [1, 0, 0, -1]
    truth = sequence.groundtruth(1)
    assert (truth.x, truth.y, truth.width, truth.height) == BOXES[1]
    np.testing.assert_allclose(sequence.frame(0).channel("color"), FRAMES[0], atol=3)  # in RGB order


def test_several_objects_have_their_own_truth(tmp_path):
    from vot.dataset import load_sequence

    write_sequence(tmp_path / "clip", FRAMES, {"a": BOXES, "b": [None, None, *BOXES[:2]]})
    sequence = load_sequence(str(tmp_path / "clip"))
    assert set(sequence.objects()) == {"a", "b"}
    assert sequence.frame(2).object("b").x == 1


def test_the_readmes_sequences_of_your_own_make_a_workspace(tmp_path, monkeypatch):
    from vot.workspace import Workspace

    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    code = readme.partition("Sequences of your own:")[2].partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(code, {"frames": FRAMES, "boxes": BOXES})
    write_sequence("ws/sequences/other", FRAMES, BOXES)
    workspace = Workspace.load(str(tmp_path / "ws"))
    assert list(workspace.dataset.list()) == ["mine", "other"]
    assert len(workspace.stack.experiments) == 4
    assert "MSDeAOT" in workspace.registry
    mine = next(sequence for sequence in workspace.dataset if sequence.name == "mine")
    assert [mine.values(i)["anchor"] for i in range(4)] == [1, 1, 0, -1]
    config = (tmp_path / "ws" / "config.yaml").read_text()
    write_sequence("ws/sequences/third", FRAMES, BOXES)
    assert (tmp_path / "ws" / "config.yaml").read_text() == config


def test_frames_can_be_files(tmp_path):
    from vot.dataset import load_sequence

    write_sequence(tmp_path / "first", FRAMES, BOXES)
    files = sorted((tmp_path / "first" / "color").iterdir())
    write_sequence(tmp_path / "second", files, BOXES)
    assert load_sequence(str(tmp_path / "second")).frame(3).filename("color").endswith("00000004.jpg")
    np.testing.assert_array_equal(
        load_sequence(str(tmp_path / "second")).frame(3).channel("color"),
        load_sequence(str(tmp_path / "first")).frame(3).channel("color"),
    )


def test_the_toolkit_loads_the_workspace(tmp_path):
    from vot.workspace import Workspace

    write_sequence(tmp_path / "sequences" / "clip", FRAMES, BOXES, anchors={0: 1})
    write_workspace(tmp_path, ["clip"], stack=stack_path("full"), registries=[registry_path()])
    workspace = Workspace.load(str(tmp_path))
    assert list(workspace.stack.experiments) == ["ope", "multistart", "supervised", "realtime"]
    assert [sequence.name for sequence in workspace.dataset] == ["clip"]
    assert "MSDeAOT" in workspace.registry and "StaticBox" in workspace.registry


@pytest.mark.parametrize(
    ("truth", "anchors", "message"),
    [(BOXES[:3], None, "4 frames, 3 regions"), (BOXES, {4: 1}, r"anchors \[4\]")],
)
def test_what_does_not_fit_together_is_refused(tmp_path, truth, anchors, message):
    with pytest.raises(ValueError, match=message):
        write_sequence(tmp_path / "clip", FRAMES, truth, anchors=anchors)


def test_anchors_lie_on_visible_frames_and_runs_are_long():
    visible = [True] * 10 + [False] * 10 + [True] * 20
    anchors = spread_anchors(visible, 4)
    assert set(anchors.values()) == {1, -1}
    for index, direction in anchors.items():
        assert visible[index]
        assert (40 - index if direction > 0 else index + 1) >= 20
    with pytest.raises(ValueError, match="never"):
        spread_anchors([False] * 5, 2)
