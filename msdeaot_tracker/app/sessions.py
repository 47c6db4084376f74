"""Who works on what: a session of their own for each page that is open, as many as there is room for."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..types import InputError, TrackerError
from .engine import Engine
from .frames import Progress, open_frames
from .session import Session

IDLE_SECONDS = 3600.0  # after which a session makes room for somebody else


class ClosedError(TrackerError):
    """The page was closed while its video was being read."""


@dataclass
class _Place:
    session: Session | None = None  # None: its video is being read
    is_closed: bool = False
    used: float = field(default_factory=time.monotonic)


class Sessions:
    """At most `limit` sessions, by the key of the page they belong to; each has a folder of its own below `folder`."""

    def __init__(self, engine: Engine, folder: Path, limit: int, clock: Callable[[], float] = time.monotonic):
        self._engine, self._folder, self._limit, self._clock = engine, folder, limit, clock
        self._places: dict[str, _Place] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> Session:
        """InputError: this page has no video open."""
        with self._lock:
            place = self._places.get(key)
            if place is None or place.session is None:
                raise InputError("open a video first")
            place.used = self._clock()
            return place.session

    def open(self, key: str, source: Path, progress: Progress) -> Session:
        """A session on this video for the page, in place of its earlier one, which stays if this fails.

        InputError: no room, this page is opening one already, or as for `open_frames`. ClosedError.
        """
        place = self._take(key)
        folder = Path(tempfile.mkdtemp(prefix="session-", dir=self._folder))

        def proceed(done: int, total: int | None) -> None:
            if place.is_closed:
                raise ClosedError("the page was closed")
            progress(done, total)

        try:
            session = Session(open_frames(source, folder / "frames", proceed), folder, self._engine)
            session.frames.image(0)
            self._settle(key, place, session)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            self._give_up(key, place)
            raise
        return session

    def close(self, key: str) -> None:
        """The page is gone: its work ends."""
        with self._lock:
            places = [self._places.pop(k) for k in (key, _opening(key)) if k in self._places]
        for place in places:
            place.is_closed = True
            if place.session is not None:
                place.session.close()

    def close_all(self) -> None:
        for key in list(self._places):
            self.close(key)

    def __len__(self) -> int:
        return len({key.removesuffix(_OPENING) for key in self._places})

    def _take(self, key: str) -> _Place:
        with self._lock:
            if _opening(key) in self._places:
                raise InputError("this page is opening a video already")
            if key not in self._places and len(self) >= self._limit:
                self._make_room()
            self._places[_opening(key)] = place = _Place(used=self._clock())
            return place

    def _make_room(self) -> None:
        """Close the session that was left alone longest. InputError: all are at work."""
        idle = [
            (place.used, key)
            for key, place in self._places.items()
            if place.session is not None
            and not place.session.is_tracking
            and self._clock() - place.used >= IDLE_SECONDS
        ]
        if not idle:
            raise InputError(f"{self._limit} videos are open already, as many as this server takes; try again later")
        self._places.pop(min(idle)[1]).session.close()

    def _settle(self, key: str, place: _Place, session: Session) -> None:
        with self._lock:
            if place.is_closed:
                raise ClosedError("the page was closed")
            del self._places[_opening(key)]
            earlier = self._places.pop(key, None)
            place.session, place.used = session, self._clock()
            self._places[key] = place
        if earlier is not None:
            earlier.session.close()

    def _give_up(self, key: str, place: _Place) -> None:
        with self._lock:
            if self._places.get(_opening(key)) is place:
                del self._places[_opening(key)]


_OPENING = "\0opening"


def _opening(key: str) -> str:
    """Where a page's next session stands while its video is read."""
    return key + _OPENING
