"""Datasets of boxes on disk: what is taken, and what is named when it cannot be."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msdeaot_tracker.cli.main import main
from msdeaot_tracker.data.datasets.box_files import read_boxes, read_flags, read_integers
from msdeaot_tracker.data.datasets.box_sequences import DATASETS, Anchor, Interaction, read_dataset
from msdeaot_tracker.data.datasets.trek150_writer import spread_anchors, write_trek150
from msdeaot_tracker.data.datasets.vot_regions import read_regions
from msdeaot_tracker.types import InputError

GOLDEN = Path(__file__).parent / "data" / "trek150" / "dataset"
BOXES = [[1, 2, 30, 40], [2.5, 3, 30, 40], [4, 5, 29.25, 41]]


def lines(rows) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def write_frames(folder: Path, count: int, suffix: str = ".jpg", first: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        Image.new("RGB", (80, 60), (number, 0, 0)).save(folder / f"{number:08d}{suffix}")


@pytest.fixture
def trek(tmp_path: Path) -> Path:
    """One good sequence, "b – 好", between two that tests break."""
    for name in ("a", "b – 好", "c"):
        folder = tmp_path / name
        write_frames(folder / "img", 3)
        (folder / "groundtruth_rect.txt").write_text(lines(BOXES))
        (folder / "anchors.txt").write_text("0,0\n2,1\n")
        (folder / "anchors_hoi.txt").write_text("0,1,2\n")
    return tmp_path


# Lines of text


@pytest.mark.parametrize(
    "text",
    [
        "1,2,30,40\n2.5,3,30,40\n4,5,29.25,41\n",
        "1,2,30,40\r\n2.5,3,30,40\r\n4,5,29.25,41\r\n",
        "1\t2\t30\t40\n2.5\t3\t30\t40\n4\t5\t29.25\t41",
        "1 2 30 40\n 2.5  3  30 40 \n4 5 29.25 41\n\n\n",
        "\ufeff1, 2, 30, 40\n2.50e0; 3; 30; 40\n+4., 5, 2925e-2, 41\n",
        "1,2,30,40,\n2.5,3,30,40;\n4,5,29.25,41\n",
    ],
    ids=["plain", "windows", "tabs", "spaces", "mixed", "trailing separators"],
)
def test_the_same_boxes_in_every_dialect(tmp_path, text):
    path = tmp_path / "boxes.txt"
    path.write_bytes(text.encode())
    np.testing.assert_array_equal(read_boxes(path), BOXES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("1,2,3,4\n\n5,6,7,8\n", "line 2: 0 values"),
        ("1,2,3,4\n1,2,3\n", "line 2: 3 values"),
        ("1,2,3,4,5\n", "line 1: 5 values"),
        ("1,2,3,4\n1,2,x,4\n", "line 2: 'x' is not a number"),
        ("1,2,3,1_0\n", "line 1: '1_0' is not a number"),
        ("1,2,3,inf\n", "line 1: 'inf' is not a number"),
        ("1,2,3,1e999\n", "line 1: a number that is not finite"),
        ("1,2,3,4\nnan,2,3,4\n", "line 2: a box with some numbers and some NaN"),
        ("1,2,3,4\n5,6,7,8", "line 2: the line does not end"),
        (b"1,2,3,4\n\xff\xfe", "not a text file"),
        (None, "does not exist"),
    ],
)
def test_lines_that_are_not_boxes(tmp_path, text, message):
    path = tmp_path / "boxes.txt"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InputError, match=message) as error:
        read_boxes(path, complete=True)
    assert str(path) in str(error.value)


def test_a_box_of_nan_is_kept(tmp_path):
    path = tmp_path / "boxes.txt"
    path.write_text("1,2,3,4\nnan,NaN,nan,NAN\n")
    assert np.isnan(read_boxes(path)).tolist() == [[False] * 4, [True] * 4]


def test_whole_numbers_and_flags(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("0.0,1\n12,0\n")
    assert read_integers(path, 2, "a pair").tolist() == [[0, 1], [12, 0]]
    path.write_text("0,1\n12.5,0\n")
    with pytest.raises(InputError, match="line 2: a pair, in whole numbers"):
        read_integers(path, 2, "a pair")
    path.write_text("0,1,1\n")
    assert read_flags(path).tolist() == [False, True, True]
    notes = []
    path.write_text("0.0,1.0,1e0,0,\n")
    assert read_flags(path, notes).tolist() == [False, True, True, False]
    assert notes == [f"{path}: 0.0, where 0 or 1 is expected, taken as 0 (3 such flags)"]
    path.write_text("0\n1\nnan\n")
    with pytest.raises(InputError, match="nan, where 0 or 1"):
        read_flags(path)
    path.write_text("0\n1\n2\n")
    with pytest.raises(InputError, match="2, where 0 or 1"):
        read_flags(path)


# TREK-150


def test_trek150_as_its_toolkit_has_it():
    sequences = read_dataset("trek150", GOLDEN)
    assert [s.name[:3] for s in sequences] == ["P01", "P02", "P03", "P04", "P05"]
    assert [len(s) for s in sequences] == [87, 150, 90, 49, 100]
    assert [int((~s.visible).sum()) for s in sequences] == [7, 3, 11, 4, 0]
    assert sequences[1].anchors == (Anchor(0, backward=False),)  # a file of a single line
    assert sequences[0].anchors[-1] == Anchor(86, backward=True)
    assert sequences[4].interactions == (Interaction(16, 25, 1), Interaction(8, 38, 1))
    assert sequences[2].interactions == ()
    assert all(s.frames == () and not s.problems and s.fps == 60 for s in sequences)


def test_a_good_dataset_has_no_problems(trek):
    for sequence in read_dataset("trek150", trek):
        assert sequence.problems == ()
        assert [path.name for path in sequence.frames] == ["00000001.jpg", "00000002.jpg", "00000003.jpg"]
        assert sequence.anchors == (Anchor(0, False), Anchor(2, True)) and sequence.interactions == ((0, 1, 2),)


def test_four_negative_numbers_hide_the_object_and_fewer_do_not(trek):
    (trek / "a" / "groundtruth_rect.txt").write_text("-5,-6,30,40\n-1,-1,-1,-1\n-2.5,7,30,40\n")
    assert read_dataset("trek150", trek)[0].visible.tolist() == [True, False, True]


def remove_frame(folder: Path) -> None:
    (folder / "img" / "00000002.jpg").unlink()


def write(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


def delete_truth(folder: Path) -> None:
    (folder / "groundtruth_rect.txt").unlink()


@pytest.mark.parametrize(
    ("damage", "problem", "left"),
    [
        (remove_frame, r"img: 2 frames for 3 boxes \(the one after 00000001.jpg is missing\)", "boxes anchors spans"),
        (write("groundtruth_rect.txt", lines([*BOXES, BOXES[0]])), "img: 3 frames for 4 boxes", "boxes anchors spans"),
        (write("groundtruth_rect.txt", "1,2,30\n"), "groundtruth_rect.txt, line 1: 3 values", ""),
        (delete_truth, "groundtruth_rect.txt does not exist", ""),
        (
            write("groundtruth_rect.txt", "1,2,3,4\nnan,nan,nan,nan\n1,2,3,4\n"),
            r"groundtruth_rect.txt, line 2: NaN, taken as not to be seen \(1 such",
            "boxes frames anchors spans",
        ),
        (
            write("anchors.txt", "0,0\n3,1\n-1,0\n"),
            "anchors.txt, line 2: anchor 3 is not one of the 3",
            "boxes frames anchors spans",
        ),
        (write("anchors.txt", "0,0\n1,2\n"), "anchors.txt, line 2: direction 2", "boxes frames anchors spans"),
        (write("anchors.txt", "0,0\n0,0\n"), "anchors.txt, line 2: anchor 0 is there", "boxes frames anchors spans"),
        (write("anchors.txt", ""), "anchors.txt is empty", "boxes frames spans"),
        (write("anchors.txt", "0,0\n2\n"), "anchors.txt, line 2: 1 values", "boxes frames spans"),
        (write("anchors_hoi.txt", "1,3,0\n"), "anchors_hoi.txt, line 1: frames 1 to 3", "boxes frames anchors"),
        (write("anchors_hoi.txt", "2,1,0\n"), "anchors_hoi.txt, line 1: frames 2 to 1", "boxes frames anchors"),
        (write("anchors_hoi.txt", "\n"), "anchors_hoi.txt is empty", "boxes frames anchors"),
    ],
)
def test_a_fault_is_named_and_the_rest_is_read(trek, damage, problem, left):
    damage(trek / "c")
    *good, broken = read_dataset("trek150", trek)
    assert [s.name for s in good] == ["a", "b – 好"] and not any(s.problems for s in good)
    assert any(re.search(problem, text) for text in broken.problems)
    assert all(str(trek / "c") in text for text in broken.problems)
    there = {
        "boxes": len(broken),
        "frames": broken.frames,
        "anchors": broken.anchors,
        "spans": broken.interactions,
    }
    assert [name for name, value in there.items() if value] == sorted(left.split(), key=list(there).index)


def test_a_folder_without_sequences(tmp_path):
    for name in DATASETS:
        with pytest.raises(InputError, match=str(tmp_path.name)):
            read_dataset(name, tmp_path)
    with pytest.raises(InputError, match="'otb' is none of trek150"):
        read_dataset("otb", tmp_path)


# A table of sequences


def manifest(folder: Path, *rows: str) -> None:
    head = "name frames_dir first_frame_file n_frames width height gt_xywh_file"
    text = "".join(row.replace(" ", "\t") + "\n" for row in (head, *rows))
    (folder / "manifest.tsv").write_text(text, encoding="utf-8")


def test_a_manifest_names_frames_and_boxes_wherever_they_are(tmp_path):
    write_frames(tmp_path / "videos" / "a", 5)
    (tmp_path / "one.txt").write_text(lines([*BOXES[:2], [4, 5, 0, 0]]))
    (tmp_path / "two.txt").write_text(lines(BOXES))
    manifest(
        tmp_path,
        "late videos/a 00000003.jpg 3 80 60 one.txt",
        "short videos/a 00000004.jpg 3 80 60 two.txt",
        "lost videos/a 0003.jpg 3 80 60 two.txt",
        "gone videos/b 00000001.jpg 3 80 60 two.txt",
        "other videos/a 00000001.jpg 4 80 60 two.txt",
        "out videos/a 00000001.jpg 3 80 60 ../two.txt",
        "bare videos/a 00000001.jpg",
        "fine videos/a 00000001.jpg 3 80 60 two.txt",
    )
    late, short, lost, gone, other, out, bare, fine = read_dataset("boxes", tmp_path)
    assert [path.name for path in late.frames] == ["00000003.jpg", "00000004.jpg", "00000005.jpg"]
    assert late.visible.tolist() == [True, True, False] and not late.problems
    np.testing.assert_array_equal(fine.boxes, BOXES)
    assert not fine.problems and len(fine.frames) == 3
    named = {"2 frames from": short, "0003.jpg does": lost, "b does": gone, "has 4": other, "leads": out, "empty": bare}
    for said, sequence in named.items():
        assert said in sequence.problems[0] and not sequence.frames


def test_an_evaluation_of_a_manifest_ends_with_its_table(tmp_path, capsys):
    write_frames(tmp_path / "a", 3)
    (tmp_path / "a.txt").write_text(lines([BOXES[0], BOXES[0], [31, 2, 30, 40]]))
    manifest(tmp_path, "near a 00000001.jpg 3 80 60 a.txt")
    options = ["--dataset", "boxes", "--protocol", "ope", "--out", str(tmp_path / "out"), "--tracker", "static"]
    assert main(["evaluate", str(tmp_path), *options, "--table"]) == 0
    rows = capsys.readouterr().out.splitlines()[-2:]
    success = (20 + 20 + 0) / 21 / 3  # strictly above: no overlap counts at no threshold
    assert [row.split() for row in rows] == [[name, f"{success:.3f}", f"{2 / 3:.3f}"] for name in ("near", "mean")]


def test_a_manifest_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "manifest.tsv").write_text("name,frames_dir\na,b\n")
    with pytest.raises(InputError, match=r"manifest.tsv has no column name"):
        read_dataset("boxes", tmp_path)
    manifest(tmp_path, "a b c 1 2 3 d", "a b c 1 2 3 d")
    with pytest.raises(InputError, match="two sequences a"):
        read_dataset("boxes", tmp_path)


# LaSOT, GOT-10k


@pytest.mark.parametrize("nested", [True, False])
def test_lasot_hides_what_its_flags_hide(tmp_path, nested):
    for name in ("dog-1", "dog-2"):
        folder = tmp_path / "dog" / name if nested else tmp_path / name
        write_frames(folder / "img", 3)
        (folder / "groundtruth.txt").write_text(lines(BOXES))
        (folder / "full_occlusion.txt").write_text("0,1,0\n")
        (folder / "out_of_view.txt").write_text("0,0,1\n")
    first, second = read_dataset("lasot", tmp_path)
    assert first.visible.tolist() == [True, False, False]
    assert (first.name, second.name, len(second.frames)) == ("dog-1", "dog-2", 3)
    (tmp_path / "testing_set.txt").write_text("dog-2\ndog-3\n")
    listed, missing = read_dataset("lasot", tmp_path)
    assert listed.name == "dog-2" and not listed.problems
    assert len(missing) == 0 and "dog-3" in missing.problems[0]
    (folder / "out_of_view.txt").write_text("0,0\n")
    listed, _ = read_dataset("lasot", tmp_path)
    assert len(listed) == 0 and "out_of_view.txt: 2 flags for 3 boxes" in listed.problems[0]


def test_a_list_of_sequences_does_not_lead_elsewhere(tmp_path):
    (tmp_path / "testing_set.txt").write_text("dog-1\n../../etc\n")
    with pytest.raises(InputError, match=r"line 2: \.\./\.\./etc leads out"):
        read_dataset("lasot", tmp_path)


def test_got10k_with_and_without_the_whole_truth(tmp_path):
    for name, rows in (("GOT-10k_Val_000002", BOXES), ("GOT-10k_Test_000001", BOXES[:1])):
        write_frames(tmp_path / name, 3)
        (tmp_path / name / "groundtruth.txt").write_text(lines(rows))
        (tmp_path / name / "absence.label").write_text("0\n1\n0\n")
    (tmp_path / "list.txt").write_text("GOT-10k_Val_000002\nGOT-10k_Test_000001\n")
    val, test = read_dataset("got10k", tmp_path)
    assert val.visible.tolist() == [True, False, True]
    assert test.visible.tolist() == [True, False, False] and len(test.frames) == 3


# DAVIS


def test_davis_boxes_are_those_of_the_masks(tmp_path):
    for name in ("one", "two"):
        write_frames(tmp_path / "JPEGImages" / name, 3)
        (tmp_path / "Annotations" / name).mkdir(parents=True)
    for index in range(3):
        labels = np.zeros((60, 80), np.uint8)
        labels[10:20, 5 + index : 25 + index] = 255 if index < 2 else 0
        Image.fromarray(labels).save(tmp_path / "Annotations" / "one" / f"{index + 1:08d}.png")
        labels[labels > 0] = 1
        labels[40:44, 60:61] = 2
        Image.fromarray(labels).save(tmp_path / "Annotations" / "two" / f"{index + 1:08d}.png")
    one, two_1, two_2 = read_dataset("davis", tmp_path)
    assert (one.name, two_1.name, two_2.name) == ("one", "two-1", "two-2")
    np.testing.assert_array_equal(one.boxes, [[5, 10, 20, 10], [6, 10, 20, 10], [np.nan] * 4])
    np.testing.assert_array_equal(two_2.boxes, [[60, 40, 1, 4]] * 3)
    (tmp_path / "Annotations" / "one" / "00000002.png").unlink()
    (tmp_path / "JPEGImages" / "two" / "00000003.jpg").unlink()
    one, two_1, _ = read_dataset("davis", tmp_path)
    assert one.visible.tolist() == [True, False, False] and not one.problems, "truth of every second frame"
    assert len(two_1) == 2 and "00000003.png: no frame belongs to it" in two_1.problems[0]


# Workspaces of vot-toolkit


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "sequences" / "walk"
    write_frames(folder / "color", 3)
    (tmp_path / "sequences" / "list.txt").write_text("walk\n")
    (folder / "sequence").write_text("name=walk\nfps=25\nchannels.color=color/%08d.jpg\nchannel.default=color\n")
    (folder / "groundtruth.txt").write_text("1,2,30,40\n0\nm5,6,4,3,1,2,2,2\n")
    (folder / "anchor.value").write_text("1\n0\n-1\n")
    return tmp_path


def test_a_vot_sequence(workspace):
    (sequence,) = read_dataset("vot", workspace)
    np.testing.assert_array_equal(sequence.boxes, [[1, 2, 30, 40], [np.nan] * 4, [6, 6, 2, 2]])
    assert sequence.anchors == (Anchor(0, False), Anchor(2, True))
    assert (sequence.name, sequence.fps, len(sequence.frames), sequence.problems) == ("walk", 25, 3, ())
    (sequence,) = read_dataset("vot", workspace / "sequences")
    assert len(sequence.frames) == 3 and sequence.interactions == ()
    (workspace / "sequences" / "walk" / "sequence").write_text("interactions=0-2-2 1-1-0\n")
    (sequence,) = read_dataset("vot", workspace)
    assert sequence.interactions == (Interaction(0, 2, 2), Interaction(1, 1, 0))


@pytest.mark.parametrize(
    ("file", "text", "problem", "boxes", "frames"),
    [
        ("groundtruth.txt", "1,2,30,40\n1,2\n", "groundtruth.txt, line 2: 2 values", 0, 0),
        ("groundtruth.txt", "1,2,30,40\nm1,1,2,2,0,5\n", "line 2: 5 pixels in a window of 2x2", 3, 3),
        ("groundtruth.txt", "1,2,30,40\n0\n", "groundtruth.txt: 2 regions for 3 frames", 3, 3),
        ("groundtruth.txt", "0\n0\n0\n0\n", "groundtruth.txt, line 4: 4 regions for 3 frames", 3, 3),
        ("anchor.value", "1\n0\n0\n1\n", "anchor.value, line 4: 4 numbers for 3 frames", 3, 3),
        ("anchor.value", "1\n0 1\n", "anchor.value, line 2: one number is expected", 3, 3),
        ("sequence", "length=4\n", r"frame .*00000004.jpg does not exist \(1 of 4", 4, 0),
        ("sequence", "length=99999999999\n", "length 99999999999 is more", 3, 0),
        ("sequence", "groundtruth=../../../secret.txt\n", "leads out", 0, 0),
        ("sequence", "fps=\n", "fps '' is no number above 0", 3, 3),
        ("sequence", "channels.color=../../%08d.jpg\n", "are not of the form", 3, 0),
        ("sequence", "interactions=0-1-2 1-3-0\n", "'1-3-0' is not <start>-<end>-<hand> within 3 frames", 3, 3),
        ("sequence", "interactions=2-1-0\n", "'2-1-0' is not", 3, 3),
        ("sequence", "channels.color=%999999999d.jpg\n", "are not of the form", 3, 0),
    ],
)
def test_faults_of_a_vot_sequence(workspace, file, text, problem, boxes, frames):
    (workspace / "sequences" / "walk" / file).write_text(text)
    (sequence,) = read_dataset("vot", workspace)
    assert any(re.search(problem, text) for text in sequence.problems)
    assert (len(sequence), len(sequence.frames)) == (boxes, frames)


def test_regions_agree_with_vot_toolkit(tmp_path):
    io = pytest.importorskip("vot.region.io", reason="vot-toolkit is not installed")
    from vot.region import Mask, Polygon, Rectangle, Special

    random = np.random.default_rng(0)
    masks = [random.random((rows, columns)) < 0.15 for rows, columns in random.integers(1, 9, (30, 2))]
    regions = [Mask(mask.astype(np.uint8), (3, 4)) for mask in masks]
    regions += [Rectangle(1.5, 2, 3, 4), Special(0), Polygon([(1, 2), (8, 3), (5, 9)])]
    path = tmp_path / "groundtruth.txt"
    io.write_trajectory(str(path), regions)
    boxes = read_regions(path)
    for mask, box in zip(masks, boxes, strict=False):
        rows, columns = np.nonzero(mask)
        if len(rows):
            expected = [columns.min() + 3, rows.min() + 4, np.ptp(columns) + 1, np.ptp(rows) + 1]
            np.testing.assert_array_equal(box, expected)
        else:
            assert np.isnan(box).all()
    np.testing.assert_array_equal(boxes[30:], [[1.5, 2, 3, 4], [np.nan] * 4, [1, 2, 7, 7]])


# Into TREK-150's layout


def test_anchors_are_spread_as_in_multi_start_evaluation():
    assert spread_anchors(np.ones(100, bool), 50) == ((0, False), (50, True), (99, True))
    assert spread_anchors(np.ones(101, bool), 50) == ((0, False), (50, False), (100, True))
    assert spread_anchors(np.ones(1, bool), 50) == ((0, False),)
    visible = np.ones(100, bool)
    visible[[50, 51, 49, 98, 99]] = False
    assert spread_anchors(visible, 50) == ((0, False), (48, False), (97, True))
    for every, anchors in ((7, spread_anchors(visible, 7)), (30, spread_anchors(visible, 30))):
        assert all(visible[a.frame] for a in anchors), every
        assert all((a.frame + 1 if a.backward else 100 - a.frame) >= 50 for a in anchors), every
    with pytest.raises(InputError, match="never to be seen"):
        spread_anchors(np.zeros(5, bool), 2)
    with pytest.raises(InputError, match="every 0"):
        spread_anchors(visible, 0)


def test_what_is_written_reads_back(trek, tmp_path):
    (trek / "a" / "anchors.txt").unlink()
    (trek / "a" / "groundtruth_rect.txt").write_text(lines([BOXES[0], [-1] * 4, BOXES[2]]))
    (trek / "c" / "groundtruth_rect.txt").write_text("x\n")
    out = tmp_path / "out"
    sequences = read_dataset("trek150", trek)
    left_out = write_trek150(sequences, out, every=2, interactions={"b – 好": [Interaction(1, 2, 0)]})
    assert left_out == ["c: no frames fit its truth"]
    a, b = read_dataset("trek150", out)
    assert a.anchors == ((0, False), (2, True)) and b.anchors == sequences[1].anchors
    assert a.interactions == ((0, 1, 2),) and b.interactions == ((1, 2, 0),)
    for copy, original in zip((a, b), sequences, strict=False):
        np.testing.assert_array_equal(copy.boxes, original.boxes)
        assert not copy.problems
        assert [p.read_bytes() for p in copy.frames] == [p.read_bytes() for p in original.frames]
    with pytest.raises(InputError, match="exists"):
        write_trek150(sequences[:1], out)
    with pytest.raises(InputError, match="interactions of d: there is no such"):
        write_trek150(sequences, tmp_path / "other", interactions={"d": []})
    with pytest.raises(InputError, match="not within its 3 frames"):
        write_trek150(sequences[:1], tmp_path / "other", interactions={"a": [Interaction(1, 3, 0)]})
