"""The submission of the TREK-150 challenge: what is written, what of a file from elsewhere is found faulty."""

import copy
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from msdeaot_tracker.cli.main import main
from msdeaot_tracker.data.datasets.box_sequences import BoxSequence, read_dataset
from msdeaot_tracker.evaluation import check_submission, write_submission
from msdeaot_tracker.types import InputError

GOLDEN = Path(__file__).parent / "data" / "trek150"
SEQUENCES = read_dataset("trek150", GOLDEN / "dataset")
RESULTS = GOLDEN / "results" / "TREK-150"
FIRST = SEQUENCES[0].name


def write_zip(path: Path, text: str | bytes, name: str = "challenge-submission.json") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return path


@pytest.fixture
def good(tmp_path) -> dict:
    path = tmp_path / "good.zip"
    assert write_submission(path, SEQUENCES, RESULTS, "steady") == []
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 1
        return json.loads(archive.read(archive.namelist()[0]))


def test_every_result_file_is_there_under_the_toolkits_names(good):
    """Compared with the files, without the code that reads them."""
    results = good.pop("results")
    supervision = {"sls_pt": -1, "sls_tl": -1, "sls_td": -1}
    assert good == {"challenge": "object_tracking", "version": "0.1", "tracker_name": "steady", **supervision}
    assert list(results) == ["ope", "mse", "hoi"]
    submitted = {("ope", name): boxes for name, boxes in results["ope"].items()}
    for protocol in ("mse", "hoi"):
        for name, runs in results[protocol].items():
            submitted |= {(protocol, f"{name}-{run}"): boxes for run, boxes in runs.items()}
    files = {
        (protocol, path.stem): np.loadtxt(path, delimiter=",", ndmin=2).tolist()
        for protocol in results
        for path in (RESULTS / "steady" / protocol).glob("*.txt")
    }
    assert submitted == files and len(files) > 20
    assert all(run.startswith("anchor-") for runs in results["mse"].values() for run in runs)
    assert all(len(run.split("-")) == 4 for runs in results["hoi"].values() for run in runs)


def test_it_is_read_back_as_faultless_also_indented_as_the_toolkit_does(good, tmp_path):
    assert check_submission(tmp_path / "good.zip", SEQUENCES) == []
    assert check_submission(write_zip(tmp_path / "theirs.zip", json.dumps(good, indent=4)), SEQUENCES) == []
    without = next(s.name for s in SEQUENCES if not s.interactions)
    good["results"]["hoi"][without] = {}  # the toolkit's entry for an empty file of interactions
    assert check_submission(write_zip(tmp_path / "theirs.zip", json.dumps(good)), SEQUENCES) == []


def first_run(protocol: str) -> str:
    folder = sorted((RESULTS / "steady" / protocol).glob(f"{FIRST}-*.txt"))[0]
    return folder.stem.removeprefix(f"{FIRST}-")


ANCHOR, INTERACTION = first_run("mse"), first_run("hoi")


def put(*path):
    """A change of the submission: the last of the path replaces what the others lead to; without it: removed."""

    def change(content):
        *parents, key, value = path
        for parent in parents:
            content = content[parent]
        if value is None:
            del content[key]
        else:
            content[key] = value

    return change


def cut(*path):
    def change(content):
        for key in path:
            content = content[key]
        content.pop()

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("challenge", "action_detection"), "challenge: 'action_detection', where 'object_tracking'"),
        (put("version", 0.1), "version: 0.1, where '0.1'"),
        (put("tracker_name", ""), "tracker_name: ''"),
        (put("sls_pt", None), "sls_pt: None"),
        (put("sls_tl", True), "sls_tl: True"),
        (put("sls_td", 6), "sls_td: 6, where a whole number from -1 to 5"),
        (put("extra", 1), "'extra' is not a field"),
        (put("results", None), "results: missing"),
        (put("results", "rte", {}), "results: 'rte' is not known"),
        (put("results", "mse", None), "mse: missing"),
        (put("results", "hoi", []), "hoi: missing, or not an object"),
        (put("results", "ope", FIRST, None), f"ope, {FIRST}: missing"),
        (put("results", "ope", "P99", []), "ope, 'P99': no such sequence"),
        (put("results", "hoi", FIRST, None), f"hoi, {FIRST}: missing"),
        (put("results", "mse", FIRST, []), f"mse, {FIRST}: not an object with a run each"),
        (put("results", "mse", FIRST, ANCHOR, None), f"mse, {FIRST}, {ANCHOR}: missing"),
        (put("results", "mse", FIRST, "anchor-9999", []), f"mse, {FIRST}: no run 'anchor-9999'"),
        (put("results", "hoi", FIRST, INTERACTION, {}), f"hoi, {FIRST}, {INTERACTION}: not a list of boxes"),
        (cut("results", "ope", FIRST), f"ope, {FIRST}: "),
        (cut("results", "hoi", FIRST, INTERACTION), f"hoi, {FIRST}, {INTERACTION}: "),
        (cut("results", "ope", FIRST, 3), f"ope, {FIRST}, box 3: "),
        (put("results", "ope", FIRST, 2, [1, 2, float("nan"), 4]), f"ope, {FIRST}, box 2: [1, 2, nan, 4]"),
        (put("results", "ope", FIRST, 2, [1, 2, float("-inf"), 4]), f"ope, {FIRST}, box 2: "),
        (put("results", "ope", FIRST, 2, [1, 2, "3", 4]), f"ope, {FIRST}, box 2: [1, 2, '3', 4]"),
        (put("results", "ope", FIRST, 2, [1, 2, False, 4]), f"ope, {FIRST}, box 2: "),
        (put("results", "ope", FIRST, 2, [1, 2, 10**400, 4]), f"ope, {FIRST}, box 2: "),
    ],
)
def test_each_fault_is_named_and_nothing_else_is(good, tmp_path, change, message):
    content = copy.deepcopy(good)
    change(content)
    problems = check_submission(write_zip(tmp_path / "bad.zip", json.dumps(content)), SEQUENCES)
    assert len(problems) == 1 and problems[0].startswith(message), problems


def test_lengths_are_told(good, tmp_path):
    good["results"]["ope"][FIRST].append([1, 2, 3, 4])
    length = len(SEQUENCES[0])
    (problem,) = check_submission(write_zip(tmp_path / "bad.zip", json.dumps(good)), SEQUENCES)
    assert problem == f"ope, {FIRST}: {length + 1} boxes for a run of {length} frames"


# Files from anywhere


def bomb(path: Path) -> Path:
    return write_zip(path, b" " * (100 << 20))


def bomb_that_lies(path: Path) -> Path:
    """The sizes it tells are small."""
    bomb(path)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        struct.pack_into("<I", data, data.index(signature) + offset, 1000)
    path.write_bytes(data)
    return path


def several(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.json", "{}")
        archive.writestr("../../.bashrc", "rm")
    return path


def encrypted(path: Path) -> Path:
    write_zip(path, "{}")
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    return path


def odd_method(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.json", "{}")
    return path


def damaged(path: Path) -> Path:
    write_zip(path, json.dumps(list(range(1000))))
    data = bytearray(path.read_bytes())
    data[200:220] = bytes(20)
    path.write_bytes(data)
    return path


def plain(path: Path) -> Path:
    path.write_text("{}")
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (bomb, "would unpack to 104857600 bytes"),
        (bomb_that_lies, "damaged"),
        (several, r"holds 2 files \('a.json', '../../.bashrc'\)"),
        (encrypted, "is encrypted"),
        (odd_method, "packed in an unusual way"),
        (damaged, "damaged"),
        (plain, "is not a zip"),
        (lambda path: path, "does not exist"),
        (lambda path: path.parent, "is not a zip"),
        (lambda path: write_zip(path, "{}", "submission.pkl"), "holds 1 files"),
        (lambda path: write_zip(path, "[" * 500_000), "is not JSON"),
        (lambda path: write_zip(path, "1" * 5000), "is not JSON|not a JSON object"),
        (lambda path: write_zip(path, b"\xff\xfe\x00"), "is not JSON"),
        (lambda path: write_zip(path, '{"version": "0.1", "version": "0.2"}'), "'version' stands there twice"),
    ],
)
def test_files_that_nobody_should_unpack_are_refused(tmp_path, make, message):
    path = make(tmp_path / "x.zip")
    with pytest.raises(InputError, match=message):
        raise InputError("; ".join(check_submission(path, SEQUENCES)))
    assert {each.name for each in tmp_path.iterdir()} <= {"x.zip"}


def test_what_is_no_object_is_a_fault(tmp_path):
    assert check_submission(write_zip(tmp_path / "x.zip", "[1, 2]"), SEQUENCES) == ["the file is not a JSON object"]


# The command


def test_the_command_writes_and_checks(tmp_path, capsys):
    out = tmp_path / "é.zip"
    command = ["export-challenge", str(GOLDEN / "dataset"), "--dataset", "trek150"]
    assert main([*command, "--results", str(GOLDEN / "results"), "--tracker", "losing", "--out", str(out)]) == 0
    assert "every run of 5 sequences is there" in capsys.readouterr().out
    assert main([*command, "--check", str(out)]) == 0
    write_zip(out, "{}")
    assert main([*command, "--check", str(out)]) == 1
    assert "challenge: None" in capsys.readouterr().out


def test_nothing_is_written_of_less_than_all(tmp_path, capsys):
    out = tmp_path / "x.zip"
    command = ["export-challenge", str(GOLDEN / "dataset"), "--results", str(GOLDEN / "results"), "--out", str(out)]
    assert main([*command, "--tracker", "nobody"]) == 1
    lines = capsys.readouterr().out.splitlines()
    runs = sum(len(list((RESULTS / "steady" / protocol).glob("*.txt"))) for protocol in ("ope", "mse", "hoi"))
    assert "is not written" in lines[0] and len(lines) == 1 + runs
    assert any(line.endswith(f"nobody/mse/{FIRST}-{ANCHOR}.txt does not exist") for line in lines)
    assert not any(tmp_path.iterdir())


def test_sequences_without_what_the_challenge_asks_for_are_named(tmp_path):
    bare = BoxSequence("bare", (), np.ones((3, 4)))
    unread = BoxSequence("unread", (), np.empty((0, 4)))
    problems = write_submission(tmp_path / "x.zip", [bare, unread], RESULTS, "steady")
    assert "mse, bare: the dataset has no anchors for it" in problems
    assert "ope, unread: its truth cannot be read" in problems and not any(tmp_path.iterdir())


@pytest.mark.parametrize("options", [[], ["--tracker", "t"], ["--check", "a.zip", "--out", "b.zip"]])
def test_options_that_do_not_go_together(capsys, options):
    assert main(["export-challenge", str(GOLDEN / "dataset"), *options]) == 2
    assert "or --check alone" in capsys.readouterr().err
