"""Sequences whose truth is a mask on their frames, or on some of them, in the folders of DAVIS."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...images import VOID, PathLike, mask_objects, read_foreground, read_image, read_mask
from ...types import InputError
from ...video import list_frames
from .davis_folders import find_davis


@dataclass(frozen=True)
class Sequence:
    """Frames, and label images of all or some. The objects are those of the first frame; later ones are not looked at.

    annotations: one for each frame, None where there is none; the first frame has one.
    problems:    what is to be said of the files of a sequence that can be used.
    """

    name: str
    frames: tuple[Path, ...]
    annotations: tuple[Path | None, ...]
    object_ids: tuple[int, ...]
    is_binary: bool  # annotations are 0 and 255, one object
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def can_be_scored(self) -> bool:
        """Not where the truth is of the first frame alone, of several, as test sets are published."""
        return len(self) == 1 or any(self.annotations[1:])

    def image(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3] RGB."""
        return read_image(self.frames[index])

    def masks(self, index: int) -> dict[int, np.ndarray] | None:
        """The truth: bool [H, W] by object id, empty where the object is absent; None where it is not known."""
        annotation = self.annotations[index]
        if annotation is None:
            return None
        if self.is_binary:
            return {1: read_foreground(annotation) > 0}
        labels = read_mask(annotation)
        return {object_id: labels == object_id for object_id in self.object_ids}


def find_sequences(root: PathLike, left_out: list[str] | None = None) -> list[Sequence]:
    """Every `JPEGImages/<name>` with its `Annotations/<name>`, by name, or those of DAVIS' own layout (`find_davis`).

    Annotations are indexed or grey PNGs of object ids, or 0 and 255, of all frames or of some. Of DAVIS' own layout
    the sequences of its list `val` are read, or all where there is none.
    left_out: is told of the sequences that cannot be read, a line each; None: the first of these is an InputError.
    InputError: no such folders; or, without `left_out`, a sequence as in `read_sequence`.
    """
    sequences = []
    for name in sequence_names(root):
        try:
            sequences.append(read_sequence(Path(root), name))
        except InputError as error:
            if left_out is None:
                raise
            left_out.append(f"{name}: {error}")
    return sequences


def sequence_names(root: PathLike) -> list[str]:
    """InputError: no such folders."""
    folders = find_davis(Path(root))
    images = folders.images
    names = folders.listed("val") if folders.is_official else None
    if names is None:
        names = sorted(path.name for path in images.iterdir() if path.is_dir()) if images.is_dir() else []
    if not names:
        raise InputError(f"{root} has no JPEGImages/<sequence> with frames")
    return names


def read_sequence(root: Path, name: str) -> Sequence:
    """One sequence by its name.

    InputError: no frames; a first frame without annotation, or without an object on it; a mask that is not as large as
    its frame.
    """
    folders = find_davis(root)
    images, masks = folders.images / name, folders.masks / name
    if not images.is_dir():
        raise InputError(f"there is no folder {images}")
    frames = list_frames(images)
    annotations = [masks / f"{frame.stem}.png" for frame in frames]
    if not annotations[0].is_file():
        raise InputError(f"frame {frames[0]} has no annotation {annotations[0]}")
    present = [annotation if annotation.is_file() else None for annotation in annotations]
    for frame, annotation in zip(frames, present, strict=True):
        if annotation is not None:
            _check_size(frame, annotation)
    first = read_mask(annotations[0])
    object_ids = tuple(mask_objects(first))
    if not object_ids:
        raise InputError(f"{annotations[0]} shows no object")
    is_binary = set(np.unique(first)) <= {0, VOID}
    problems = [*_missing(masks, present), *_superfluous(masks, annotations)]
    return Sequence(name, tuple(frames), tuple(present), object_ids, is_binary, tuple(problems))


def _check_size(frame: Path, annotation: Path) -> None:
    (width, height), (columns, rows) = _size(frame), _size(annotation)
    if (width, height) != (columns, rows):
        raise InputError(f"{annotation} has {columns}x{rows} pixels, its frame {frame} {width}x{height}")


def _size(path: Path) -> tuple[int, int]:
    """Width and height of a picture, upright, from its head alone. InputError: it cannot be read."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) >= 5  # orientation: on its side
            return image.size[::-1] if turned else image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # as PIL's decoders do
        raise InputError(f"{path} cannot be read: {error}") from error


def _missing(masks: Path, present: Items[Path | None]) -> list[str]:
    """What is to be said of frames without annotation: nothing where every n-th has one (and the last), or the first.

    Else a file may be lost.
    """
    known = [index for index, path in enumerate(present) if path is not None]
    even = list(range(0, len(present), known[1] if len(known) > 1 else len(present)))
    if known == even or known == [*even, len(present) - 1]:
        return []
    return [f"{masks}: {len(known)} of {len(present)} frames have an annotation, not every n-th; they alone are scored"]


def _superfluous(masks: Path, annotations: Items[Path]) -> list[str]:
    extra = {path.name for path in masks.glob("*.png")} - {path.name for path in annotations}
    return [f"{masks / min(extra)}: no frame belongs to it; left out"] if extra else []
