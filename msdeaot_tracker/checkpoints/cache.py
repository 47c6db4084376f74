"""Where downloaded weights lie, and whether they are still what they were."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from ..types import CheckpointError
from .zoo import MANIFEST, Release, find_release

CACHE_VARIABLE = "MSDEAOT_CACHE"


@dataclass(frozen=True)
class Fingerprint:
    sha256: str  # hexadecimal
    size: int  # bytes


@dataclass(frozen=True)
class Verdict:
    """What a look at a file in the cache found; "unverifiable": whole as far as one can tell, but nothing published."""

    state: Literal["verified", "unverifiable", "missing", "damaged"]
    reason: str


def cache_dir() -> Path:
    """The folder that MSDEAOT_CACHE names, or the platform's place for such files; it need not exist."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else platformdirs.user_cache_path("msdeaot-tracker", appauthor=False) / "weights"


def weights_path(name: str, folder: Path | None = None) -> Path:
    """Where the file of this entry lies once it is downloaded; CheckpointError: unknown name."""
    return (folder or cache_dir()) / find_release(name).file


def find_weights(name: str) -> Path:
    """The file of an entry of the manifest: downloaded, or in an installed package. CheckpointError: neither."""
    path = weights_path(name)
    packaged = _packaged(find_release(name))
    if not path.is_file() and packaged is not None:
        return packaged
    if not path.is_file():
        raise CheckpointError(
            f"the weights {name!r} are not there: run `msdeaot weights download {name}`, or put the file at {path}"
        )
    return path


def _packaged(release: Release) -> Path | None:
    """The file in the Python package that holds it, if that is installed; the package is not imported."""
    if release.package is None:
        return None
    module, file = release.package
    spec = importlib.util.find_spec(module)
    found = [Path(folder, file) for folder in spec.submodule_search_locations or ()] if spec else []
    return next((path for path in found if path.is_file()), None)


def resolve_weights(weights: str | os.PathLike[str]) -> Path:
    """A file, which need not exist, or, where there is none, the downloaded file of public weights of that name.

    CheckpointError: weights of that name are not downloaded; neither a file nor such a name.
    """
    path = Path(weights)
    if path.is_file() or path.suffix or len(path.parts) != 1:
        return path
    if path.name in MANIFEST:
        return find_weights(path.name)
    raise CheckpointError(f"cannot read weights {path}: no such file, and no such name in `msdeaot weights list`")


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal digest, as result files name weights."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(path: Path) -> Fingerprint:
    return Fingerprint(file_sha256(path), path.stat().st_size)


def mismatch(release: Release, found: Fingerprint) -> str | None:
    """In which published number a file differs, in words."""
    if release.sha256 is not None and found.sha256 != release.sha256:
        return f"sha256 is {found.sha256}, published {release.sha256}"
    if release.size is not None and found.size != release.size:
        return f"size is {found.size} bytes, published {release.size}"
    return None


def record(path: Path, found: Fingerprint) -> None:
    """Note beside a file how it came in, for entries whose hash nobody publishes."""
    _record_path(path).write_text(json.dumps({"sha256": found.sha256, "size": found.size}) + "\n", encoding="utf-8")


def recorded(path: Path) -> Fingerprint | None:
    """What `record` noted; None: nothing, or nothing legible."""
    try:
        content = json.loads(_record_path(path).read_text(encoding="utf-8"))
        return Fingerprint(content["sha256"], content["size"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def verify(name: str, folder: Path | None = None) -> Verdict:
    """Compare the file of an entry with what is published of it, and with what it was when it came in."""
    return check_file(find_release(name), weights_path(name, folder))


def check_file(release: Release, path: Path) -> Verdict:
    if not path.is_file():
        return Verdict("missing", "not downloaded")
    found, before = fingerprint(path), recorded(path)
    problem = mismatch(release, found)
    if problem:
        return Verdict("damaged", problem)
    if release.sha256 is not None:
        return Verdict("verified", "sha256 as published")
    if before is None:
        return Verdict("unverifiable", "not verifiable: no published hash, and none recorded at a download")
    if before != found:
        return Verdict("damaged", f"changed: sha256 is {found.sha256}, {_record_path(path).name} has {before.sha256}")
    return Verdict("unverifiable", "not verifiable: no published hash; unchanged since it was downloaded")


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
