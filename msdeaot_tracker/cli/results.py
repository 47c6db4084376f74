"""The folder that `msdeaot track` fills: boxes, scores, masks, overlay and result.json, whole whenever the run ends."""

from __future__ import annotations

import json
import math
import os
import re
import signal
from array import array
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..exports import EXPORT, exported_files, remove_exports
from ..exports.folder import FRAMES, MASKS, SUMMARY, frame_line, mask_name
from ..files import PART, whole_file
from ..images import write_mask
from ..overlay import OverlayWriter
from ..types import Box, FrameResult, InputError, TrackerError
from ..video import Frame

OVERLAY = "overlay.mp4"
_ABSENT = Box(*(float("nan"),) * 4)
_FILE = re.compile(r"boxes(_\d+)?\.txt|overlay\.mp4|frames\.jsonl")
_MASK = re.compile(r"(\d{8,12})\.png(\.part)?")


class ResultWriter:
    """Writes a run frame by frame, as a context manager.

    `boxes.txt` (`boxes_<id>.txt` for each of several objects): x,y,w,h per frame, first the given box; nan,nan,nan,nan
    where the object is absent. `frames.jsonl`: a line per frame, see `exports.folder.frame_line`. `masks/<frame>.png`:
    indexed, numbered as in the source. `overlay.mp4`. `result.json`: `about`, the `files` beside the masks, then what
    is known of the frames; its `status` is "running" until the end, then "complete", "stopped" (by the user, in the
    window), "interrupted" (Ctrl-C) or "failed" (with the `error`).
    """

    def __init__(
        self,
        folder: Path,
        about: Mapping[str, Any],
        given: Mapping[int, Box],
        fps: float | None,
        inputs: Iterable[Path] = (),
        *,
        views: bool = False,
        overlay: bool = True,
        masks: bool = True,
        object_ids: Iterable[int] | None = None,
        start: int | None = None,
        stride: int = 1,
    ):
        """given: the boxes that objects were given with, or those of their masks, on the frame `start` (default: the
        first that is written). object_ids: all of the run (default: those). stride: between frames.
        views: show in the overlay where the network looked. overlay, masks: whether to write them.

        What the result.json of an earlier run lists is removed. OSError: the folder cannot be written. InputError as in
        `check_folder`.
        """
        ids = sorted(given if object_ids is None else object_ids)
        earlier = check_folder(folder, ids, inputs)
        self.status = "complete"
        self._folder, self._given, self._start, self._stride = folder, given, start, stride
        names = box_files(ids)
        files = [*([OVERLAY] if overlay else []), FRAMES, *names.values()]
        self._summary: dict[str, Any] = {**about, "files": files, "status": "running", "error": None}
        self._seconds, self._timestamps = array("d"), array("d")  # by frame; NaN: a time that is not known
        self._absent = {object_id: array("q") for object_id in ids}
        self._scores: dict[int, Scores] = {}
        self._first_frame: int | None = None
        self._masks = folder / MASKS if masks else None
        (self._masks or folder).mkdir(parents=True, exist_ok=True)
        for path in earlier:
            if path.name != SUMMARY:  # last of all replaced: until then it lists the others
                path.unlink()
        remove_exports(folder / EXPORT)
        self._write_summary()
        self._files = ExitStack()
        self._boxes = {object_id: self._open_lines(name) for object_id, name in names.items()}
        self._lines = self._open_lines(FRAMES)
        video = OverlayWriter(folder / OVERLAY, fps, views=views) if overlay else None
        self._overlay = video and self._files.enter_context(video)

    def write(self, frame: Frame, result: FrameResult, seconds: float) -> None:
        """seconds: what tracking this frame took."""
        if self._first_frame is None:
            self._first_frame = frame.index
            self._summary["size"] = [frame.image.shape[1], frame.image.shape[0]]
            self._start = frame.index if self._start is None else self._start
            self._write_summary()
        boxes = {**result.boxes, **(self._given if frame.index == self._start else {})}
        for object_id, file in self._boxes.items():
            file.write(",".join(f"{side:.8g}" for side in boxes.get(object_id) or _ABSENT) + "\n")
            if result.boxes.get(object_id) is None:
                self._absent[object_id].append(frame.index)
        if self._masks is not None:
            with whole_file(self._masks / mask_name(frame.index)) as partial:
                write_mask(partial, result.labels)
        if self._overlay is not None:
            self._overlay.write(frame.image, result, frame.time)
        self._lines.write(frame_line(frame, result, boxes) + "\n")
        for object_id, score in result.scores.items():
            self._scores.setdefault(object_id, Scores()).add(frame.index, score)
        self._seconds.append(round(seconds, 6))
        self._timestamps.append(math.nan if frame.time is None else frame.time)

    @property
    def frames_written(self) -> int:
        return len(self._seconds)

    @property
    def seconds_per_frame(self) -> float:
        return sum(self._seconds) / max(self.frames_written, 1)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            self._files.close()
        except (OSError, TrackerError) as late:  # a full disk
            self._end(error or late)
            raise
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.status = "interrupted"
        elif error is not None:
            self.status = "failed"
            self._summary["error"] = f"{type(error).__name__}: {error}"
        self._summary["status"] = self.status
        self._write_summary()

    def _open_lines(self, name: str) -> TextIO:
        return self._files.enter_context((self._folder / name).open("w", buffering=1, encoding="ascii"))

    def _write_summary(self) -> None:
        """In one step: the file is a whole one at any time. Bit by bit: its text is long after many frames."""
        frames = {
            **{"first": self._first_frame, "count": self.frames_written, "stride": self._stride, "file": FRAMES},
            **{"seconds": self._seconds, "timestamps": [None if math.isnan(t) else t for t in self._timestamps]},
            **{"absent": self._absent, "scores": {object_id: vars(of) for object_id, of in self._scores.items()}},
        }
        with whole_file(self._folder / SUMMARY) as partial, partial.open("w", encoding="utf-8") as file:
            json.dump({**self._summary, "frames": frames}, file, indent=1, default=array.tolist)


@dataclass
class Scores:
    """An object's scores over the frames so far; each is in `frames.jsonl`."""

    mean: float = 0.0
    lowest: float = 1.0
    lowest_frame: int | None = None
    frames: int = 0

    def add(self, frame: int, score: float) -> None:
        self.frames += 1
        self.mean += (score - self.mean) / self.frames
        if self.lowest_frame is None or score < self.lowest:
            self.lowest, self.lowest_frame = score, frame


class StopOnInterrupt:
    """While this context lasts, Ctrl-C and SIGTERM only set `requested`, so that a frame is finished; a second one is
    as usual.
    """

    requested = False

    def __enter__(self) -> StopOnInterrupt:
        self._usual = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, usual in self._usual.items():
            signal.signal(number, usual)

    def _handle(self, *_: object) -> None:
        self.requested = True
        self.__exit__()


def check_folder(folder: Path, object_ids: Iterable[int], inputs: Iterable[Path]) -> list[Path]:
    """The files of an earlier run, which the new one is to remove; nothing is written.

    object_ids: of the new run. inputs: files and folders that it reads. InputError: a file in the way that no earlier
    run's result.json lists, or one of the inputs.
    """
    earlier = _earlier_files(folder)
    names = [SUMMARY, OVERLAY, FRAMES, *box_files(object_ids).values()]
    in_the_way = [folder / name for name in names] + _children(folder / MASKS)
    for path in in_the_way:
        if os.path.lexists(path) and path not in earlier:
            raise InputError(
                f"{path} is not from an earlier run of this command; choose another folder for the results"
            )
    used = {path.resolve() for path in inputs}
    for path in sorted({*earlier, *in_the_way, folder / MASKS, *exported_files(folder / EXPORT)}):
        if path.resolve() in used:
            raise InputError(f"{path} is read by this run, and would be replaced by it: choose another folder")
    return sorted(earlier)


def box_files(object_ids: Iterable[int]) -> dict[int, str]:
    """Name of the file of each object's boxes."""
    ids = list(object_ids)
    return {object_id: "boxes.txt" if len(ids) == 1 else f"boxes_{object_id}.txt" for object_id in ids}


def _children(folder: Path) -> list[Path]:
    if folder.is_dir():
        return list(folder.iterdir())
    return [folder] if os.path.lexists(folder) else []


def _earlier_files(folder: Path) -> set[Path]:
    """What is there of the files that the folder's result.json lists, half-written ones too."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        names = [name for name in summary["files"] if _FILE.fullmatch(name)]
        first, count = summary["frames"]["first"] or 0, int(summary["frames"]["count"])
        first, was_killed = int(first), summary["status"] == "running"
        stride = max(int(summary["frames"].get("stride", 1)), 1)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return set()  # none, or not one of ours, which is then in the way
    found = {folder / f"{name}{suffix}" for name in (SUMMARY, *names) for suffix in ("", PART)}
    if was_killed:  # it could not note its last count: there is a line for every frame that was begun
        lines = [folder / name for name in names if name != OVERLAY and (folder / name).is_file()]
        count = max([count, *(path.read_bytes().count(b"\n") for path in lines)])
    for path in _children(folder / MASKS):
        match = _MASK.fullmatch(path.name)
        if match and int(match[1]) in range(first, first + count * stride, stride):
            found.add(path)
    return {path for path in found if os.path.lexists(path)}
