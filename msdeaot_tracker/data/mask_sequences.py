"""Sequences whose truth is a mask per frame, in the folders of DAVIS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..images import VOID, PathLike, mask_objects, read_foreground, read_image, read_mask
from ..types import InputError
from ..video import list_frames


@dataclass(frozen=True)
class Sequence:
    """Frames and one label image for each. The objects are those of the first frame; later ones are not looked at."""

    name: str
    frames: tuple[Path, ...]
    annotations: tuple[Path, ...]
    object_ids: tuple[int, ...]
    is_binary: bool  # annotations are 0 and 255, one object

    def __len__(self) -> int:
        return len(self.frames)

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3] RGB."""
        return read_image(self.frames[index])

    def masks(self, index: int) -> dict[int, np.ndarray]:
        """The truth: bool [H, W] by object id, empty where the object is absent."""
        if self.is_binary:
            return {1: read_foreground(self.annotations[index]) > 0}
        labels = read_mask(self.annotations[index])
        return {object_id: labels == object_id for object_id in self.object_ids}


def find_sequences(root: PathLike) -> list[Sequence]:
    """Every `JPEGImages/<name>` with its `Annotations/<name>` (the layout of DAVIS), by name.

    Annotations are indexed or grey PNGs of object ids, or 0 and 255. InputError: no such folders, a frame without
    annotation, no object on the first frame.
    """
    return [read_sequence(Path(root), name) for name in sequence_names(root)]


def sequence_names(root: PathLike) -> list[str]:
    """InputError: no such folders."""
    images = Path(root) / "JPEGImages"
    names = sorted(path.name for path in images.iterdir() if path.is_dir()) if images.is_dir() else []
    if not names:
        raise InputError(f"{root} has no JPEGImages/<sequence> with frames")
    return names


def read_sequence(root: Path, name: str) -> Sequence:
    """One sequence by its name. InputError as in `find_sequences`."""
    frames = list_frames(root / "JPEGImages" / name)
    annotations = [root / "Annotations" / name / f"{frame.stem}.png" for frame in frames]
    for frame, annotation in zip(frames, annotations, strict=True):
        if not annotation.is_file():
            raise InputError(f"frame {frame} has no annotation {annotation}")
    first = read_mask(annotations[0])
    object_ids = tuple(mask_objects(first))
    if not object_ids:
        raise InputError(f"{annotations[0]} shows no object")
    return Sequence(name, tuple(frames), tuple(annotations), object_ids, is_binary=set(np.unique(first)) <= {0, VOID})
