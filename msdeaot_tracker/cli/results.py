"""The folder that `msdeaot track` fills: boxes, masks, overlay and result.json, whole whenever the run ends."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from ..images import write_mask
from ..overlay import OverlayWriter
from ..types import Box, FrameResult, InputError
from ..video import Frame

SUMMARY = "result.json"
_ABSENT = Box(*(float("nan"),) * 4)
_RESULT = re.compile(r"boxes(_\d+)?\.txt|overlay\.mp4|result\.json")
_MASK = re.compile(r"\d{8}\.png")


class ResultWriter:
    """Writes a run frame by frame, as a context manager.

    `boxes.txt` (`boxes_<id>.txt` for each of several objects): x,y,w,h per frame, first the given box; nan,nan,nan,nan
    where the object is absent. `masks/<frame>.png`: indexed, numbered as in the source. `overlay.mp4`. `result.json`:
    `about`, then what is known of the frames; its `status` is "running" until the end, then "complete", "stopped" (by
    the user, in the window), "interrupted" (Ctrl-C) or "failed" (with the `error`).
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], given: Mapping[int, Box], fps: float | None):
        """given: the boxes that the first frame's objects were given with, or those of their masks.

        What an earlier run left in the folder is removed. OSError: the folder cannot be written. InputError: `masks` in
        it holds files that are not from an earlier run.
        """
        self.status = "complete"
        self._folder, self._given = folder, given
        self._summary: dict[str, Any] = {**about, "status": "running", "error": None}
        self._frames: dict[str, list] = {"seconds": [], "timestamps": []}
        self._absent: dict[int, list[int]] = {object_id: [] for object_id in given}
        self._first_frame: int | None = None
        (folder / "masks").mkdir(parents=True, exist_ok=True)
        _remove_earlier(folder)
        self._files = ExitStack()
        self._boxes = {object_id: self._open_boxes(object_id) for object_id in given}
        self._overlay = self._files.enter_context(OverlayWriter(folder / "overlay.mp4", fps))

    def write(self, frame: Frame, result: FrameResult, seconds: float) -> None:
        """seconds: what tracking this frame took."""
        if self._first_frame is None:
            self._first_frame = frame.index
            self._summary["size"] = [frame.image.shape[1], frame.image.shape[0]]
            boxes: Mapping[int, Box | None] = self._given
            self._write_summary()
        else:
            boxes = result.boxes
        for object_id, file in self._boxes.items():
            file.write(",".join(f"{side:.8g}" for side in boxes[object_id] or _ABSENT) + "\n")
            if result.boxes[object_id] is None:
                self._absent[object_id].append(frame.index)
        write_mask(self._folder / "masks" / f"{frame.index:08d}.png", result.labels)
        self._overlay.write(frame.image, result)
        self._frames["seconds"].append(round(seconds, 6))
        self._frames["timestamps"].append(frame.time)

    @property
    def frames_written(self) -> int:
        return len(self._frames["seconds"])

    @property
    def seconds_per_frame(self) -> float:
        return sum(self._frames["seconds"]) / max(self.frames_written, 1)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._files.close()
        if isinstance(error, KeyboardInterrupt):
            self.status = "interrupted"
        elif error is not None:
            self.status = "failed"
            self._summary["error"] = f"{type(error).__name__}: {error}"
        self._summary["status"] = self.status
        self._write_summary()

    def _open_boxes(self, object_id: int) -> TextIO:
        name = "boxes.txt" if len(self._given) == 1 else f"boxes_{object_id}.txt"
        return self._files.enter_context((self._folder / name).open("w", buffering=1, encoding="ascii"))

    def _write_summary(self) -> None:
        """In one step: the file is a whole one at any time."""
        frames = {"first": self._first_frame, "count": self.frames_written, **self._frames, "absent": self._absent}
        partial = self._folder / f"{SUMMARY}.part"
        partial.write_text(json.dumps({**self._summary, "frames": frames}, indent=1), encoding="utf-8")
        os.replace(partial, self._folder / SUMMARY)


class StopOnInterrupt:
    """While this context lasts, Ctrl-C only sets `requested`, so that a frame is finished; a second one is as usual."""

    requested = False

    def __enter__(self) -> StopOnInterrupt:
        self._usual = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._usual)

    def _handle(self, *_: object) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, self._usual)


def _remove_earlier(folder: Path) -> None:
    """Masks of a longer run must not stay among the new ones; what the user put there stays where it is."""
    masks = list((folder / "masks").iterdir())
    foreign = [path for path in masks if not _MASK.fullmatch(path.name)]
    if foreign or (masks and not (folder / SUMMARY).is_file()):
        raise InputError(f"{(foreign or masks)[0]} is not from an earlier run; choose another folder for the results")
    for path in [*masks, *(p for p in folder.iterdir() if _RESULT.fullmatch(p.name))]:
        path.unlink()
