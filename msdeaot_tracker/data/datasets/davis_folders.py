"""Where frames, masks and lists are in a folder in the layout of DAVIS: its own, or the same without resolutions."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from ...types import InputError
from .box_files import read_names, read_text

_RESOLUTIONS = ("480p", "1080p", "Full-Resolution")  # of DAVIS' archives; the first that is there is taken
Split = Literal["train", "val"]


class DavisFolders(NamedTuple):
    images: Path  # <sequence>/*.jpg
    masks: Path  # <sequence>/*.png
    sets: Path  # lists of sequences; need not exist
    is_official: bool  # of DAVIS' own layout, with a folder for the resolution

    def listed(self, split: Split) -> list[str] | None:
        """The sequences of a split, of DAVIS 2017 or 2016; None: there is no list of them. InputError: a broken one."""
        for year in ("2017", "2016"):
            path = self.sets / year / f"{split}.txt"
            if path.is_file():
                return read_names(path)
        path = self.sets / self.images.name / f"{split}.txt"  # of DAVIS 2016: pairs of files
        return _sequences_of_pairs(path) if self.is_official and path.is_file() else None


def find_davis(root: Path) -> DavisFolders:
    """`{JPEGImages, Annotations}/<sequence>`, or DAVIS' own `{JPEGImages, Annotations}/480p/<sequence>`.

    Whether there are such folders is for the reader to see.
    """
    images, masks, sets = root / "JPEGImages", root / "Annotations", root / "ImageSets"
    for resolution in _RESOLUTIONS:
        if (images / resolution).is_dir():
            return DavisFolders(images / resolution, masks / resolution, sets, True)
    return DavisFolders(images, masks, sets, False)


def _sequences_of_pairs(path: Path) -> list[str]:
    """Of lines /JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png: bear."""
    names = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            name = line.split()[0].rpartition("/")[0].rpartition("/")[2]
            if name in ("", ".", ".."):
                raise InputError(f"{path}, line {number}: {line[:60]!r} names no frame of a sequence")
            names[name] = None
    return list(names)
