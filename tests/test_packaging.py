"""The wheel, installed beside the packages of the test environment and used from an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import msdeaot_tracker

REPO = Path(__file__).parents[1]
PACKAGED = ("msdeaot_tracker", "integration", "trackers.ini")
SOURCES = (*PACKAGED, "setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md")


def run(*command: str | Path, cwd: Path) -> str:
    """What the command wrote to standard output; it must succeed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # building in the repository would pick up what an earlier build left there
    for name in SOURCES:
        copy = shutil.copytree if (REPO / name).is_dir() else shutil.copy
        source.mkdir(exist_ok=True)
        copy(REPO / name, source / name)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The `bin` folder of an environment with the wheel in it; everything else is the test environment's."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / ("python.exe" if os.name == "nt" else "python")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # Folders named in a .pth file come last, and .pth files in them (of an editable install, say) are not read.
    (site / "test_environment.pth").write_text("\n".join(p for p in sys.path if p.endswith("-packages")))
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, wheel, cwd=folder)
    return scripts


def test_the_wheel_holds_what_is_needed_and_no_more(wheel):
    assert wheel.name.startswith(f"msdeaot_tracker-{msdeaot_tracker.__version__}-py3-none-any")
    names = zipfile.ZipFile(wheel).namelist()
    assert "msdeaot_integration/trackers.ini" in names
    assert "msdeaot_integration/stacks/full.yaml" in names
    assert {"msdeaot_tracker/py.typed", "msdeaot_integration/py.typed"} <= set(names)
    for name in ("msdeaot-lite", "msdeaot-small"):
        assert {f"msdeaot_tracker/weights/{name}.safetensors", f"msdeaot_tracker/weights/{name}.md"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"msdeaot_tracker", "msdeaot_integration"}


def test_an_editable_install_is_seen_by_type_checkers(tmp_path):
    """They read the folders named in .pth files, and look for py.typed there; import hooks do not help them."""
    pytest.importorskip("wheel", reason="needs the package wheel")
    source = tmp_path / "source"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (REPO / name).is_dir() else shutil.copy
        copy(REPO / name, source / name)
    build = "import sys; from setuptools.build_meta import build_editable; print(build_editable(sys.argv[1]))"
    built = run(sys.executable, "-c", build, tmp_path, cwd=source).splitlines()[-1]
    with zipfile.ZipFile(tmp_path / built) as editable:
        assert editable.read("msdeaot_tracker_sources.pth").decode().strip() == str(source)
        (record,) = [name for name in editable.namelist() if name.endswith("/RECORD")]
        assert "msdeaot_tracker_sources.pth,sha256=" in editable.read(record).decode()
        assert any(name.endswith("finder.py") for name in editable.namelist())  # of msdeaot_integration
    assert (source / "msdeaot_tracker" / "py.typed").is_file()


def test_every_module_is_packed(wheel):
    packed = set(zipfile.ZipFile(wheel).namelist())
    for folder, package in (("msdeaot_tracker", "msdeaot_tracker"), ("integration", "msdeaot_integration")):
        for module in (REPO / folder).rglob("*.py"):
            assert f"{package}/{module.relative_to(REPO / folder).as_posix()}" in packed


def test_the_toolkit_runs_the_installed_tracker(installed, tmp_path):
    pytest.importorskip("vot", reason="needs the extra `vot`")
    registry = Path(run(installed / "msdeaot", "registry", cwd=tmp_path).strip())
    assert registry.is_file() and registry.is_relative_to(installed.parent)
    command = (installed / "python", "-m", "vot", "--registry", registry, "test", "MSDeAOT")
    output = run(*command, cwd=tmp_path)
    assert output.count("@@TRAX:state") == 50, output
    module = run(installed / "python", "-c", "import msdeaot_integration as m; print(m.__file__)", cwd=tmp_path)
    assert Path(module.strip()).parent == registry.parent
    assert not list(tmp_path.iterdir())


def test_the_baseline_needs_no_deep_learning_library(installed, tmp_path):
    code = "import sys, msdeaot_integration.static_box; print('torch' in sys.modules)"
    assert run(installed / "python", "-c", code, cwd=tmp_path).strip() == "False"
