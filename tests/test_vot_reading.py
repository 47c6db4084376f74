"""vot-toolkit's reader and ours on the same folders: frames, their number, regions and anchors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msdeaot_tracker.cli.main import main
from msdeaot_tracker.data.datasets.box_sequences import read_dataset
from msdeaot_tracker.evaluation import list_jobs

pytest.importorskip("vot", reason="needs the extra `vot`")

BOX = "10,5,20,12\n"
FRAMES = 4
# The folder of a sequence of four frames: its files by name; where the frames are; whether we have something to say.
CASES: dict[str, tuple[dict[str, str], str, bool]] = {
    "as this project writes it": ({"sequence": "channels.color=color/%08d.jpg\nlength=4\nfps=25\n"}, "color", False),
    "a folder": ({"sequence": "channels.color=color\nfps=30\n"}, "color", False),
    "a folder with a slash": ({"sequence": "channels.color=color/\n"}, "color", False),
    "backslashes": ({"sequence": "channels.color=color\\%08d.jpg\n"}, "color", False),
    "backslashes, escaped": ({"sequence": "channels.color=frames\\\\%08d.jpg\r\n"}, "frames", False),
    "no channel": ({"sequence": "name=s\n"}, "color", False),
    "depth alone": ({"sequence": "channels.depth=depth/%08d.jpg\n"}, "depth", False),
    "another default": ({"sequence": "channels.color=color/%08d.jpg\nchannel.default=depth\n"}, "color", False),
    "legacy": ({}, ".", False),
    "length": ({"sequence": "length=3\n"}, "color", True),
    "length of nothing": ({"sequence": "length=none\n"}, "color", False),
    "length below one": ({"sequence": "length=-2\n"}, "color", True),
    "another truth": ({"sequence": "groundtruth=other.txt\n", "other.txt": BOX * 4}, "color", False),
    "truth of the first frame": ({"sequence": "fps=30\n", "groundtruth.txt": BOX}, "color", False),
    "truth too short": ({"sequence": "fps=30\n", "groundtruth.txt": BOX * 3}, "color", True),
    "truth too long": ({"sequence": "fps=30\n", "groundtruth.txt": BOX * 6}, "color", True),
    "empty mask": ({"sequence": "", "groundtruth.txt": "m10,5,4,3,0,12\nm0,0,0,0,0,1\n" + BOX * 2}, "color", False),
    "masks": ({"sequence": "", "groundtruth.txt": "m10,5,4,3,1,2,9\nm0,0,3,3,2,5,2\nm1,1,2,2,4\n0\n"}, "color", False),
    "polygons": ({"sequence": "", "groundtruth.txt": "1,2,8,3,5,9\nnan,2,8,3,5,9\n1,nan,3,4\n1\n"}, "color", False),
    "fewer anchors": ({"sequence": "", "anchor.value": "1\n0.0\n-2.5\n"}, "color", False),
    "two objects": ({"sequence": "", "groundtruth_a.txt": BOX * 4, "groundtruth_b.txt": "0\n" * 2}, "color", True),
    "no speed": ({"sequence": "fps=\n"}, "color", True),
    "fps that is no number": ({"sequence": "fps=nan\n"}, "color", True),
}


def make(root: Path, files: dict[str, str], frames: str) -> Path:
    folder = root / "sequences" / "s"
    (folder / frames).mkdir(parents=True)
    (root / "sequences" / "list.txt").write_text("s\n")
    for number in range(1, FRAMES + 1):
        Image.new("RGB", (40, 30), (number, 0, 0)).save(folder / frames / f"{number:08d}.jpg")
    for name, text in {"groundtruth.txt": BOX * FRAMES, **files}.items():
        (folder / name).write_bytes(text.encode())
    return folder


def pixels(region) -> list[float]:
    """The toolkit's region as a box; of a mask the bounds of its pixels."""
    from vot.region import RegionType, Special

    if region is None or isinstance(region, Special):
        return [math.nan] * 4
    if region.type == RegionType.MASK:
        rows, columns = np.nonzero(region.mask)
        x, y = region.offset
        if not len(rows):
            return [math.nan] * 4
        return [columns.min() + x, rows.min() + y, np.ptp(columns) + 1, np.ptp(rows) + 1]
    box = region.convert(RegionType.RECTANGLE)
    return [box.x, box.y, box.width, box.height]


@pytest.mark.parametrize("case", CASES)
def test_both_read_the_same(tmp_path, case):
    from vot.dataset import load_dataset
    from vot.experiment.multistart import find_anchors

    files, frames, noted = CASES[case]
    make(tmp_path, files, frames)
    theirs = load_dataset(str(tmp_path / "sequences"))["s"]
    ours = read_dataset("vot", tmp_path)
    assert len(ours) == len(theirs.objects())
    for sequence, name in zip(ours, sorted(theirs.objects()), strict=True):
        assert sequence.name == ("s" if name == "object" else f"s_{name}")
        assert len(sequence) == len(sequence.frames) == len(theirs)
        for index, path in enumerate(sequence.frames):
            assert path.resolve() == Path(theirs.frame(index).filename()).resolve()
        expected = [pixels(theirs.object(name, index)) for index in range(len(theirs))]
        np.testing.assert_array_equal(sequence.boxes, expected)
        anchors = sorted((anchor.frame, anchor.backward) for anchor in sequence.anchors)
        forward, backward = find_anchors(theirs)
        assert anchors == sorted([(frame, False) for frame in forward] + [(frame, True) for frame in backward])
    assert any(sequence.problems for sequence in ours) == noted


def test_a_mask_that_goes_on_beyond_its_window_is_cut(tmp_path):
    """Where the toolkit writes past the end of its array, so it is not asked."""
    make(tmp_path, {"sequence": "", "groundtruth.txt": "m10,5,4,3,5,9\n" + BOX * 3}, "color")
    (sequence,) = read_dataset("vot", tmp_path)
    assert sequence.boxes[0].tolist() == [10, 6, 4, 2]
    assert "line 1: 14 pixels in a window of 4x3" in sequence.problems[0]


def test_a_frame_that_is_missing_ends_the_sequence_as_in_the_toolkit_and_is_named(tmp_path):
    from vot.dataset import load_dataset

    folder = make(tmp_path, {"sequence": "", "groundtruth.txt": BOX}, "color")
    (folder / "color" / "00000003.jpg").unlink()
    (sequence,) = read_dataset("vot", tmp_path)
    assert len(sequence) == len(load_dataset(str(tmp_path / "sequences"))["s"]) == 2
    assert "00000003.jpg does not exist" in sequence.problems[0]


def test_without_a_speed_all_but_real_time_is_run(tmp_path):
    make(tmp_path, {"sequence": "fps=0\n"}, "color")
    sequences = read_dataset("vot", tmp_path)
    jobs, left_out = list_jobs(sequences, ["ope", "rte"])
    assert [job.protocol for job in jobs] == ["ope"]
    assert left_out == ["s (rte): its frames per second are not known"]


def test_a_sequence_that_the_toolkit_refuses_is_a_problem_of_its_own(tmp_path):
    """There it would end everything."""
    from vot.dataset import load_dataset

    for text in ("channels.color=color/%08d.gif\n", "channels.color=color/a.jpg\n", "length=9\n"):
        folder = tmp_path / text.replace("/", "-").strip()
        make(folder, {"sequence": text}, "color")
        (sequence,) = read_dataset("vot", folder)
        assert not sequence.frames and sequence.problems, text
        with pytest.raises(Exception):  # noqa: B017 (of many kinds)
            theirs = load_dataset(str(folder / "sequences"))["s"]
            theirs.frame(len(theirs) - 1).image()


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("truth of the first frame", 0, ["0 left out; ", "nothing was scored", "s.txt: the truth of these frames"]),
        ("no speed", 1, ["0 left out, 1 fault of files named above; ", "mean  "]),
        ("length", 1, ["0 left out, 1 fault of files named above; ", "mean  "]),
        ("no channel", 0, ["0 left out; ", "mean  "]),
    ],
)
def test_evaluate_says_what_makes_its_exit_status(tmp_path, capsys, case, code, words):
    files, frames, _ = CASES[case]
    make(tmp_path / "ws", files, frames)
    dataset = ["evaluate", str(tmp_path / "ws"), "--dataset", "vot", "--protocol", "ope", "--tracker", "static"]
    assert main([*dataset, "--out", str(tmp_path / "out"), "--table"]) == code
    printed = capsys.readouterr().out
    assert all(each in printed for each in words) and ("fault" in printed) == bool(code)
