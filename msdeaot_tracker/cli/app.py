"""`msdeaot app`: a page to click on: see the mask, track, correct, download."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from ..types import InputError
from .options import add_tracker_options, tracker_from

GIB = 1 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Serves a page on which objects are clicked on, tracked and corrected, until Ctrl-C. "
        'Anyone who reaches it can use it. Needs: pip install "msdeaot-tracker[app]"'
    )
    parser.add_argument(
        "--folder",
        dest="folders",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="videos in this folder can be opened by their path; repeatable (default: uploads only)",
    )
    parser.add_argument("--port", type=int, metavar="N", help="port to listen on (default: a free one from 7860)")
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (%(default)s: this machine alone)"
    )
    parser.add_argument("--sessions", type=int, default=4, metavar="N", help="videos open at a time (%(default)s)")
    parser.add_argument(
        "--max-upload", type=float, default=1.0, metavar="GIB", help="largest file that is taken (%(default)s GiB)"
    )
    add_tracker_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ..app.engine import make_engine
    from ..app.folders import AllowedFolders
    from ..app.server import check_port, require_gradio, serving

    if args.sessions < 1:
        raise InputError(f"--sessions {args.sessions}: at least one is needed")
    if not 0 < args.max_upload <= 1024:
        raise InputError(f"--max-upload {args.max_upload:g}: more than 0 and at most 1024 GiB")
    folders = AllowedFolders(args.folders)
    check_port(args.host, args.port)
    require_gradio()  # before the model is loaded
    engine = make_engine(tracker_from(args))
    with serving(
        engine,
        folders,
        host=args.host,
        port=args.port,
        limit=args.sessions,
        max_upload=int(args.max_upload * GIB),
    ) as address:
        print(f"the page is at {address} (Ctrl-C ends it)", flush=True)
        threading.Event().wait()
    return 0
