"""Sequences whose truth is one box per frame, from the folders of the box-tracking benchmarks.

What is wrong with one sequence is said in its `problems`, and the others are read: an evaluation of hours goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ...geometry import mask_to_box
from ...types import InputError
from ...video import list_frames
from .box_files import read_boxes, read_flags, read_integers, read_names
from .box_types import Anchor, BoxSequence, Interaction
from .manifest import read_manifest
from .mask_sequences import read_sequence, sequence_names
from .vot_sequences import read_vot

__all__ = ["DATASETS", "Anchor", "BoxSequence", "Interaction", "read_dataset"]

_TREK150_FPS = 60.0  # TREK-150 toolkit, ExperimentTREK150
_LASOT_FPS = 30.0  # LaSOT paper, 3.1
_DAVIS_FPS = 24.0
_GOT10K_FPS = 10.0  # GOT-10k paper, 3.1: annotated, and distributed, at 10 fps


def read_dataset(name: str, folder: Path) -> list[BoxSequence]:
    """The sequences of a dataset on disk, by name. InputError: no such reader, nothing of that kind in the folder."""
    if name not in DATASETS:
        raise InputError(f"dataset {name!r} is none of {', '.join(DATASETS)}")
    return DATASETS[name](Path(folder))


def read_trek150(folder: Path) -> list[BoxSequence]:
    """`<sequence>/{groundtruth_rect.txt, img/*.jpg, anchors.txt, anchors_hoi.txt}`, the layout of the TREK-150 toolkit.

    -1,-1,-1,-1 is an object not to be seen (any box of four negative numbers, as there). Sequences are ordered by name.
    """
    folders = [path for path in _subfolders(folder) if (path / _TREK150_TRUTH).exists() or (path / "img").is_dir()]
    if not folders:
        raise InputError(f"{folder} has no <sequence>/{_TREK150_TRUTH}: is it the folder of TREK-150?")
    return [_read(path.name, path, _trek150_boxes, path / "img", _TREK150_FPS) for path in folders]


def read_lasot(folder: Path) -> list[BoxSequence]:
    """`<sequence>` or `<class>/<sequence>` with `groundtruth.txt`, `img/` and LaSOT's two files of flags.

    The object is not to be seen where `full_occlusion.txt` or `out_of_view.txt` has a 1. Only the sequences of
    `testing_set.txt` are read where the folder has one.
    """
    listed = folder / "testing_set.txt"
    if listed.is_file():
        folders = [_lasot_folder(folder, name) for name in read_names(listed)]
    else:
        nested = [path for top in _subfolders(folder) for path in [top, *_subfolders(top)]]
        folders = sorted((path for path in nested if (path / "groundtruth.txt").is_file()), key=lambda path: path.name)
    if not folders:
        raise InputError(f"{folder} has no <sequence>/groundtruth.txt: is it the folder of LaSOT?")
    return [_read(path.name, path, _lasot_boxes, path / "img", _LASOT_FPS) for path in folders]


def read_got10k(folder: Path) -> list[BoxSequence]:
    """`<sequence>/{groundtruth.txt, absence.label, *.jpg}` of one split, in the order of its `list.txt`.

    The test split tells the first box only: such a sequence can be run, not scored.
    """
    listed = folder / "list.txt"
    if listed.is_file():
        folders = [folder / name for name in read_names(listed)]
    else:
        folders = [path for path in _subfolders(folder) if (path / "groundtruth.txt").is_file()]
    if not folders:
        raise InputError(f"{folder} has no <sequence>/groundtruth.txt: is it a split (train, val, test) of GOT-10k?")
    return [_read(path.name, path, _got10k_boxes, path, _GOT10K_FPS) for path in folders]


def read_davis(folder: Path) -> list[BoxSequence]:
    """The folders of `find_sequences`: the boxes of the masks, of the objects on the first frame.

    Every object of a sequence with several is a sequence of its own, <sequence>-<object>. Reads all masks.
    """
    return [sequence for name in sequence_names(folder) for sequence in _davis_objects(folder, name)]


def _davis_objects(folder: Path, name: str) -> list[BoxSequence]:
    try:
        sequence = read_sequence(folder, name)
        masks = [sequence.masks(index) for index in range(len(sequence))]
    except InputError as error:
        return [BoxSequence(name, (), np.empty((0, 4)), fps=_DAVIS_FPS, problems=(str(error),))]
    objects = []
    for object_id in sequence.object_ids:
        boxes = np.array([(mask and mask_to_box(mask[object_id])) or _ABSENT for mask in masks], float)
        suffix = f"-{object_id}" if len(sequence.object_ids) > 1 else ""
        objects.append(BoxSequence(name + suffix, sequence.frames, boxes, fps=_DAVIS_FPS, problems=sequence.problems))
    return objects


_ABSENT = (np.nan,) * 4
_TREK150_TRUTH = "groundtruth_rect.txt"
Problems = list[str]


def _read(
    name: str, folder: Path, truth: Callable[[Path, Problems], np.ndarray], frames: Path, fps: float
) -> BoxSequence:
    """One sequence with its anchors; every fault becomes a problem of the sequence."""
    problems: Problems = []
    try:
        boxes = truth(folder, problems)
    except InputError as error:
        return BoxSequence(name, (), np.empty((0, 4)), fps=fps, problems=(*problems, str(error)))
    anchors = tuple(_anchors(folder / "anchors.txt", len(boxes), problems))
    interactions = tuple(_interactions(folder / "anchors_hoi.txt", len(boxes), problems))
    paths = find_frames(frames, len(boxes), problems)
    return BoxSequence(name, paths, boxes, anchors, interactions, fps, tuple(problems))


def find_frames(folder: Path, count: int, problems: Problems) -> tuple[Path, ...]:
    """The frames in a folder when there are `count` of them; otherwise none, and why, unless there is no folder."""
    if not folder.is_dir():
        return ()
    try:
        paths = list_frames(folder)
    except InputError:
        return ()
    if len(paths) == count:
        return tuple(paths)
    problems.append(f"{folder}: {len(paths)} frames for {count} boxes{_first_gap(paths)}; the sequence cannot be run")
    return ()


def _first_gap(paths: Sequence[Path]) -> str:
    """Where the numbers in the names of frames, which go up by one, leave one out."""
    digits = ["".join(filter(str.isdigit, path.stem)) for path in paths]
    for path, number, following in zip(paths, digits, digits[1:], strict=False):
        if number and following and int(following) != int(number) + 1:
            return f" (the one after {path.name} is missing)"
    return ""


def _trek150_boxes(folder: Path, problems: Problems) -> np.ndarray:
    path = folder / _TREK150_TRUTH
    boxes = read_boxes(path, notes=problems)
    _report_nan(path, boxes, problems)
    boxes[(boxes < 0).all(axis=1)] = np.nan
    return boxes


def _lasot_boxes(folder: Path, problems: Problems) -> np.ndarray:
    path = folder / "groundtruth.txt"
    boxes = read_boxes(path, notes=problems)
    _report_nan(path, boxes, problems)
    for name in ("full_occlusion.txt", "out_of_view.txt"):
        _hide(boxes, folder / name, problems)
    return boxes


def _got10k_boxes(folder: Path, problems: Problems) -> np.ndarray:
    path = folder / "groundtruth.txt"
    boxes = read_boxes(path, notes=problems)
    _report_nan(path, boxes, problems)
    if len(boxes) == 1:  # the test split
        frames = len(list_frames(folder))
        boxes = np.vstack([boxes, np.full((frames - 1, 4), np.nan)])
    else:
        _hide(boxes, folder / "absence.label", problems)
    return boxes


def _hide(boxes: np.ndarray, path: Path, problems: Problems) -> None:
    """Make NaN of the boxes whose flag in the file, if there is one, is 1."""
    if not path.is_file():
        return
    flags = read_flags(path, problems)
    if len(flags) != len(boxes):
        raise InputError(f"{path}: {len(flags)} flags for {len(boxes)} boxes")
    boxes[flags] = np.nan


def _report_nan(path: Path, boxes: np.ndarray, problems: Problems) -> None:
    rows = np.flatnonzero(np.isnan(boxes).all(axis=1))
    if len(rows):
        problems.append(f"{path}, line {rows[0] + 1}: NaN, taken as not to be seen ({len(rows)} such lines)")


def _anchors(path: Path, length: int, problems: Problems) -> Iterator[Anchor]:
    seen: set[Anchor] = set()
    for line, (frame, direction) in _rows(path, 2, "an anchor is frame,direction", problems):
        anchor = Anchor(frame, direction == 1)
        if not 0 <= frame < length:
            problems.append(f"{path}, line {line}: anchor {frame} is not one of the {length} frames; left out")
        elif direction not in (0, 1):
            problems.append(f"{path}, line {line}: direction {direction} is neither 0 nor 1; left out")
        elif anchor in seen:
            problems.append(f"{path}, line {line}: anchor {frame} is there already; left out")
        else:
            seen.add(anchor)
            yield anchor


def _interactions(path: Path, length: int, problems: Problems) -> Iterator[Interaction]:
    for line, values in _rows(path, 3, "an interaction is start,end,hand", problems):
        span = Interaction(*values)
        if not 0 <= span.start <= span.end < length:
            problems.append(
                f"{path}, line {line}: frames {span.start} to {span.end} are not a part of the {length}; left out"
            )
        else:
            yield span


def _rows(path: Path, columns: int, meaning: str, problems: Problems) -> Iterator[tuple[int, list[int]]]:
    """Number and values of every line; nothing for a file that is not there, nothing and a problem for a bad one."""
    if not path.is_file():
        return
    try:
        yield from enumerate(read_integers(path, columns, meaning, problems).tolist(), start=1)
    except InputError as error:
        problems.append(str(error))


def _lasot_folder(folder: Path, name: str) -> Path:
    """LaSOT's own archives hold the sequences by class: airplane/airplane-1."""
    flat = folder / name
    return flat if flat.is_dir() else folder / name.rsplit("-", 1)[0] / name


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


DATASETS: dict[str, Callable[[Path], list[BoxSequence]]] = {
    "trek150": read_trek150,
    "lasot": read_lasot,
    "got10k": read_got10k,
    "davis": read_davis,
    "vot": read_vot,
    "boxes": read_manifest,
}
