"""The page's web server: gradio's, on this machine alone unless it is told otherwise."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..types import InputError
from .engine import Engine
from .folders import AllowedFolders
from .sessions import Sessions


@contextmanager
def serving(
    engine: Engine, folders: AllowedFolders, *, host: str, port: int | None, limit: int, max_upload: int
) -> Iterator[str]:
    """While this context lasts the page is served; gives its address.

    port: None for the first free one from 7860. limit: of sessions. max_upload: bytes.
    ImportError: no gradio. InputError: the port is taken, or is none; no such host. Its files are gone at the end.
    """
    check_port(host, port)
    require_gradio()
    home = Path(tempfile.mkdtemp(prefix="msdeaot-app-"))
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported, which may ask for its newest version
    os.environ["GRADIO_TEMP_DIR"] = str(home / "gradio")  # uploads and downloads
    (home / "sessions").mkdir()
    sessions = Sessions(engine, home / "sessions", limit)
    try:
        from .actions import Actions
        from .page import CSS, HEAD, THEME, build_page

        page = build_page(Actions(sessions, folders), folders.videos if folders else None)
        page.queue(default_concurrency_limit=4 * limit, api_open=False)
        _, address, _ = page.launch(
            **{"server_name": host, "server_port": port, "max_file_size": max_upload, "share": False},
            **{"prevent_thread_lock": True, "quiet": True, "ssr_mode": False, "enable_monitoring": False},
            **{"mcp_server": False, "pwa": False, "footer_links": [], "theme": THEME, "css": CSS, "head": HEAD},
        )
        try:
            yield address
        finally:
            page.close(verbose=False)
    finally:
        sessions.close_all()
        shutil.rmtree(home, ignore_errors=True)


def require_gradio() -> None:
    """ImportError: it is not installed."""
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ImportError(f'{error}; for the page: pip install "msdeaot-tracker[app]"') from error


def check_port(host: str, port: int | None) -> None:
    """InputError: it is no port, or not free; None is."""
    if port is None:
        return
    if not 1 <= port <= 65535:
        raise InputError(f"port {port}: ports go from 1 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(
                f"port {port} of {host} is not free ({error.strerror}): choose another with --port"
            ) from error
