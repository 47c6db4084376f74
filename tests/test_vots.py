"""VOTS with the newest vot-toolkit, by the lines of docs/toolkits.md; and what is said of versions."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from msdeaot_integration import registry_path, requirements
from msdeaot_integration.workspace import write_sequence

from msdeaot_tracker.cli import doctor_checks
from msdeaot_tracker.data.procedural import ClipConfig, generate_clip

NEWEST = os.environ.get("MSDEAOT_VOT09_PYTHON", "")
CLIPS = ClipConfig(height=96, width=128, frames=6, min_objects=2, max_objects=2, absence_probability=0)


@pytest.mark.skipif(not NEWEST, reason="MSDEAOT_VOT09_PYTHON names no interpreter")
def test_from_initialize_to_the_archive_in_the_newest_toolkit(tmp_path):
    def vot(*arguments: str) -> str:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "VOT_REGISTRY": str(registry_path())}
        command = (NEWEST, "-m", "vot", *arguments)
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    vot("initialize", "vots2026/main", "--workspace", "ws", "--nodownload")
    clip = generate_clip(3, CLIPS)
    truth = {f"{k:03d}": [mask if mask.any() else None for mask in clip.labels == k] for k in (1, 2)}
    write_sequence(tmp_path / "ws" / "sequences" / "clip", clip.frames, truth)
    (tmp_path / "ws" / "sequences" / "list.txt").write_text("clip\n")

    tested = vot("test", "-s", "ws/sequences/clip", "MSDeAOT_multi")
    assert "Test concluded successfuly" in tested, tested
    evaluated = vot("evaluate", "--workspace", "ws", "MSDeAOT_multi")
    assert "Evaluation concluded successfuly" in evaluated, evaluated
    vot("pack", "--workspace", "ws", "MSDeAOT_multi")
    (archive,) = (tmp_path / "ws").glob("MSDeAOT_multi_*.zip")
    names = set(zipfile.ZipFile(archive).namelist())
    assert {"manifest.yml", *(f"baseline/clip/clip_{name}_001.bin" for name in truth)} <= names


def installed(folder: Path, monkeypatch, **versions: str) -> None:
    """Put distributions of these versions before the others."""
    for module, version in versions.items():
        name = module.replace("_", "-")
        metadata = folder / f"{module}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(folder))


def test_two_toolkits_in_one_environment_are_named(tmp_path, monkeypatch):
    pytest.importorskip("vot", reason="needs the extra `vot`")
    here = requirements.toolkit_version()
    installed(tmp_path, monkeypatch, vot_toolkit="0.9.7")
    with pytest.raises(ImportError, match=rf"vot-toolkit is here in versions {here} and 0\.9\.7 at once: .*of its own"):
        requirements.require_toolkit()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="it works on Python 3.10")
def test_an_attributee_that_breaks_the_toolkit_is_named(monkeypatch):
    pytest.importorskip("vot", reason="needs the extra `vot`")
    plain = requirements._version
    monkeypatch.setattr(requirements, "_version", lambda name: "0.1.10" if name == "attributee" else plain(name))
    with pytest.raises(ImportError, match=r"attributee 0\.1\.10 breaks .*pip install attributee==0\.1\.9"):
        requirements.require_toolkit()


@pytest.mark.parametrize(
    ("experiment", "kind"),
    [
        ({"type": "multistart"}, "multistart"),
        ({"type": "supervised"}, "supervised"),
        ({"type": "unsupervised", "realtime": {"grace": 3}}, "real-time"),
    ],
)
def test_an_experiment_that_crashes_in_the_newest_toolkit_is_named_before_it_runs(experiment, kind):
    stack = {"ope": {"type": "unsupervised", "multiobject": True}, "mine": experiment}
    requirements.check_experiments("0.7.4", stack)
    with pytest.raises(ImportError, match=rf"experiment 'mine' is {kind}: vot-toolkit 0\.9\.0 .*0\.7\.4 runs them"):
        requirements.check_experiments("0.9.0", stack)
    own = {"type": "msdeaot_integration.vot_experiments.OnePass", "realtime": {"grace": 3}}
    requirements.check_experiments("0.9.0", {"ope": {"type": "unsupervised"}, "mine": own})


def test_doctor_says_what_the_toolkit_that_is_here_cannot_do():
    pytest.importorskip("vot", reason="needs the extra `vot`")
    sound, limit = doctor_checks.toolkit()
    assert sound.good and limit.good is None
    assert "vots2026" in limit.text and "the extra `vots`" in limit.text
    (newest,) = requirements.toolkit_limits("0.9.0")
    assert "multi-start, supervised and real-time" in newest and "the extra `vot`," in newest
