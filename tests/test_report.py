"""The comparison: rows of ours, of others and published ones, in a page and in tables of text."""

import base64
import io
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from msdeaot_tracker import PRESETS
from msdeaot_tracker.checkpoints.zoo import MANIFEST
from msdeaot_tracker.cli.main import _parser, main
from msdeaot_tracker.data.datasets.box_sequences import BoxSequence, read_dataset
from msdeaot_tracker.evaluation import claim_results, score, write_results
from msdeaot_tracker.evaluation.layouts import LAYOUTS
from msdeaot_tracker.evaluation.report import html_page
from msdeaot_tracker.evaluation.tables import (
    IMPORTED,
    MEASURED,
    PUBLISHED_SOURCE,
    Comparison,
    attribute_success,
    best_first,
    measured_row,
    published_rows,
    read_attributes,
    worst_sequences_first,
)
from msdeaot_tracker.evaluation.text_tables import latex_tables, markdown_tables
from msdeaot_tracker.initializers import INITIALIZERS
from msdeaot_tracker.types import InputError

GOLDEN = Path(__file__).parent / "data" / "trek150"
RESULTS = GOLDEN / "results" / "TREK-150"
HOSTILE = "<img src=x onerror=alert(1)>&\"'|_x\\{}$%"


@pytest.fixture(scope="module")
def sequences() -> list[BoxSequence]:
    return read_dataset("trek150", GOLDEN / "dataset")


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A copy that tests may break."""
    shutil.copytree(GOLDEN, tmp_path / "golden")
    return tmp_path / "golden"


def report(golden: Path, *more: str) -> tuple[int, str]:
    out = golden / "report.html"
    code = main(["report", str(golden / "dataset"), "--dataset", "trek150", "--out", str(out), *more])
    return code, out.read_text(encoding="utf-8")


class Page(HTMLParser):
    """Rows of every table, the text of the page, and all tags with their attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data):
        if self._cell:
            self.tables[-1][-1][-1] += data


# Rows


@pytest.mark.parametrize("protocol", ["ope", "mse", "hoi", "rte"])
def test_a_row_has_the_numbers_of_scoring_and_its_curves_average_to_them(sequences, protocol):
    expected = score(sequences, RESULTS, protocol)
    assert set(expected) == {"steady", "drifting", "losing"}
    for tracker, entry in expected.items():
        row = measured_row(sequences, RESULTS, tracker, protocol)
        assert (row.overall, row.sequences, row.coverage) == (entry["overall"], entry["seq_wise"], entry["coverage"])
        assert set(row.curves) == {"success", "normalized_precision", "generalized_success_robustness"}
        for name, curve in row.curves.items():
            assert curve.mean() == pytest.approx(row.overall[f"{name}_score"], abs=1e-12)


@pytest.mark.parametrize("protocol", ["ope", "mse"])
def test_an_attribute_is_scored_as_its_sequences_alone(sequences, protocol):
    row = measured_row(sequences, RESULTS, "drifting", protocol)
    some = sequences[1:4]
    expected = score(some, RESULTS, protocol, trackers=["drifting"])["drifting"]["overall"]["success_score"]
    assert attribute_success(row, [s.name for s in some], sequences) == pytest.approx(expected, abs=1e-12)
    assert attribute_success(row, ["elsewhere"], sequences) is None


def test_who_measured_what(sequences, tmp_path):
    shutil.copytree(RESULTS, tmp_path / "r")
    assert measured_row(sequences, tmp_path / "r", "steady", "ope").source == IMPORTED
    claim_results(tmp_path / "r", "steady", "ope", {"tracker": "static"}, replace=False)
    assert measured_row(sequences, tmp_path / "r", "steady", "ope").source == MEASURED
    assert measured_row(sequences, tmp_path / "r", "steady", "mse").source == IMPORTED
    published = [row for protocol in ("mse", "ope", "hoi") for row in published_rows("trek150", protocol)]
    assert {row.source for row in published} == {PUBLISHED_SOURCE}
    assert all(row.reference.startswith("arXiv:") and row.coverage is None for row in published)
    ours = [row.overall["success_score"] for row in published if row.tracker == "MSDeAOT"]
    assert ours == [0.734, 0.755, 0.771]
    others = {(row.tracker, row.protocol): row.overall["success_score"] for row in published}
    board = {"kang": (0.653, 0.671, 0.762), "LTMU-H-IJCV": (0.543, 0.505, 0.657)}
    assert all([others[name, p] for p in ("mse", "ope", "hoi")] == list(board[name]) for name in board)
    assert len([row for row in published if "Table 2, row" in row.reference]) == 9
    assert not published_rows("lasot", "ope")


def test_the_best_tracker_and_the_worst_sequence_come_first(sequences):
    rows = best_first(measured_row(sequences, RESULTS, name, "ope") for name in ("losing", "steady", "drifting"))
    scores = [row.overall["success_score"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    for some in (rows[:1], rows):
        means = [np.mean([row.sequences[n]["success_score"] for row in some]) for n in worst_sequences_first(some)]
        assert means == sorted(means) and len(set(means)) == 5


def test_a_row_that_lacks_runs_is_not_above_one_that_does_not(sequences):
    rows = [measured_row(sequences, RESULTS, name, "ope") for name in ("losing", "steady", "drifting")]
    lacking = replace(rows[1], coverage={**rows[1].coverage, "scored_runs": 4})
    empty = replace(rows[0], tracker="none", overall={}, coverage={**rows[0].coverage, "scored_runs": 0})
    assert [row.tracker for row in best_first([empty, lacking, rows[0], rows[2]])] == [
        "drifting",
        "losing",
        "steady",
        "none",
    ]


# Results of others


def write_rows(path: Path, boxes: np.ndarray, separator: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(separator.join(f"{side:g}" for side in box) + "\n" for box in boxes))


@pytest.mark.parametrize(
    ("layout", "tracker", "file", "times", "separator"),
    [
        ("pytracking", "dimp/dimp50_004", "dimp/dimp50_004/{}.txt", "dimp/dimp50_004/{}_time.txt", "\t"),
        ("lasot", "SwinTrack", "SwinTrack/{}.txt", "SwinTrack/times/{}_time.txt", ","),
        ("got10k", "SeqTrack", "SeqTrack/{0}/{0}_001.txt", "SeqTrack/{0}/{0}_time.txt", ","),
        ("trek150", "LTMU-H", "LTMU-H/ope/{}.txt", "LTMU-H/ope/times/{}_time.txt", " "),
    ],
)
def test_every_layout_gives_the_scores_of_the_same_boxes(sequences, tmp_path, layout, tracker, file, times, separator):
    for sequence in sequences:
        boxes = np.nan_to_num(sequence.boxes, nan=5).round() + 3
        write_results(tmp_path / "ours", "t", "ope", sequence.name, boxes, np.full(len(boxes), 0.05))
        write_rows(tmp_path / "theirs" / file.format(sequence.name), boxes, separator)
        write_rows(tmp_path / "theirs" / times.format(sequence.name), np.full((len(boxes), 2), 0.05), ",")
    found = LAYOUTS[layout].trackers(tmp_path / "theirs")
    assert found == [tracker]
    theirs = measured_row(sequences, tmp_path / "theirs", tracker, "ope", layout=LAYOUTS[layout])
    ours = measured_row(sequences, tmp_path / "ours", "t", "ope")
    assert (theirs.source, theirs.reference) == (IMPORTED, f"layout {layout}")
    assert theirs.overall == ours.overall and theirs.sequences == ours.sequences
    assert theirs.overall["speed_fps"] == pytest.approx(20) and theirs.is_complete
    lost = tmp_path / "theirs" / file.format(sequences[2].name)
    lost.write_text("".join(lost.read_text().splitlines(keepends=True)[:-1]))
    broken = measured_row(sequences, tmp_path / "theirs", tracker, "ope", layout=LAYOUTS[layout])
    assert not broken.is_complete and broken.coverage["scored_runs"] == 4
    assert any(str(lost) in problem for problem in broken.coverage["problems"])


# Attributes


def test_attributes_of_both_datasets(sequences, tmp_path):
    some = sequences[:2]
    for sequence, text in zip(some, ("SC\r\nPOC\r\n", "SC\n"), strict=True):
        (tmp_path / sequence.name).mkdir()
        (tmp_path / sequence.name / "attributes.txt").write_text(text)
        (tmp_path / f"{sequence.name}.txt").write_text("0,1" + ",0" * 11 + ",1\n")
    problems: list[str] = []
    trek = read_attributes("trek150", tmp_path, sequences, problems)
    assert trek == {"POC": [some[0].name], "SC": [s.name for s in some]} and list(trek) == ["POC", "SC"]
    assert read_attributes("lasot", tmp_path, some, problems) == {"ARC": [s.name for s in some], "POC": trek["SC"]}
    assert problems == []
    (tmp_path / f"{some[0].name}.txt").write_text("0,1,2\n")
    assert list(read_attributes("lasot", tmp_path, some, problems).values()) == [[some[1].name]] * 2
    assert len(problems) == 1 and some[0].name in problems[0]


# The page


def test_the_page_says_what_the_scores_are(golden, sequences, capsys):
    (golden / "dataset" / sequences[0].name / "attributes.txt").write_text("SC\nHM\n")
    code, text = report(golden, "--results", str(golden / "results"))
    assert code == 0
    page = Page(text)
    overall = {row[0].split()[0]: row for row in page.tables[0][1:]}
    for tracker, entry in score(sequences, RESULTS, "ope").items():
        assert overall[tracker][1] == f"{entry['overall']['success_score']:.3f}"
        assert overall[tracker][-1] == "5/5" and "imported" in overall[tracker][0]
    assert "published" in overall["MSDeAOT"][0] and overall["MSDeAOT"][1:3] == ["0.755", "–"]
    assert "Published numbers are over 150 sequences, the others over 5" in text
    attributes, by_sequence = page.tables[1:3]
    assert [row[:2] for row in attributes[1:]] == [["HM", "1"], ["SC", "1"]]
    worst = worst_sequences_first(
        [measured_row(sequences, RESULTS, name, "ope") for name in ("steady", "drifting", "losing")]
    )
    assert [row[0] for row in by_sequence[1:]] == worst
    assert "Every run that there should be was scored" in text
    assert text.count("<svg") == 4 * 3


def test_nothing_is_loaded_and_no_name_is_markup(sequences):
    """Names come from files, and not all of those can be files on every system."""
    steady, losing = (measured_row(sequences, RESULTS, name, "ope") for name in ("steady", "losing"))
    name = sequences[0].name
    hostile = replace(
        losing,
        tracker=HOSTILE,
        sequences={HOSTILE if key == name else key: scores for key, scores in losing.sequences.items()},
        coverage={**losing.coverage, "problems": [HOSTILE], "scored_runs": 4},
    )
    comparison = Comparison(
        HOSTILE,
        "trek150",
        [*sequences, replace(sequences[0], name=HOSTILE)],
        {"ope": [steady, hostile, *published_rows("trek150", "ope")]},
        {HOSTILE: [sequences[1].name, HOSTILE]},
        {HOSTILE: ("data:image/webp;base64,", [hostile])},
        [HOSTILE],
        HOSTILE,
    )
    text = html_page(comparison)
    page = Page(text)
    cells = [cell for table in page.tables for row in table for cell in row]
    assert (cells.count(HOSTILE), cells.count(f"{HOSTILE} *")) == (2, 2)  # an attribute, a sequence; two columns
    tags = [tag for tag, _ in page.tags]
    assert tags.count("img") == tags.count("script") == 1 and not {"link", "iframe", "object"} & set(tags)
    for _, attributes in page.tags:
        assert not {key for key in attributes if key.startswith("on")}
        assert all(str(attributes.get(key, "#")).startswith(("#", "data:")) for key in ("src", "href", "srcset"))
    assert not re.search(r"url\(|@import|https?://", text)
    markdown, latex = markdown_tables(comparison), latex_tables(comparison)
    assert r"\<img src=x onerror=alert\(1\)\>\&" in markdown and r"\|\_x\\" in markdown
    assert r"\_x\textbackslash{}\{\}\$\%" in latex and r"\&" in latex
    assert r"MSDeAOT & published (arXiv:2307.02508, Table 3) & 0.755 & --" in latex
    assert r"| MSDeAOT | published \(arXiv:2307.02508, Table 3\) | 0.755 |" in markdown


def test_lasot_has_its_own_measures_and_attributes(golden, tmp_path):
    attributes = tmp_path / "att"
    attributes.mkdir()
    for folder in (golden / "dataset").iterdir():
        (folder / "groundtruth_rect.txt").rename(folder / "groundtruth.txt")
        (attributes / f"{folder.name}.txt").write_text("1" + ",0" * 13)
    (golden / "results" / "TREK-150").rename(golden / "results" / "LaSOT")
    out = tmp_path / "r.html"
    more = ["--results", str(golden / "results"), "--protocol", "ope", "--attributes", str(attributes)]
    assert main(["report", str(golden / "dataset"), "--dataset", "lasot", *more, "--out", str(out)]) == 0
    overall, attribute, _ = Page(out.read_text("utf-8")).tables
    scores = score(read_dataset("lasot", golden / "dataset"), golden / "results" / "LaSOT", "ope", dataset="lasot")
    for row in overall[1:]:
        expected = scores[row[0].split()[0]]["overall"]
        keys = ("success_score", "precision_score", "normalized_precision_score")
        assert row[1:4] == [f"{expected[key]:.3f}" for key in keys]
    assert [row[:2] for row in attribute[1:]] == [["IV", "5"]]
    assert "centre error threshold (pixels)" in out.read_text("utf-8")


def test_missing_runs_are_said_everywhere(golden):
    lost = golden / "results" / "TREK-150" / "losing" / "mse" / "P03-P03_03-1415-anchor-5.txt"
    lost.unlink()
    files = ["--markdown", str(golden / "t.md"), "--latex", str(golden / "t.tex")]
    code, text = report(golden, "--results", str(golden / "results"), "--protocol", "mse", *files)
    assert code == 1
    assert (
        "20/21*" in text
        and Page(text).tables[1][0][-1] == "losing *"
        and "Not over everything" in text
        and str(lost) in text
    )
    for name in ("t.md", "t.tex"):
        written = (golden / name).read_text("utf-8")
        assert "20/21" in written and "Over fewer runs than there are" in written
    code, text = report(golden, "--results", str(golden / "results"), "--protocol", "mse", "--trackers", "steady")
    assert code == 0 and "Not over everything" not in text and "losing" not in text


def test_a_tracker_without_any_usable_result_is_there_without_numbers(golden):
    shutil.rmtree(golden / "results" / "TREK-150" / "losing" / "hoi")
    code, text = report(golden, "--results", str(golden / "results"), "--protocol", "hoi")
    assert code == 1
    row = next(row for row in Page(text).tables[0] if row[0].startswith("losing"))
    assert row[0].split() == ["losing", "no", "results"] and set(row[1:-1]) == {"–"} and row[-1] == "0/6*"
    code, text = report(golden, "--results", str(golden / "results"))
    assert code == 0  # without --protocol, what there are results of


def test_results_of_others_beside_ours(golden, sequences):
    for sequence in sequences:
        write_rows(golden / "py" / "ostrack" / "vitb" / f"{sequence.name}.txt", np.nan_to_num(sequence.boxes), "\t")
    imported = ["--import", f"pytracking={golden / 'py'}"]
    code, text = report(golden, "--results", str(golden / "results"), *imported, "--no-published")
    tables = Page(text).tables
    assert code == 0 and "published" not in "".join(row[0] for row in tables[0])
    assert any(row[0].startswith("ostrack/vitb") and "layout pytracking" in row[0] for row in tables[0])
    code, text = report(golden, *imported)
    assert code == 0 and [row[0].split()[0] for row in Page(text).tables[0] if "imported" in row[0]] == ["ostrack/vitb"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--results or --import is needed"),
        (["--import", "matlab=x"], "not LAYOUT=FOLDER"),
        (["--import", "got10k=nowhere"], "nowhere has no <tracker>/<sequence>"),
        (["--results", "RESULTS", "--trackers", "nobody"], "no results of nobody"),
        (["--results", "RESULTS", "--videos", "nothing"], "no such sequence"),
        (["--results", "RESULTS", "--videos", "P01-P01_01-9512"], "no frames"),
    ],
)
def test_bad_arguments_are_named(golden, capsys, arguments, message):
    arguments = [str(golden / "results") if word == "RESULTS" else word for word in arguments]
    try:
        code, _ = main(["report", str(golden / "dataset"), "--dataset", "trek150", *arguments]), None
    except SystemExit as leaving:
        code = leaving.code
    assert code == 2 and message in capsys.readouterr().err
    assert not (golden / "report.html").exists()


def test_a_clip_shows_the_truth_and_the_answers(tmp_path):
    folder, results = tmp_path / "data" / "walk", tmp_path / "results"
    (folder / "img").mkdir(parents=True)
    truth = np.array([[20 + 8 * i, 30, 40, 40] for i in range(6)], float)
    truth[3] = -1
    write_rows(folder / "groundtruth_rect.txt", truth, ",")
    for i in range(6):
        cv2.imwrite(str(folder / "img" / f"{i + 1:08d}.jpg"), np.full((120, 160, 3), 90, np.uint8))
    answers = np.tile([100.0, 60, 40, 40], (6, 1))
    write_results(results / "TREK-150", "t", "ope", "walk", answers)
    out = tmp_path / "r.html"
    arguments = ["--results", str(results), "--videos", "walk", "--out", str(out)]
    assert main(["report", str(tmp_path / "data"), "--dataset", "trek150", *arguments]) == 0
    (uri,) = re.findall(r"data:image/webp;base64,([^\"]+)", out.read_text("utf-8"))
    with Image.open(io.BytesIO(base64.b64decode(uri))) as clip:
        assert clip.n_frames == 6 and clip.size == (160, 120)
        frames = []
        for index in range(6):
            clip.seek(index)
            frames.append(np.array(clip.convert("RGB"), float))
    white = [frame[30:70, 20 + 8 * i : 60 + 8 * i].max() > 230 for i, frame in enumerate(frames)]
    assert white == [True, True, True, False, True, True]  # absent on the fourth
    edge = frames[3][60:100, 99:102].reshape(-1, 3)
    assert (edge[:, 2] - edge[:, 0]).max() > 60  # blue: the tracker's colour


def test_unknown_trackers_are_named(sequences):
    with pytest.raises(InputError, match="no results of nobody"):
        measured_row(sequences, RESULTS, "nobody", "ope")


def test_the_commands_that_reproduce_the_tables_exist():
    text = (Path(__file__).parents[1] / "docs" / "reproduce.md").read_text("utf-8")
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    commands = [line.split()[1:] for line in blocks.splitlines() if line.startswith("msdeaot ")]
    assert len(commands) > 15
    for command in commands:
        args = vars(_parser().parse_args(command))
        assert args.get("preset") in {None, *PRESETS}
        assert set(str(args.get("initializer", "box")).split("+")) <= set(INITIALIZERS)
    downloads = [command[-1] for command in commands if command[:2] == ["weights", "download"]]
    assert downloads and set(downloads) <= set(MANIFEST)
