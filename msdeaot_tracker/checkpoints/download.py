"""Fetching files of the manifest: resumable, verified, and never there in part.

Only https is spoken (http with this very machine), also after a redirect. Files on Google Drive come through gdown.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from filelock import FileLock, Timeout
from tqdm import tqdm

from ..types import CheckpointError
from .cache import cache_dir, check_file, fingerprint, mismatch, record, recorded
from .zoo import Release

logger = logging.getLogger(__name__)

_BLOCK = 1 << 18  # bytes
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # HTTP states that may be over in a moment


@dataclass(frozen=True)
class Patience:
    """How long a server is tried."""

    attempts: int = 4  # per address
    pause: float = 1.0  # seconds before the second attempt, doubled for each further one
    timeout: float = 30.0  # seconds without a byte


class _Refused(Exception):
    """An address does not give the file; asking again would change nothing."""


class _Interrupted(Exception):
    """The connection failed or broke off; asking again may help."""


class _Changed(_Interrupted):
    """What is here is of another version than the file there."""


def download(release: Release, folder: Path | None = None, *, patience: Patience = Patience()) -> Path:
    """Fetch a file into `folder` (None: the cache) unless it is there, and return its path.

    The file appears when it is complete and, where hash or size are published, verified. A download that broke off is
    continued. Of two processes that fetch the same file one waits for the other.

    CheckpointError names every address with what went wrong, and where to put the file by hand. ImportError: the file
    is on Google Drive only, and gdown is missing.
    """
    folder = folder or cache_dir()
    path = folder / release.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            if path.is_file():
                _accept(release, path)
            else:
                _fetch_anywhere(release, path, patience)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error
    return path


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("another process is downloading %s; waiting for it", path.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _accept(release: Release, path: Path) -> None:
    """Check a file that was there already, and note its hash if nobody did yet."""
    verdict = check_file(release, path)
    if verdict.state == "damaged":
        raise CheckpointError(f"{path} is not {release.name}: {verdict.reason}; remove it to download it anew")
    if recorded(path) is None:
        record(path, fingerprint(path))


def _fetch_anywhere(release: Release, path: Path, patience: Patience) -> None:
    failures: list[tuple[str, Exception]] = []
    for url in release.urls:
        try:
            drive = re.match(r"https://drive\.google\.com/file/d/([\w-]+)", url)
            with tqdm(desc=release.file, total=release.size, unit="B", unit_scale=True, disable=None) as bar:
                if drive:
                    part = _from_drive(drive[1], path, patience, bar)
                else:
                    part = _from_server(url, release, path, patience, bar)
            _publish(release, part, path)
            return
        except (_Refused, _Interrupted, ImportError) as error:
            logger.info("%s: %s", url, error)
            failures.append((url, error))
    by_hand = f"To fetch it by hand, put the file at {path}"
    if not failures:
        raise CheckpointError(f"{release.name} cannot be downloaded: see {release.page}. {release.note} {by_hand}")
    reasons = " ".join("; ".join(f"{url}: {error}" for url, error in failures).split())
    kind = ImportError if all(isinstance(error, ImportError) for _, error in failures) else CheckpointError
    raise kind(f"cannot download {release.name}: {reasons}. {by_hand}")


def _publish(release: Release, part: Path, path: Path) -> None:
    found = fingerprint(part)
    problem = mismatch(release, found)
    _origin(part).unlink(missing_ok=True)
    if problem:
        part.unlink()
        raise _Refused(f"sent another file: {problem}")
    os.replace(part, path)
    record(path, found)


# ---------------------------------------------------------------- Google Drive


def _from_drive(file_id: str, path: Path, patience: Patience, bar: tqdm) -> Path:
    try:
        import gdown
    except ImportError as error:
        raise ImportError('it is on Google Drive, which needs pip install "msdeaot-tracker[weights]"') from error
    part = path.with_name(f"{path.name}.drive")
    part.unlink(missing_ok=True)  # complete, but its check was interrupted; a partial one is gdown's own affair
    try:
        gdown.download(
            id=file_id,
            output=str(part),
            quiet=True,
            use_cookies=False,
            resume=True,
            progress=lambda done, total: _show(bar, done, total),
            timeout=patience.timeout,
            retries=patience.attempts - 1,
        )
    except (gdown.exceptions.DownloadError, OSError) as error:
        raise _Refused(str(error)) from error
    return part


# ---------------------------------------------------------------- HTTP


class _SafeRedirects(HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if not _is_allowed(newurl) or (req.type == "https" and urlsplit(newurl).scheme != "https"):
            raise _Refused(f"redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_allowed(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)


def _from_server(url: str, release: Release, path: Path, patience: Patience, bar: tqdm) -> Path:
    if not _is_allowed(url):
        raise _Refused("only https is spoken")
    part = path.with_name(f"{path.name}.part")
    failure = _Interrupted("not tried")
    for attempt in range(patience.attempts):
        if attempt:
            logger.info("%s: %s; trying again", url, failure)
            time.sleep(patience.pause * 2 ** (attempt - 1))
        try:
            _receive(url, release, part, patience.timeout, bar)
            return part
        except _Interrupted as error:
            failure = error
            if isinstance(error, _Changed):
                part.unlink(missing_ok=True)
    raise failure


def _receive(url: str, release: Release, part: Path, timeout: float, bar: tqdm) -> None:
    """One request. What is in `part` stays if the server goes on from there with the same file, else it is replaced."""
    offset, validator, total = _resume_point(part, url)
    if offset and offset == total:
        return
    with _open(url, offset, validator, timeout) as response:
        resumed = response.status == 206
        rest, new_validator = response.length, _validator(response)
        if resumed and (new_validator != validator or _first_byte(response) != offset):
            raise _Changed("the file there has changed")
        total = None if rest is None else rest + (offset if resumed else 0)
        if None not in (total, release.size) and total != release.size:
            raise _Refused(f"the file there has {total} bytes, published {release.size}")
        if total is None and not response.chunked and release.sha256 is None:
            raise _Refused("does not say how long the file is, and no hash is published")
        with part.open("ab" if resumed else "wb") as file:
            if not resumed:
                _origin(part).write_text(json.dumps({"url": url, "validator": new_validator, "total": total}), "utf-8")
            for block in _blocks(response):
                file.write(block)
                _show(bar, file.tell(), total)
            received = file.tell()
    if total not in (None, received):
        raise _Interrupted(f"broke off after {received} of {total} bytes")


def _open(url: str, offset: int, validator: str | None, timeout: float) -> http.client.HTTPResponse:
    headers = {"User-Agent": "msdeaot-tracker", "Accept-Encoding": "identity"}
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    try:
        return build_opener(_SafeRedirects).open(Request(url, headers=headers), timeout=timeout)
    except HTTPError as error:
        error.close()
        if error.code == 416:  # the file there is shorter than the part here
            raise _Changed("the file there has changed") from error
        kind = _Interrupted if error.code in _PASSING else _Refused
        raise kind(f"HTTP {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise _Interrupted(f"no connection: {reason}") from error


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    try:
        while block := response.read1(_BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(f"broke off: {str(error) or type(error).__name__}") from error


def _validator(response: http.client.HTTPResponse) -> str | None:
    """What If-Range may compare (RFC 9110, 13.1.5): a strong entity tag, or a date."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _first_byte(response: http.client.HTTPResponse) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _resume_point(part: Path, url: str) -> tuple[int, str | None, int | None]:
    """How many bytes are there, of which version, and how many it has; 0 bytes when one cannot go on from them."""
    try:
        origin, size = json.loads(_origin(part).read_text()), part.stat().st_size
        if origin["url"] == url and origin["validator"] and size <= (origin["total"] or size):
            return size, origin["validator"], origin["total"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        logger.debug("nothing to go on from at %s", part)
    return 0, None, None


def _origin(part: Path) -> Path:
    """Notes beside a partial file: where it comes from, and which version it is."""
    return part.with_name(f"{part.name}.json")


def _show(bar: tqdm, done: int, total: int | None) -> None:
    bar.total = total or bar.total
    bar.update(done - bar.n)
