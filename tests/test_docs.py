"""The README, the site, the notebook and what packages say of the project agree with the code and with one another."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

import msdeaot_tracker
from msdeaot_tracker.cli import doctor_checks
from msdeaot_tracker.cli.demo import CLIPS
from msdeaot_tracker.cli.main import COMMANDS
from msdeaot_tracker.data.procedural import generate_clip
from msdeaot_tracker.exports import EXPORTERS
from msdeaot_tracker.geometry import mask_iou
from msdeaot_tracker.images import write_mask

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


def test_the_prompts_file_of_the_docs_is_one(tmp_path):
    (text,) = re.findall(r"^```json\n(.*?)^```", (DOCS / "prompts.md").read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "prompts.json").write_text(text)
    write_mask(tmp_path / "two.png", np.full((720, 1280), 2))
    prompts = msdeaot_tracker.read_prompts(tmp_path / "prompts.json")
    assert list(prompts.frames) == [0, 40, 80] and prompts.frames[80] == {2: None} and prompts.size == (1280, 720)
    assert prompts.frames[40][1].foreground == [(430, 200)]


def test_the_quickstarts_lines_do_what_they_say(tmp_path):
    text = (DOCS / "quickstart.md").read_text(encoding="utf-8")
    lines = [line for block in blocks(text) if "clips/" in "".join(block) for line in block]
    (tmp_path / ".venv").symlink_to(sys.prefix)
    done = subprocess.run(["bash", "-ec", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "overlay.mp4").is_file()
    assert len(list((tmp_path / "results" / "masks").iterdir())) == 10
    rows = (tmp_path / "results" / "export" / "tracks.csv").read_text().splitlines()[1:]
    assert [row.split(",")[-1] for row in rows] == ["lite", *["tracked"] * 4, "given", *["tracked"] * 4]


def test_the_readmes_python_tracks():
    clip = generate_clip(0, replace(CLIPS, frames=3))
    (code,) = [found for found in re.findall(r"^```python\n(.*?)^```", README, re.M | re.S) if "initialize" in found]
    names = {"image": clip.frames[0], "box": clip.boxes[0][0], "video": clip.frames[1:]}
    exec(code, names)
    assert mask_iou(names["result"].masks[1], clip.labels[2] == 1) > 0.5


def test_the_readmes_first_python_tracks_a_video(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = generate_clip(0, replace(CLIPS, height=360, width=640, frames=2))
    writer = cv2.VideoWriter("video.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 20, (640, 360))
    for image in clip.frames:
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()
    (code,) = [found for found in re.findall(r"^```python\n(.*?)^```", README, re.M | re.S) if "track_video" in found]
    exec(code, names := {})
    assert names["result"].frame_index == 1 and names["result"].labels.shape == (360, 640)


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
    api = (site / "api" / "index.html").read_text(encoding="utf-8")
    for name in (*msdeaot_tracker.__all__, "Tracker.track"):
        assert f'id="msdeaot_tracker.{name}"' in api, f"{name} has no docstring"


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
