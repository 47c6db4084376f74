"""What the page's buttons do: from the values of its components to their new ones. Knows gradio, not the layout."""

from __future__ import annotations

import functools
import html
import inspect
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from ..types import InputError, TrackerError
from ..words import counted
from .downloads import write_downloads
from .folders import AllowedFolders
from .pictures import parse_colour, picture, scale_of
from .session import Session
from .sessions import Sessions

ON, BESIDE, CORNER = "on the object", "beside it", "corner of a box"
SECONDS_BETWEEN_PICTURES = 0.25  # while it tracks: the browser has to keep up
_PROGRESS = gr.Progress()  # as a default it is how gradio knows where to put the call's own

logger = logging.getLogger(__name__)


def told(action: Callable, convert: Callable[[Any], Any]) -> Callable:
    """The action for gradio: its answers converted, its errors messages in the page.

    Of an error that nobody expected the log has the trace. Gradio reads the arguments that it adds from the signature.
    """
    if inspect.isgeneratorfunction(action):

        @functools.wraps(action)
        def run(*args: Any) -> Iterator[Any]:
            with _as_messages(action.__name__):
                for answer in action(*args):
                    yield convert(answer)
    else:

        @functools.wraps(action)
        def run(*args: Any) -> Any:
            with _as_messages(action.__name__):
                return convert(action(*args))

    return run


@contextmanager
def _as_messages(name: str) -> Iterator[None]:
    try:
        yield
    except (TrackerError, OSError, ImportError) as error:
        raise gr.Error(html.escape(" ".join(str(error).split())), print_exception=False) from error
    except Exception as error:
        logger.exception("%s failed", name)
        said = f"this did not work ({type(error).__name__}); the server's log says more"
        raise gr.Error(said, print_exception=False) from error


class Actions:
    """One for all pages: whose a call is, its request says. Each returns updates by the names of components."""

    def __init__(self, sessions: Sessions, folders: AllowedFolders):
        self._sessions, self._folders = sessions, folders

    def open_upload(
        self, upload: str | None, request: gr.Request, progress: gr.Progress = _PROGRESS
    ) -> Iterator[dict[str, Any]]:
        """The upload makes room for the next one, and is deleted at the end: its frames are what is needed."""
        yield {"upload": None}
        if upload is None:
            raise InputError("there is no file")
        try:
            yield self._open(Path(upload), request, progress)
        finally:
            Path(upload).unlink(missing_ok=True)

    def open_path(self, path: str | None, request: gr.Request, progress: gr.Progress = _PROGRESS) -> dict[str, Any]:
        return self._open(self._folders.find(path or ""), request, progress)

    def _open(self, source: Path, request: gr.Request, progress: gr.Progress) -> dict[str, Any]:
        progress(0, desc="Reading frames")
        try:
            session = self._sessions.open(
                request.session_hash,
                source,
                lambda done, total: progress((done, total), desc="Reading frames", unit="frames"),
            )
        except InputError as error:  # where things lie on this machine is nobody's business
            raise InputError(str(error).replace(str(source), source.name)) from error
        session.add_object()
        height, width = session.frames.size
        about = f"**{_escaped(session.frames.name)}**: {counted(len(session.frames), 'frame')}, {width}×{height}"
        return {
            "opener": gr.update(open=False),
            "work": gr.update(visible=True),
            "frame": gr.update(maximum=len(session.frames) - 1, value=0),
            "about": about,
            "downloads": gr.update(value=None, visible=False),
            **self._objects(session, 1),
            **self._look(session, 0),
            "status": "Click on an object to see its mask.",
        }

    def look(self, index: float, request: gr.Request) -> dict[str, Any]:
        return self._look(self._session(request), int(index))

    def click(
        self, index: float, object_id: int | None, way: str, request: gr.Request, event: gr.SelectData
    ) -> dict[str, Any]:
        session, index = self._session(request), int(index)
        point = tuple(side / scale_of(session) for side in event.index)
        said = "Press Track, or click more to correct the mask."
        if object_id is None:
            raise InputError("add an object first")
        if way == CORNER:
            if not session.corner(index, object_id, point):
                said = "Now click on the opposite corner."
        else:
            session.click(index, object_id, point, foreground=way == ON)
        return {**self._look(session, index), "status": said}

    def undo(self, index: float, object_id: int | None, request: gr.Request) -> dict[str, Any]:
        session = self._session(request)
        session.undo(int(index), object_id or 0)
        return self._look(session, int(index))

    def add(self, request: gr.Request) -> dict[str, Any]:
        session = self._session(request)
        return {**self._objects(session, session.add_object()), "status": "Click on the new object."}

    def choose(self, object_id: int | None, request: gr.Request) -> dict[str, Any]:
        return self._objects(self._session(request), object_id)

    def paint(self, index: float, object_id: int | None, name: str, colour: str, request: gr.Request) -> dict[str, Any]:
        session = self._session(request)
        session.paint(object_id or 0, name[:40], parse_colour(colour))
        return {"object": self._objects(session, object_id)["object"], **self._look(session, int(index))}

    def remove(self, index: float, object_id: int | None, request: gr.Request) -> dict[str, Any]:
        session = self._session(request)
        session.remove_object(object_id or 0)
        return {**self._objects(session, next(iter(session.paints), None)), **self._look(session, int(index))}

    def track(self, index: float, request: gr.Request) -> Iterator[dict[str, Any]]:
        session = self._session(request)
        start = frame = session.start_of(int(index))
        begin = shown = time.monotonic()
        last = len(session.frames) - 1
        yield {"status": _bar(start, start, last)}
        for frame in session.track(int(index)):
            if time.monotonic() - shown >= SECONDS_BETWEEN_PICTURES:
                shown = time.monotonic()
                yield {
                    "frame": frame,
                    "picture": picture(session, frame, marks=False),
                    "status": _bar(frame, start, last),
                }
        if session.is_closed:
            return
        seconds = time.monotonic() - begin
        ending = "" if frame == last else f", stopped at frame {frame}"
        said = f"Tracked {counted(frame - start, 'frame')} in {seconds:.0f} s{ending}."
        yield {
            "frame": frame,
            **self._look(session, frame),
            "status": f"{said} Look through them; correct on any frame.",
        }

    def stop(self, request: gr.Request) -> None:
        self._session(request).stop()

    def download(self, kinds: list[str], request: gr.Request, progress: gr.Progress = _PROGRESS) -> dict[str, Any]:
        session = self._session(request)
        progress(0, desc="Writing")
        paths = write_downloads(
            session, kinds, lambda done, total: progress((done, total), desc="Writing", unit="frames")
        )
        return {"downloads": gr.update(value=[os.fspath(path) for path in paths], visible=True)}

    def leave(self, request: gr.Request) -> None:
        self._sessions.close(request.session_hash)

    def _session(self, request: gr.Request) -> Session:
        return self._sessions.get(request.session_hash)

    def _look(self, session: Session, index: int) -> dict[str, Any]:
        return {"picture": picture(session, index)}

    def _objects(self, session: Session, object_id: int | None) -> dict[str, Any]:
        """The list, and what is said of the chosen one."""
        choices = [(paint.name, i) for i, paint in session.paints.items()]
        paint = session.paints.get(object_id)
        return {
            "object": gr.update(choices=choices, value=object_id if paint else None),
            "name": gr.update(value=paint.name if paint else "", interactive=paint is not None),
            "colour": gr.update(
                value=f"#{bytes(paint.colour).hex()}" if paint else None, interactive=paint is not None
            ),
        }


def _bar(frame: int, start: int, last: int) -> str:
    return (
        f'<progress value="{frame - start}" max="{max(last - start, 1)}"></progress> Tracking: frame {frame} of {last}'
    )


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", text)
