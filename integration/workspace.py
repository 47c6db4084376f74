"""Writes what vot-toolkit works on: sequences with ground truth and anchors, and the workspace around them.

Does not need the toolkit itself. The formats are those vot-toolkit 0.7 and 0.9 read (`vot/dataset/common.py`,
`vot/region/io.py`, `vot/workspace/__init__.py` there).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from msdeaot_tracker import InputError

from . import registry_path, stack_path

Region = tuple[float, float, float, float] | np.ndarray | None
Interaction = tuple[int, int, int]  # first frame, last frame, and hand
JPEG_QUALITY = 95
SEQUENCES, LIST = "sequences", "list.txt"  # of a workspace: the folder of its sequences, and their names in it


def write_sequence(
    folder: str | os.PathLike[str],
    frames: Iterable[np.ndarray | str | os.PathLike[str]],
    truth: Sequence[Region] | Mapping[str, Sequence[Region]],
    *,
    anchors: Mapping[int, int] | None = None,
    interactions: Sequence[Interaction] = (),
    fps: int = 30,
) -> None:
    """Write one sequence into the new folder `folder`, whose name is the sequence's.

    Of `<workspace>/sequences/<name>` the workspace is completed: the name joins its list, and where it has no
    config.yaml yet it gets one, with the stack "full" and this package's registry.

    frames:  uint8 [H, W, 3] RGB, stored as JPEG, or paths of .jpg or .png files (of one kind), which are linked.
    truth:   per frame (x, y, w, h) in pixels, or a mask, bool [H, W], or None where the object is not to be seen;
             for several objects a mapping of such lists by object name.
    anchors: of multi-start experiments, by frame index from 0: 1 runs forward from there, -1 backward.
    interactions: frames, from 0 and both included, between which a hand touches the object; and 0, 1 or 2 for the left
             hand, the right, or both. Of hand-object experiments (vot_experiments).
    Raises ValueError when frames, truth and anchors do not fit together, InputError when frames cannot be linked.
    """
    folder = Path(folder)
    colour = folder / "color"
    colour.mkdir(parents=True)
    names = [_write_frame(frame, colour / f"{index:08d}") for index, frame in enumerate(frames, start=1)]
    suffixes = {Path(name).suffix for name in names}
    if len(suffixes) != 1:
        raise ValueError(f"sequence {folder.name}: frames of one kind are needed, not {sorted(suffixes)}")

    for file_name, regions in _truth_files(truth).items():
        if len(regions) != len(names):
            raise ValueError(f"sequence {folder.name}: {len(names)} frames, {len(regions)} regions in {file_name}")
        _write_lines(folder / file_name, map(format_region, regions))

    outside = [index for index in anchors or () if not 0 <= index < len(names)]
    if outside:
        raise ValueError(f"sequence {folder.name}: anchors {outside} are not among its {len(names)} frames")
    if anchors:
        _write_lines(folder / "anchor.value", [str(anchors.get(index, 0)) for index in range(len(names))])
    properties = {
        "name": folder.name,
        "fps": fps,
        "format": "default",
        "channel.default": "color",
        "channels.color": f"color/%08d{suffixes.pop()}",
        "length": len(names),
    }
    if interactions:
        properties["interactions"] = " ".join("-".join(map(str, interaction)) for interaction in interactions)
    _write_lines(folder / "sequence", [f"{key}={value}" for key, value in properties.items()])
    if folder.absolute().parent.name == SEQUENCES:
        _complete_workspace(folder.absolute().parents[1], folder.name)


def write_workspace(folder: Path, sequences: Sequence[str], *, stack: Path, registries: Sequence[Path]) -> None:
    """Make `folder`, which holds `sequences/<name>` for each of `sequences`, a workspace with a copy of `stack`."""
    _write_lines(folder / SEQUENCES / LIST, sequences)
    shutil.copyfile(stack, folder / "stack.yaml")
    config = {
        "stack": "./stack.yaml",
        "registry": [Path(os.path.abspath(path)).as_posix() for path in registries],
        "sequences": "./sequences",
    }
    (folder / "config.yaml").write_text(json.dumps(config, indent=2), encoding="utf-8")  # JSON is YAML


def _complete_workspace(folder: Path, name: str) -> None:
    names = folder / SEQUENCES / LIST
    known = names.read_text(encoding="utf-8").split() if names.is_file() else []
    _write_lines(names, [*known, name])
    if not (folder / "config.yaml").exists():
        write_workspace(folder, [*known, name], stack=stack_path("full"), registries=[registry_path()])


def parse_interactions(text: str) -> list[Interaction]:
    """The property `interactions` of a sequence: "46-82-0 90-97-2". ValueError: of another form."""
    interactions = [re.fullmatch(r"(\d+)-(\d+)-(\d+)", word) for word in text.split()]
    if None in interactions:
        raise ValueError(f"interactions {text!r} are not of the form FIRST-LAST-HAND FIRST-LAST-HAND ...")
    return [tuple(map(int, match.groups())) for match in interactions]


def spread_anchors(visible: Sequence[bool], count: int) -> dict[int, int]:
    """About `count` anchors spread evenly over a sequence, on frames where the object is to be seen.

    The first half runs forward and the second half backward, so every run covers at least half the sequence.
    """
    length = len(visible)
    wanted = np.linspace(0, length - 1, count).round().astype(int)
    seen = np.flatnonzero(visible)
    if not len(seen):
        raise ValueError("the object is never to be seen: no frame can be an anchor")
    nearest = {int(seen[np.abs(seen - index).argmin()]) for index in wanted}
    return {index: 1 if index < length / 2 else -1 for index in sorted(nearest)}


def format_region(region: Region) -> str:
    """One line of a ground-truth file: x,y,w,h | m<x>,<y>,<w>,<h>,<run lengths> (row-major, zeros first) | 0."""
    if region is None:
        return "0"
    if not isinstance(region, np.ndarray):
        return ",".join(f"{value:.10g}" for value in region)
    x, y, width, height = cv2.boundingRect(region.astype(np.uint8))
    if not width:
        return "0"
    pixels = np.concatenate([[False], region[y : y + height, x : x + width].ravel() != 0])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    runs = np.diff(np.concatenate([[0], changes, [width * height]]))
    return f"m{x},{y},{width},{height}," + ",".join(map(str, runs))


def _truth_files(truth: Sequence[Region] | Mapping[str, Sequence[Region]]) -> dict[str, Sequence[Region]]:
    if isinstance(truth, Mapping):
        return {f"groundtruth_{name}.txt": regions for name, regions in truth.items()}
    return {"groundtruth.txt": truth}


def _write_frame(frame: np.ndarray | str | os.PathLike[str], stem: Path) -> str:
    if isinstance(frame, str | os.PathLike):
        target = stem.with_suffix(Path(frame).suffix.lower())
        _link(Path(frame).resolve(), target)
        return target.name
    target = stem.with_suffix(".jpg")
    _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    data.tofile(target)
    return target.name


def _link(source: Path, target: Path) -> None:
    """Symbolic link, or a hard one where the system does not allow that (Windows without the privilege)."""
    try:
        target.symlink_to(source)
    except OSError:
        try:
            target.hardlink_to(source)
        except OSError as error:
            raise InputError(
                f"cannot link {target} to {source}: no symbolic link is allowed here, and no hard one, for which both "
                f"must be on one drive ({error})"
            ) from error


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
