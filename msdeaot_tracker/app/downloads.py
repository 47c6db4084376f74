"""What a session has found, as files to take home."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..cli.results import ResultWriter
from ..exports import EXPORTERS, export
from ..overlay import OverlayWriter
from ..types import FrameResult, InputError
from ..video import Frame
from .session import Session

VIDEO, MASKS = "video", "masks"
KINDS = {
    VIDEO: "video with the masks over it",
    MASKS: "masks, boxes and scores",
    **{name: f"{name}: {exporter.summary}" for name, exporter in EXPORTERS.items()},
}


def write_downloads(
    session: Session, kinds: Sequence[str], progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Path]:
    """One file for each of `kinds` (names of KINDS), in a new folder of the session's, which replaces the last one.

    progress: frames done, and in all. InputError: an unknown kind, or none; nothing was tracked or marked; the page
    was closed meanwhile. After an error there is nothing new.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise InputError(f"choose what to download: {', '.join(KINDS)}" + (f"; not {unknown[0]!r}" if unknown else ""))
    if not session.known_frames:
        raise InputError("there is nothing to download yet: click on an object, and track it")
    folder = Path(tempfile.mkdtemp(prefix="download-", dir=session.folder))
    try:
        results = folder / "results"
        _write_results(session, results, folder / _name(session, ".mp4") if VIDEO in kinds else None, progress)
        tables = [kind for kind in kinds if kind in EXPORTERS]
        exported = dict(zip(tables, export(results, tables, folder / "exports"), strict=True)) if tables else {}
        paths = []
        for kind in kinds:
            if kind == VIDEO:
                paths.append(folder / _name(session, ".mp4"))
            elif kind == MASKS:
                paths.append(_zip(results, folder / _name(session, ".zip")))
            elif exported[kind].is_dir():
                paths.append(_zip(exported[kind], folder / _name(session, f"-{kind}.zip")))
            else:
                paths.append(exported[kind].rename(folder / _name(session, f"-{exported[kind].name}")))
        shutil.rmtree(results)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for earlier in session.folder.glob("download-*"):
        if earlier != folder:
            shutil.rmtree(earlier, ignore_errors=True)
    return paths


def _write_results(session: Session, folder: Path, video: Path | None, progress: Callable[[int, int], None]) -> None:
    """The folder that `msdeaot track` would have written, and the video in the user's colours."""
    frames, indices = session.frames, session.known_frames
    names = {object_id: paint.name for object_id, paint in session.paints.items()}
    about = {"source": frames.name, "fps": frames.fps, "objects": names, "names": names}
    given = dict(_complete(session.result(indices[0]), names).boxes)
    drawn = None if video is None else OverlayWriter(video, frames.fps, paints=session.paints)
    try:
        with ResultWriter(folder, about, given, frames.fps, overlay=False) as writer:
            for done, index in enumerate(indices):
                if session.is_closed:
                    raise InputError("the page was closed")
                result, image = _complete(session.result(index), names), frames.image(index)
                file = None if frames.is_extracted else frames.paths[index].name
                frame = Frame(index, image, frames.times[index], f"frame {index}", file)
                writer.write(frame, result, session.seconds(index))
                if drawn is not None:
                    drawn.write(image, result, frame.time)
                progress(done + 1, len(indices))
    finally:
        if drawn is not None:
            drawn.close()


def _complete(result: FrameResult, names: dict[int, str]) -> FrameResult:
    """With every object, absent where nothing is known of it."""
    boxes = {i: result.boxes.get(i) for i in names}
    return replace(result, boxes=boxes, scores={i: result.scores.get(i, 0.0) for i in names})


def _name(session: Session, suffix: str) -> str:
    return Path(session.frames.name).stem + suffix


def _zip(folder: Path, path: Path) -> Path:
    """Stored as they are: PNGs are compressed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(folder))
    return path
