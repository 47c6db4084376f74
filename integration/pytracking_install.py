"""Puts our files into a clone of pytracking, and takes them out again. Nothing that is there is ever changed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from msdeaot_tracker import PRESETS, InputError

_FILES = Path(__file__).resolve().parent / "pytracking_files"  # laid out like the clone's folder `pytracking`
_SIGNATURE = b"# Installed by msdeaot-tracker; SHA-256 of the lines below: "
_A_CLONE_HAS = ("pytracking/run_tracker.py", "pytracking/evaluation/tracker.py", "ltr/__init__.py")
_PRESET_PARAMETERS = '''\
"""The preset `{preset}`. For weights of your own, copy this module and set `params.settings["weights"]`."""

from pytracking.parameter.msdeaot import default


def parameters():
    params = default.parameters()
    params.settings["preset"] = "{preset}"
    return params
'''

logger = logging.getLogger(__name__)
Report = list[tuple[str, str]]  # what was done, path from the clone's top


def install(clone: Path) -> Report:
    """Write our files: "written", "updated" (an earlier version of ours was there) or "unchanged".

    InputError, before anything is written: not a clone of pytracking, or a file that is not ours is in the way.
    """
    report = plan(clone)
    files = dict(_signed_files())
    for _, name in report:
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_bytes(files[name])
    for name in namesakes():
        logger.warning("%s is installed here, another project of that name, and hides the clone: uninstall it", name)
    return report


def plan(clone: Path) -> Report:
    """What `install` would do, in its words, and with its errors; nothing is written."""
    _check_clone(clone)
    files = dict(_signed_files())
    foreign = [name for name in files if (clone / name).exists() and not _is_ours(clone / name)]
    if foreign:
        raise InputError(f"not ours, or changed since they were installed, in {clone}: {', '.join(foreign)}")
    report = []
    for name, content in files.items():
        there = (clone / name).read_bytes() if (clone / name).exists() else None
        report.append(("written" if there is None else "unchanged" if there == content else "updated", name))
    return report


def namesakes() -> list[str]:
    """Installed packages of the clone's name, another project, which comes first in what its own scripts import."""
    return list(packages_distributions().get("pytracking", ()))


def uninstall(clone: Path) -> Report:
    """Take out what `install` of this or another version wrote: "removed", or "kept" if it was changed since."""
    _check_clone(clone)
    folders = sorted({(clone / name).parent for name, _ in _signed_files()})
    report = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.py"))):
        if not path.read_bytes().startswith(_SIGNATURE):
            continue
        name = path.relative_to(clone).as_posix()
        if not _is_ours(path):
            report.append(("kept", name))
            continue
        path.unlink()
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()
        report.append(("removed", name))
    for folder in folders:
        for leftover in (folder / "__pycache__", folder):
            if leftover.is_dir() and not any(leftover.iterdir()):
                leftover.rmdir()
    return report


def _check_clone(path: Path) -> None:
    missing = next((name for name in _A_CLONE_HAS if not (path / name).is_file()), None)
    if missing:
        raise InputError(
            f"{path} is not a clone of github.com/visionml/pytracking: it has no {missing}. "
            "(`pip install pytracking` brings another project of that name.)"
        )


def _signed_files() -> Iterator[tuple[str, bytes]]:
    """Path from the clone's top, and content."""
    texts = {path.relative_to(_FILES).as_posix(): path.read_text(encoding="utf-8") for path in _FILES.rglob("*.py")}
    for preset in PRESETS:
        name = preset.replace("-", "_")
        texts[f"parameter/msdeaot/{name}.py"] = _PRESET_PARAMETERS.format(preset=preset)
    for name, text in sorted(texts.items()):
        body = text.encode()
        yield f"pytracking/{name}", _signature(body) + body


def _signature(body: bytes) -> bytes:
    return _SIGNATURE + hashlib.sha256(body).hexdigest().encode() + b"\n"


def _is_ours(path: Path) -> bool:
    """Whether `install` wrote the file, in whatever version, and nobody touched it since."""
    content = path.read_bytes()
    first, newline, body = content.partition(b"\n")
    return first + newline == _signature(body)
