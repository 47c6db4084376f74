"""Which files of this machine the page may read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from ..images import IMAGE_SUFFIXES
from ..types import InputError
from ..video import VIDEO_SUFFIXES, list_frames

MAX_LISTED = 500  # videos offered for choice
_MAX_LOOKED_AT = 20_000  # folders and files


class AllowedFolders:
    """What lies in some folders, or is reached from them without leaving them: links that lead out are refused."""

    def __init__(self, roots: Sequence[Path]):
        """InputError: one of them is no folder."""
        for root in roots:
            if not root.is_dir():
                raise InputError(f"folder {root} does not exist, or is no folder")
        self._roots = tuple(root.resolve() for root in roots)

    def __bool__(self) -> bool:
        return bool(self._roots)

    def find(self, text: str) -> Path:
        """The video file or folder of frames of that path, absolute or below one of the folders.

        InputError: it lies outside, or a frame does; the same words whether or not there is such a file. Or it is not
        there, inside.
        """
        if not text.strip() or "\0" in text:
            raise InputError("no path is given")
        asked = Path(text.strip())
        found = [path for path in (root / asked for root in self._roots) if self._holds(path)]
        if not found:
            raise InputError(f"{asked} is not in a folder that this page may read")
        path = next((path for path in found if path.exists()), None)
        if path is None:
            raise InputError(f"{asked} does not exist")
        if path.is_dir() and not all(self._holds(frame) for frame in list_frames(path)):
            raise InputError(f"{asked} holds a link to a file that this page may not read")
        return path

    def videos(self) -> list[str]:
        """Up to MAX_LISTED video files and folders of frames, relative to their root, in order."""
        looked_at = islice((entry for root in self._roots for entry in _walk(root)), _MAX_LOOKED_AT)
        return sorted(islice((name for name in looked_at if name), MAX_LISTED))

    def _holds(self, path: Path) -> bool:
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError):  # links that go round
            return False
        return any(resolved.is_relative_to(root) for root in self._roots)


def _walk(root: Path) -> Iterator[str | None]:
    """A name for each video below the root, None for each other file or folder."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(folder)
        shown = [name for name in files if not name.startswith(".")]
        is_sequence = any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in shown)
        yield here.relative_to(root).as_posix() if is_sequence and here != root else None
        for name in shown:
            is_video = Path(name).suffix.lower() in VIDEO_SUFFIXES
            yield (here / name).relative_to(root).as_posix() if is_video else None
