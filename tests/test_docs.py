"""The README, the site, the notebook and what packages say of the project agree with the code and with one another."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import msdeaot_tracker
from msdeaot_tracker.cli import doctor_checks
from msdeaot_tracker.cli.main import COMMANDS
from msdeaot_tracker.exports import EXPORTERS

REPO = Path(__file__).parents[1]
DOCS = REPO / "docs"
README = (REPO / "README.md").read_text(encoding="utf-8")
PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
of_docs = pytest.mark.skipif(
    find_spec("nbclient") is None or find_spec("mkdocs") is None, reason="needs the extra `docs`"
)


def blocks(text: str) -> list[list[str]]:
    """The lines of each block of commands."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [code.splitlines() for language, code in found if not language]


def test_the_dockerfiles_commands_are_the_readmes():
    (install,) = [block for block in blocks(README) if any("--torch-backend=cpu" in line for line in block)]
    commands = [line.removeprefix("RUN ") for line in (REPO / "Dockerfile").read_text().splitlines() if "RUN " in line]
    assert commands[1:] == install
    (libraries,) = re.findall(r"`apt install (.*?)`", README)
    assert f"--no-install-recommends {libraries} &&" in commands[0]
    assert f"apt install {libraries}" == doctor_checks.LIBRARIES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_pages_exist(page):
    text = page.read_text(encoding="utf-8")
    lines = [line for block in blocks(text) for line in block]
    named = {name for line in lines for name in re.findall(r"(?:^|&& |bin/)msdeaot ([a-z][\w-]*)", line)}
    named |= set(re.findall(r"`(?:\.venv/bin/)?msdeaot ([a-z][\w-]*)", text))
    assert named <= COMMANDS.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_the_exporters_are_in_the_docs():
    text = (DOCS / "track.md").read_text(encoding="utf-8")
    for name, exporter in EXPORTERS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert exporter.name in row


def test_public_names_are_in_the_api():
    api = (DOCS / "api.md").read_text(encoding="utf-8")
    assert {f"msdeaot_tracker.{name}" for name in msdeaot_tracker.__all__} <= set(re.findall(r"^::: (\S+)", api, re.M))


def test_versions_agree():
    version = msdeaot_tracker.__version__
    assert f"\nversion: {version}\n" in (REPO / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {version}" in (REPO / "CHANGELOG.md").read_text(encoding="utf-8")


@of_docs
def test_the_site_is_built_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=REPO, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "site"
    assert (site / "quickstart.ipynb").is_file() and not (site / "site_hooks.py").exists()
    assert 'href="track/' in (site / "index.html").read_text(encoding="utf-8")
    assert 'id="msdeaot_tracker.Tracker.track"' in (site / "api" / "index.html").read_text(encoding="utf-8")


@of_docs
def test_the_notebook_runs(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(DOCS / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [output["data"]["text/plain"] for output in outputs if "data" in output]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert float(texts[-1]) > 0.5
