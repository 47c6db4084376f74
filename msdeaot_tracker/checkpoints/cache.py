"""Where downloaded weights lie."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from ..types import CheckpointError
from .zoo import find_entry

CACHE_VARIABLE = "MSDEAOT_CACHE"


def cache_dir() -> Path:
    """The folder that MSDEAOT_CACHE names, or the platform's place for such files; it need not exist."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else platformdirs.user_cache_path("msdeaot-tracker", appauthor=False) / "weights"


def find_weights(name: str) -> Path:
    """The downloaded file of an entry of the manifest. CheckpointError: unknown name, or not downloaded yet."""
    path = cache_dir() / find_entry(name).file
    if not path.is_file():
        raise CheckpointError(
            f"the weights {name!r} are not there: run `msdeaot weights download {name}`, or put the file at {path}"
        )
    return path
