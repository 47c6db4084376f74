"""Result files: the toolkit's bytes, whole or not there, and `msdeaot evaluate --dataset` that fills them."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msdeaot_tracker.cli.main import main
from msdeaot_tracker.evaluation import (
    StaticTracker,
    baselines,
    claim_results,
    list_trackers,
    read_results,
    results_folder,
    write_results,
)
from msdeaot_tracker.types import InputError

GOLDEN = Path(__file__).parent / "data" / "trek150"
BOXES = np.array([[1, 2, 30, 40], [2.5, 3, 30.12345, 40], [-4, 5, 29.25, 41]])


def files(folder: Path) -> dict[str, bytes]:
    """Everything but times, by path."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "times"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


# Files


def test_files_are_those_that_the_toolkit_writes(tmp_path):
    write_results(tmp_path, "t", "ope", "s", BOXES, [0.5, 1e-9, 0.125])
    assert sorted(files(tmp_path)) == ["t/ope/s.txt"]
    np.savetxt(tmp_path / "boxes", BOXES, fmt="%.3f", delimiter=",", newline="\n")
    np.savetxt(tmp_path / "times", [0.5, 1e-9, 0.125], fmt="%.8f", newline="\n")
    assert (tmp_path / "t/ope/s.txt").read_bytes() == (tmp_path / "boxes").read_bytes()
    assert (tmp_path / "t/ope/times/s_time.txt").read_bytes() == (tmp_path / "times").read_bytes()
    write_results(tmp_path, "t", "mse", "s-anchor-0", BOXES, [0.5])
    assert [path.name for path in (tmp_path / "t" / "mse").iterdir()] == ["s-anchor-0.txt"]  # times are of ope alone


def test_the_toolkits_results_survive_being_read_and_written(tmp_path):
    folder = results_folder(GOLDEN / "results", "trek150")
    assert list_trackers(folder) == ["drifting", "losing", "steady"]
    for path in (folder / "losing").rglob("*.txt"):
        if path.parent.name != "times":
            text = path.read_bytes()
            boxes = read_results(folder, "losing", path.parent.name, path.stem, text.count(b"\n"))
            write_results(tmp_path, "losing", path.parent.name, path.stem, boxes)
            assert (tmp_path / "losing" / path.parent.name / path.name).read_bytes() == text


@pytest.mark.parametrize(
    ("text", "length", "message"),
    [
        ("1,2,3,4\n1,2,3,4\n", 3, "line 3: 2 boxes for a run of 3 frames"),
        ("1,2,3,4\n1,2,3,4\n", 1, "line 2: 2 boxes for a run of 1 frame$"),
        ("1,2,3,4\n1,2,3\n", 2, "line 2: 3 values"),
        ("1,2,3,4\n1,2,3,4", 2, "line 2: the line does not end, so the file was cut there"),
        ("", 2, "is empty"),
        (None, 2, "does not exist"),
    ],
)
def test_damaged_results_are_named(tmp_path, text, length, message):
    (tmp_path / "t" / "ope").mkdir(parents=True)
    if text is not None:
        (tmp_path / "t" / "ope" / "s.txt").write_bytes(text.encode())
    with pytest.raises(InputError, match=message) as error:
        read_results(tmp_path, "t", "ope", "s", length)
    assert str(tmp_path / "t" / "ope" / "s.txt") in str(error.value)


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path, monkeypatch):
    write_results(tmp_path, "t", "mse", "s", BOXES)
    before = files(tmp_path)

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_results(tmp_path, "t", "mse", "s", BOXES + 1)
    assert files(tmp_path) == before


def test_results_are_found_with_and_without_the_datasets_folder(tmp_path):
    shutil.copytree(GOLDEN / "results" / "TREK-150" / "losing" / "hoi", tmp_path / "losing" / "hoi")
    assert results_folder(tmp_path, "trek150") == tmp_path
    (tmp_path / "TREK-150").mkdir()
    assert results_folder(tmp_path, "trek150") == tmp_path / "TREK-150"


def test_results_of_two_settings_are_not_mixed(tmp_path):
    claim_results(tmp_path, "t", "ope", {"weights": "a", "sizes": (1, 2)}, replace=False)
    claim_results(tmp_path, "t", "ope", {"weights": "a", "sizes": (1, 2)}, replace=False)
    claim_results(tmp_path, "t", "mse", {"weights": "b"}, replace=False)
    with pytest.raises(InputError, match=r"t.ope.settings\.json were made with another weights"):
        claim_results(tmp_path, "t", "ope", {"weights": "b", "sizes": (1, 2)}, replace=False)
    claim_results(tmp_path, "t", "ope", {"weights": "b"}, replace=True)
    claim_results(tmp_path, "t", "ope", {"weights": "b"}, replace=False)


# The command


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "TREK – 数"
    for name in ("a", "b", "c"):
        (root / name / "img").mkdir(parents=True)
        for index in range(5):
            Image.new("RGB", (64, 48), (index, 0, 0)).save(root / name / "img" / f"{index:04d}.jpg")
        (root / name / "groundtruth_rect.txt").write_text("".join(f"{10 + i},12,20,16\n" for i in range(5)))
        (root / name / "anchors.txt").write_text("0,0\n4,1\n")
    (root / "b" / "anchors_hoi.txt").write_text("1,3,0\n")
    return root


def evaluate(dataset: Path, out: Path, *more: str) -> int:
    protocols = [] if "--protocol" in more else ["--protocol", "ope,mse,hoi,rte"]
    command = ["evaluate", "--dataset", "trek150", str(dataset), "--tracker", "static", "--out", str(out)]
    return main([*command, *protocols, *more])


def test_all_runs_are_written_and_found_again(dataset, tmp_path, capsys):
    out = tmp_path / "results"
    assert evaluate(dataset, out) == 0
    assert "13 runs done, 0 were finished before, 0 failed, 0 left out" in capsys.readouterr().out
    written = files(out / "TREK-150" / "static")
    assert len(written) == 13 + 4  # a file of settings for each protocol
    assert written["mse/a-anchor-4.txt"] == b"14.000,12.000,20.000,16.000\n" * 5
    assert written["hoi/b-hoi-1-3-0.txt"] == b"11.000,12.000,20.000,16.000\n" * 3
    assert len((out / "TREK-150/static/ope/times/a_time.txt").read_text().splitlines()) == 5
    assert evaluate(dataset, out) == 0
    assert "0 runs done, 13 were finished before" in capsys.readouterr().out
    assert main(["score", "--dataset", "trek150", str(dataset), "--results", str(out), "--protocol", "mse"]) == 0
    assert "6/6" in capsys.readouterr().out


def test_truncated_results_are_run_again_and_it_is_said(dataset, tmp_path, capsys, caplog):
    out = tmp_path / "results"
    assert evaluate(dataset, out) == 0
    whole = files(out)
    for name, text in (("ope/a.txt", whole["TREK-150/static/ope/a.txt"][:40]), ("mse/b-anchor-0.txt", b"")):
        (out / "TREK-150" / "static" / name).write_bytes(text)
    capsys.readouterr()
    assert evaluate(dataset, out) == 0
    assert "2 runs done, 11 were finished before" in capsys.readouterr().out
    assert "a.txt, line 2" in caplog.text and "b-anchor-0.txt is empty; run again" in caplog.text
    assert files(out) == whole


def test_starting_over(dataset, tmp_path, capsys):
    out = tmp_path / "results"
    evaluate(dataset, out)
    stale = out / "TREK-150" / "static" / "ope" / "a.txt"
    stale.write_text("1,1,1,1\n" * 5)
    evaluate(dataset, out, "--protocol", "ope")
    assert stale.read_text() == "1,1,1,1\n" * 5
    capsys.readouterr()
    assert evaluate(dataset, out, "--protocol", "ope", "--no-resume") == 0
    assert "3 runs done, 0 were finished" in capsys.readouterr().out
    assert stale.read_text() != "1,1,1,1\n" * 5


def test_an_interrupt_loses_the_run_in_flight_and_no_other(dataset, tmp_path, monkeypatch, capsys):
    assert evaluate(dataset, tmp_path / "whole") == 0
    frames = iter(range(1000))

    class Interrupted(StaticTracker):
        def track(self, image):
            if next(frames) == 10:  # in the middle of the third run, of 4 frames after the first
                raise KeyboardInterrupt
            return super().track(image)

    monkeypatch.setattr(baselines, "StaticTracker", Interrupted)
    out = tmp_path / "out"
    assert evaluate(dataset, out) == 130
    assert sorted(name for name in files(out) if "settings" not in name) == [
        "TREK-150/static/ope/a.txt",
        "TREK-150/static/ope/b.txt",
    ]
    capsys.readouterr()
    assert evaluate(dataset, out) == 0
    assert "11 runs done, 2 were finished before" in capsys.readouterr().out
    assert files(out) == files(tmp_path / "whole")


def test_shards_make_up_the_whole(dataset, tmp_path):
    evaluate(dataset, tmp_path / "whole")
    for index in (1, 2, 3):
        assert evaluate(dataset, tmp_path / "parts", "--shard", f"{index}/3") == 0
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_a_frame_that_cannot_be_read_fails_its_runs_alone(dataset, tmp_path, capsys):
    broken = dataset / "b" / "img" / "0002.jpg"
    broken.write_bytes(broken.read_bytes()[:100])
    assert evaluate(dataset, tmp_path / "out", "--protocol", "ope,mse") == 1
    captured = capsys.readouterr()
    assert "6 runs done, 0 were finished before, 3 failed, 0 left out" in captured.out
    assert captured.err.count(str(broken)) == 3 and "b-anchor-4 (mse) failed" in captured.err


def test_a_missing_frame_leaves_its_sequence_out(dataset, tmp_path, capsys, caplog):
    (dataset / "b" / "img" / "0002.jpg").unlink()
    assert evaluate(dataset, tmp_path / "out", "--protocol", "ope") == 1
    assert "2 runs done, 0 were finished before, 0 failed, 1 left out" in capsys.readouterr().out
    assert "the one after 0001.jpg is missing" in caplog.text and "b (ope): there are no frames" in caplog.text


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--protocol", "ope,vos"], "'vos' is none of ope"),
        (["--shard", "4/3"], "'4/3' is not I/N"),
        (["--shard", "half"], "'half' is not I/N"),
        (["--init", "box"], "--init and --json are not for --dataset"),
    ],
)
def test_options_that_make_no_sense(dataset, tmp_path, capsys, more, words):
    try:
        code = evaluate(dataset, tmp_path / "out", *more)
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2 and words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "more", [["--out", "results"], ["--protocol", "ope"], ["--workers", "2"], ["--shard", "1/2"], ["--no-resume"]]
)
def test_what_only_a_dataset_has_is_refused_without_one(tmp_path, capsys, more):
    assert main(["evaluate", str(tmp_path), "--init", "box", *more]) == 2
    assert f"{more[0]} is of --dataset" in capsys.readouterr().err


def test_other_settings_need_another_name(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    evaluate(dataset, out, "--protocol", "ope")
    settings = out / "TREK-150" / "static" / "ope" / "settings.json"
    assert json.loads(settings.read_text()) == {"tracker": "static"}
    settings.write_text('{"tracker": "msdeaot"}')
    assert evaluate(dataset, out, "--protocol", "ope") == 2
    assert "made with another tracker" in capsys.readouterr().err
    assert evaluate(dataset, out, "--protocol", "ope", "--name", "still") == 0
    assert sorted(path.name for path in (out / "TREK-150").iterdir()) == ["static", "still"]
