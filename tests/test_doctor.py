"""What `msdeaot doctor` finds, in this environment and beside packages and files that are wrong on purpose."""

from importlib.metadata import distribution
from pathlib import Path

import pytest
from msdeaot_integration import pytracking_install

from msdeaot_tracker.checkpoints.cache import weights_path
from msdeaot_tracker.cli import doctor_checks as checks
from msdeaot_tracker.cli.main import main


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MSDEAOT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def clone(tmp_path) -> Path:
    """What looks like a clone of pytracking."""
    for name in pytracking_install._A_CLONE_HAS:
        (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clone" / name).touch()
    return tmp_path / "clone"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts the metadata of a package beside those of this environment; nothing of it can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    def put(name: str, module: str, *requires: str) -> None:
        folder = tmp_path / "site" / f"{name.replace('-', '_')}-9.0.dist-info"
        folder.mkdir(parents=True)
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 9.0", *(f"Requires-Dist: {r}" for r in requires)]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")
        (folder / "top_level.txt").write_text(f"{module}\n")

    return put


def faults(findings) -> list:
    return [finding for finding in findings if finding.good is False]


def test_a_sound_installation_tracks_and_one_thing_that_cannot_work_is_named(clone, capsys):
    assert main(["doctor", "opencv", "--device", "cpu", "--pytracking", str(clone)]) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[-1] == "1 thing cannot work: pytracking"
    assert f"{'':<16}msdeaot install-pytracking {clone}" in lines
    for start, words in (
        ("packages    ok", "torch "),
        ("device      ok", "device cpu: as asked"),
        ("device      ok", "precision "),
        ("device      ok", " on "),
        ("weights     ok", "msdeaot-lite: ships with the package"),
        ("speed       ok", "overlap with the truth 0."),
    ):
        assert any(line.startswith(start) and words in line for line in lines), (start, words)
    assert not captured.err


def test_names_that_are_none(capsys):
    assert main(["doctor", "pytrackin"]) == 2
    assert "'pytrackin' is none of" in (error := capsys.readouterr().err) and "did you mean 'pytracking'?" in error


def test_devices_that_are_not_here():
    (fault,) = faults(checks.device("cuda:99"))
    assert "cuda:99" in fault.text and fault.mend


def test_an_extra_is_named_by_the_line_that_installs_it(install):
    assert "vot" in checks.extras() and "test" not in checks.extras()
    install("got10k", "nowhere")  # hides the true one, by its name
    (fault,) = faults(checks.extra_packages("got10k"))
    assert "got10k 9.0, needed is ==0.1.3" in fault.text and fault.mend == 'pip install "msdeaot-tracker[got10k]"'


def test_what_a_package_wants_and_does_not_find(install):
    install("a-toolkit", "a_toolkit", "numpy<1", "no-such-package>=2", 'other; extra == "more"')
    first, second = checks._conflicts(distribution("a-toolkit"))
    assert "a-toolkit 9.0 wants numpy<1: here is" in first.text and first.mend == 'pip install "numpy<1"'
    assert "no-such-package>=2: not installed" in second.text
    (fault,) = checks._import(["no_such_module"])
    assert fault.good is False and "No module named 'no_such_module'" in fault.text


def test_two_builds_of_opencv(install):
    install("opencv-contrib-python", "cv2")
    fault, *_ = faults(checks.opencv())
    assert "opencv-contrib-python 9.0" in fault.text and fault.mend.startswith(
        "pip uninstall -y opencv-contrib-python "
    )


def test_a_namesake_hides_vot_toolkit_and_the_clone(install, clone):
    install("vote", "vot")
    install("pytracking", "pytracking")
    (fault,) = faults(checks.toolkit())
    assert "vote" in fault.text or "vot-toolkit is not installed" in fault.text
    pytracking_install.install(clone)
    found = faults(checks.pytracking(clone))
    assert found[0].mend == "pip uninstall pytracking"
    assert not any("of our files" in fault.text for fault in found)


def test_a_folder_that_is_no_clone(tmp_path):
    fault, *_ = faults(checks.pytracking(tmp_path))
    assert "is not a clone" in fault.text and fault.mend.startswith("git clone ")


def test_damaged_weights_in_the_cache():
    name = "sam-vit-b"
    weights_path(name).write_text("not the weights")
    (fault,) = faults(checks.weights())
    assert fault.text.startswith(f"{name}: sha256 is ") and f"msdeaot weights download {name}" in fault.mend
