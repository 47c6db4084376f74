"""Label pictures in the layout of DAVIS."""

from __future__ import annotations

from pathlib import Path
from shutil import copyfile

from ..types import InputError
from .folder import FrameRecord, RunFolder


def write_davis(run: RunFolder, path: Path) -> None:
    """Annotations/VIDEO/FRAME.png: indexed, named like the input's frames, of a video by their numbers.

    InputError: two frames of one name, as 1.jpg and 1.png.
    """
    folder = path / "Annotations" / run.sequence
    folder.mkdir(parents=True)
    for frame in run:
        run.labels(frame)  # a damaged mask is named, not copied
        copyfile(run.mask_file(frame), new_file(folder, frame, ".png"))


def new_file(folder: Path, frame: FrameRecord, suffix: str) -> Path:
    """The file of a frame in a folder of one file per frame. InputError: another frame has it."""
    path = folder / f"{frame.stem}{suffix}"
    if path.exists():
        raise InputError(f"frame {frame.index}: two frames of the input are called {frame.stem}")
    return path
