"""Scores against the public TREK-150 toolkit's, LaSOT's by hand, and results that are not as they should be."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from msdeaot_tracker.cli.main import main
from msdeaot_tracker.data.datasets.box_sequences import BoxSequence, read_dataset
from msdeaot_tracker.evaluation import (
    lasot_curves,
    normalized_center_error,
    normalized_precision_curve,
    recall,
    robustness_curve,
    score,
    trek150_curves,
    write_results,
)
from msdeaot_tracker.types import InputError

GOLDEN = Path(__file__).parent / "data" / "trek150"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
NAN = [np.nan] * 4


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A copy that tests may break."""
    shutil.copytree(GOLDEN, tmp_path / "golden")
    return tmp_path / "golden"


def score_golden(root: Path, protocol: str, *more: str) -> tuple[int, dict]:
    results = ["--results", str(root / "results"), "--protocol", protocol, "--json", str(root / "scores.json")]
    code = main(["score", "--dataset", "trek150", str(root / "dataset"), *results, *more])
    return code, json.loads((root / "scores.json").read_text())


def largest_difference(expected, found) -> float:
    if isinstance(expected, dict):
        assert list(expected) == list(found)
        return max((largest_difference(expected[key], found[key]) for key in expected), default=0)
    if isinstance(expected, list):
        assert len(expected) == len(found)
        return max(map(largest_difference, expected, found))
    return abs(expected - found)


# The toolkit's numbers


@pytest.mark.parametrize("protocol", ["ope", "mse", "hoi", "rte"])
def test_every_number_of_the_toolkit(golden, protocol, capsys):
    code, scores = score_golden(golden, protocol)
    assert code == 0
    runs = {"ope": 5, "mse": 21, "hoi": 6, "rte": 5}[protocol]
    for entry in scores.values():
        coverage = entry.pop("coverage")
        assert coverage["runs"] == coverage["scored_runs"] == runs and coverage["problems"] == []
    assert scores.keys() == EXPECTED[protocol].keys()
    for tracker, entry in scores.items():
        assert largest_difference(EXPECTED[protocol][tracker], entry) < 1e-12
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table] == ["tracker", *sorted(scores, key=lambda t: -_success(scores[t]))]
    assert all(f"{_success(scores[line.split()[0]]):.4f}" in line and f"{runs}/{runs}" in line for line in table[1:])


def _success(entry: dict) -> float:
    return entry["overall"]["success_score"]


def test_some_trackers_in_the_order_asked_for(golden):
    _, scores = score_golden(golden, "ope", "--trackers", "steady,losing")
    assert list(scores) == ["steady", "losing"]
    with pytest.raises(InputError, match="no results of nobody"):
        score(read_dataset("trek150", GOLDEN / "dataset"), golden / "results" / "TREK-150", "ope", trackers=["nobody"])


# Measures


def test_robustness_ends_at_the_first_overlap_that_is_not_above():
    curve = robustness_curve(np.array([1, 0.8, 0.3, 0.9]))
    assert curve[:30].tolist() == [1] * 30 and curve[31:].tolist() == [0.5] * 20  # thresholds 0.00, 0.01, ..., 0.50
    assert robustness_curve(np.array([0.5]))[50] == 0  # at the threshold is not above it


def test_normalized_precision_counts_errors_up_to_the_threshold():
    truth = np.array([[0, 0, 40, 20], [0, 0, 40, 20], [0, 0, 0.5, 20]])
    predicted = np.array([[10, 0, 40, 20], NAN, [0.25, 0, 0.5, 20]])
    errors = normalized_center_error(predicted, truth)
    assert errors.tolist() == [0.25, np.inf, 0.25]  # a side below one pixel counts as one
    assert normalized_precision_curve(errors).tolist() == [0] * 25 + [2 / 3] * 26


def test_recall_includes_one_half():
    assert recall(np.array([0.5, 0.4999, 1])) == np.float32(2 / 3)


def test_a_perfect_run_has_the_best_scores():
    truth = np.array([[10.3, 20.7, 30.1, 40.9], NAN, [11, 21, 33, 44]])
    scores = {name: curve.mean() for name, curve in trek150_curves(truth, truth).items()}
    assert scores == pytest.approx(
        {"success": 20 / 21, "normalized_precision": 1, "generalized_success_robustness": 1}, abs=1e-15
    )


def test_lasot_by_hand():
    truth = np.array([[100, 100, 40, 20], [100, 100, 40, 20], [100, 100, 40, 20], NAN, [100, 100, 40, 20]], float)
    predicted = np.array([[1, 1, 1, 1], [120, 100, 40, 20], [120, 100, 0, 20], [1, 1, 1, 1], [130, 100, 40, 20]], float)
    curves = lasot_curves(predicted, truth)
    # Of 5 frames: the first is given; 20 pixels off (overlap 1/3, error 20, normalized 0.5); no area, so as before;
    # absent, in no numerator; 30 pixels off (overlap 1/7).
    ious = np.array([1, 1 / 3, 1 / 3, 1 / 7])
    np.testing.assert_allclose(curves["success"], [(ious > t).sum() / 5 for t in np.linspace(0, 1, 21)])
    assert (curves["precision"][19], curves["precision"][20], curves["precision"][30]) == (0.2, 0.6, 0.8)
    assert (curves["normalized_precision"][49], curves["normalized_precision"][50]) == (0.2, 0.6)


def test_lasot_scores_are_the_curves_means_and_ranks(tmp_path):
    truth = np.array([[100, 100, 40, 20]] * 4, float)
    write_results(tmp_path, "t", "ope", "a", truth + [[12, 0, 0, 0]], [0.1, 0.2, 0, 0.4])
    write_results(tmp_path, "t", "ope", "b", truth + [[4, 0, 0, 0]])
    sequences = [BoxSequence(name, (), truth) for name in "ab"]
    entry = score(sequences, tmp_path, "ope", dataset="lasot")["t"]
    assert entry["overall"]["precision_score"] == 1 and entry["overall"]["speed_fps"] == pytest.approx(
        (10 + 5 + 2.5) / 3
    )
    assert entry["overall"]["normalized_precision_score"] == pytest.approx((1 / 4 + 1) / 2)  # 0.3 and 0.1, at 0.2
    success = [(20 + 3 * np.sum(np.linspace(0, 1, 21) < 28 / 52)) / 84, (20 + 3 * 17) / 84]  # 36/44 > 0.8
    assert entry["overall"]["success_score"] == pytest.approx(np.mean(success))
    assert entry["seq_wise"]["b"]["success_score"] == pytest.approx(success[1])


def test_boxes_are_scored_as_otb_does(tmp_path):
    truth = np.array([[0, 0, 40, 20]] * 5, float)
    truth[4] = np.nan
    shifts = np.array([[99, 0, 0, 0], [20, 0, 0, 0], [20.5, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    write_results(tmp_path, "t", "ope", "a", np.nan_to_num(truth) + shifts)
    entry = score([BoxSequence("a", (), truth)], tmp_path, "ope", dataset="boxes")["t"]["seq_wise"]["a"]
    # The first frame counts as tracked and the last is left out; 20 pixels are a hit, 20.5 are none.
    assert entry["precision_score"] == 3 / 4
    ious = np.array([1, 20 / 60, 19.5 / 60.5, 1])
    assert entry["success_score"] == pytest.approx(np.mean([(ious > t).mean() for t in np.linspace(0, 1, 21)]))


def test_a_table_with_a_line_for_each_sequence(golden, capsys):
    code, scores = score_golden(golden, "ope", "--sequences", "--trackers", "steady,losing")
    head, *rows = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert code == 0 and head.split()[:3] == ["sequence", "steady", "success"]
    for name, *values in map(str.split, rows):
        found = [s["overall"] if name == "mean" else s["seq_wise"][name] for s in scores.values()]
        assert values == [f"{s[k]:.3f}" for s in found for k in s if k.endswith("_score")]
    assert [row.split()[0] for row in rows] == [*scores["steady"]["seq_wise"], "mean"]


# Results and datasets that are not as they should be


def result(root: Path, name: str) -> Path:
    return root / "results" / "TREK-150" / "losing" / name


OPE_FILE = "ope/P03-P03_03-1415.txt"


def cut(text: str) -> str:
    return text[: len(text) * 2 // 3]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda text: None, "does not exist"),
        (cut, "line 56: the line does not end, so the file was cut there"),
        (lambda text: text.rstrip("\n")[:-1], "line 90: the line does not end"),
        (lambda text: "".join(text.splitlines(keepends=True)[:50]), "line 51: 50 boxes for a run of 90 frames"),
        (lambda text: text.replace(".", "x", 1), "line 1: "),
    ],
    ids=["missing", "cut", "last line cut", "lines missing", "garbled"],
)
def test_a_run_that_cannot_be_scored_is_named_and_counted(golden, capsys, damage, problem):
    path = result(golden, OPE_FILE)
    text = damage(path.read_text())
    path.unlink() if text is None else path.write_text(text)
    code, scores = score_golden(golden, "ope")
    assert code == 1
    losing, steady = scores["losing"], scores["steady"]
    assert losing["coverage"]["scored_runs"] == 4 and losing["coverage"]["runs"] == 5
    (named,) = losing["coverage"]["problems"]
    assert str(path) in named and problem in named and "not scored" in named
    output = capsys.readouterr().out
    assert "4/5" in output and str(path) in output
    # The rest is scored, and the other trackers as ever.
    rest = [e["success_score"] for name, e in EXPECTED["ope"]["losing"]["seq_wise"].items() if name not in path.name]
    assert losing["overall"]["success_score"] == pytest.approx(np.mean(rest), abs=1e-12)
    assert steady["coverage"]["problems"] == []
    assert largest_difference(EXPECTED["ope"]["steady"]["overall"], steady["overall"]) < 1e-12


@pytest.mark.parametrize(
    ("oddity", "note"),
    [
        (lambda text: text + "1,1,1,1\n" * 3, "line 91: 93 boxes for a run of 90 frames; those after it left out"),
        (lambda text: text.replace("\n", ",\n"), "line 1: a separator after the last value (90 such lines)"),
    ],
    ids=["longer", "trailing commas"],
)
def test_an_odd_file_that_has_one_meaning_is_scored_and_noted(golden, oddity, note):
    path = result(golden, OPE_FILE)
    path.write_text(oddity(path.read_text()))
    code, scores = score_golden(golden, "ope")
    assert code == 1
    assert largest_difference(EXPECTED["ope"]["losing"]["overall"], scores["losing"]["overall"]) < 1e-12
    assert scores["losing"]["coverage"]["problems"] == [f"{path}, {note}"]


def test_results_of_pytracking_are_scored_where_they_lie(golden, tmp_path, capsys):
    """Its normalized precision is no more than 1 where objects are hidden, as they are here."""
    theirs = tmp_path / "tracking_results" / "losing" / "default"
    theirs.mkdir(parents=True)
    for path in (golden / "results" / "TREK-150" / "losing" / "ope").glob("*.txt"):
        (theirs / path.name).write_text(path.read_text().replace(",", "\t"))
    _, scores = score_golden(golden, "ope", "--layout", "pytracking", "--results", str(tmp_path / "tracking_results"))
    overall = scores["losing/default"]["overall"]
    for key in ("success_score", "normalized_precision_score"):
        assert overall[key] == pytest.approx(EXPECTED["ope"]["losing"]["overall"][key], abs=1e-12)
    assert max(overall["normalized_precision_curve"]) <= 1


def test_a_dataset_without_interactions_is_not_said_to_be_all_scored(golden, tmp_path, capsys, caplog):
    for path in golden.rglob("anchors_hoi.txt"):
        path.unlink()
    code, scores = score_golden(golden, "hoi")
    assert code == 1 and all("nothing to do" in entry["coverage"]["problems"][0] for entry in scores.values())
    dataset = ["--dataset", "trek150", str(golden / "dataset")]
    results = ["--results", str(golden / "results")]
    page = tmp_path / "page.html"
    assert main(["report", *dataset, *results, "--protocol", "hoi", "--out", str(page)]) == 1
    assert "nothing to do" in page.read_text() and "was scored" not in page.read_text()
    out = ["--out", str(tmp_path / "out"), "--tracker", "static"]
    assert main(["evaluate", *dataset, "--protocol", "hoi", *out]) == 1
    assert "hoi: none of the 5 sequences has interactions" in caplog.text


@pytest.mark.parametrize(("old", "new"), [("\n", "\r\n"), (",", "\t"), (",", "  ")], ids=["windows", "tabs", "spaces"])
def test_line_ends_and_separators_change_nothing(golden, old, new):
    for path in (*golden.rglob("results/**/*.txt"), *golden.rglob("dataset/**/*.txt")):
        path.write_bytes(path.read_text().replace(old, new).encode())
    for protocol in ("ope", "mse", "hoi"):
        code, scores = score_golden(golden, protocol)
        assert code == 0
        for tracker, expected in EXPECTED[protocol].items():
            assert largest_difference(expected["overall"], scores[tracker]["overall"]) < 1e-12


def test_a_box_of_nan_is_not_tracked(golden, capsys):
    path = result(golden, OPE_FILE)
    rows = path.read_text().splitlines()
    for index in (20, 21):
        rows[index] = "nan,nan,nan,nan"
    path.write_text("\n".join(rows) + "\n")
    _, with_nan = score_golden(golden, "ope")
    assert f"{path}, line 21: NaN, no box on this frame (2 such lines)" in capsys.readouterr().out
    for index in (20, 21):
        rows[index] = "9999,9999,1,1"
    path.write_text("\n".join(rows) + "\n")
    _, far_off = score_golden(golden, "ope")
    assert with_nan["losing"]["overall"] == far_off["losing"]["overall"]
    assert with_nan["losing"]["coverage"]["scored_runs"] == 5 and len(with_nan["losing"]["coverage"]["problems"]) == 1


@pytest.mark.parametrize(
    ("file", "text", "problem", "runs", "sequences"),
    [
        ("anchors.txt", "0,0\n500,1\n", "anchors.txt, line 2: anchor 500 is not one of the 87", "17/17", "5/5"),
        ("anchors.txt", "", "anchors.txt is empty", "16/16", "4/5"),
        ("anchors.txt", "13,0\n13,1\n", "a forward and a backward run begin at frame 13", "16/16", "4/5"),
        ("groundtruth_rect.txt", "1,2,3,4\n1,2,3\n", "groundtruth_rect.txt, line 2: 3 values", "16/16", "4/5"),
    ],
)
def test_faults_of_the_dataset_are_part_of_the_score(golden, capsys, file, text, problem, runs, sequences):
    (golden / "dataset" / "P01-P01_01-9512" / file).write_text(text)
    code, scores = score_golden(golden, "mse")
    assert code == 1
    assert any(problem in line for line in scores["steady"]["coverage"]["problems"])
    output = capsys.readouterr().out
    assert problem in output and runs in output and sequences in output


def test_one_true_box_too_many_makes_all_results_too_short(golden, capsys):
    path = golden / "dataset" / "P02-P02_02-7493" / "groundtruth_rect.txt"
    path.write_text(path.read_text() + "1,2,3,4\n")
    code, scores = score_golden(golden, "ope")
    assert code == 1 and scores["steady"]["coverage"]["scored_runs"] == 4
    assert "P02-P02_02-7493.txt, line 151: 150 boxes for a run of 151 frames" in capsys.readouterr().out


def test_a_tracker_without_results_of_the_protocol(golden, capsys):
    shutil.rmtree(result(golden, "mse"))
    code, scores = score_golden(golden, "mse")
    assert code == 1
    assert scores["losing"]["overall"] == {} and scores["losing"]["coverage"]["scored_runs"] == 0
    assert len(scores["losing"]["coverage"]["problems"]) == 1 and "0/21" in capsys.readouterr().out


def test_damaged_times_cost_the_speed_alone(golden, capsys):
    result(golden, "ope/times/P03-P03_03-1415_time.txt").write_text("0.1\nfast\n")
    code, scores = score_golden(golden, "ope")
    assert code == 1 and "line 2: 'fast' is not a number; no speed" in capsys.readouterr().out
    assert scores["losing"]["seq_wise"]["P03-P03_03-1415"]["speed_fps"] == -1
    assert _success(scores["losing"]) == pytest.approx(EXPECTED["ope"]["losing"]["overall"]["success_score"])


def test_truth_of_the_first_frame_alone_gives_no_score(tmp_path):
    boxes = np.array([[1, 2, 3, 4], NAN, NAN])
    write_results(tmp_path, "t", "ope", "a", np.ones((3, 4)))
    entry = score([BoxSequence("a", (), boxes)], tmp_path, "ope")["t"]
    assert entry["overall"] == {} and "truth of these frames is not known" in entry["coverage"]["problems"][0]


def test_no_results_at_all(golden, capsys):
    shutil.rmtree(golden / "results" / "TREK-150")
    arguments = ["--results", str(golden / "results"), "--protocol", "ope"]
    assert main(["score", "--dataset", "trek150", str(golden / "dataset"), *arguments]) == 2
    assert "has no <tracker>/<protocol>" in capsys.readouterr().err
