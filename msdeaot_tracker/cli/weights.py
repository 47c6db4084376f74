"""`msdeaot weights`: which public weights there are, fetching and checking them, and converting them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from ..types import CheckpointError

Run = Callable[[argparse.Namespace], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Public weights by name. They lie in a cache folder, which the variable MSDEAOT_CACHE moves."
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    listing = _add_action(actions, "list", _list, "show what there is, and what is downloaded")
    info = _add_action(actions, "info", _info, "show all that is known of one file")
    info.add_argument("name", metavar="NAME")
    fetch = _add_action(actions, "download", _download, "fetch a file; one that broke off is continued")
    fetch.add_argument("name", metavar="NAME")
    check = _add_action(actions, "verify", _verify, "compare downloaded files with published hashes and sizes")
    check.add_argument("names", metavar="NAME", nargs="*", help="default: all that are downloaded")
    for action in (listing, info, fetch, check):
        action.add_argument("--dir", type=Path, metavar="DIR", help="folder of the files (default: the cache folder)")

    convert = _add_action(actions, "convert", _convert, "write official or trained weights in this project's format")
    convert.add_argument("file", metavar="FILE", help="official checkpoint (.pth), or this project's")
    convert.add_argument("--preset", metavar="NAME", help="the model that an official file is for")
    convert.add_argument("--half", action="store_true", help="matrices and filters in half precision")
    convert.add_argument("--out", required=True, type=Path, metavar="FILE.safetensors", help="where to write it")


def _add_action(actions: argparse._SubParsersAction, name: str, run: Run, summary: str) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    action.set_defaults(run=run)
    return action


def _list(args: argparse.Namespace) -> int:
    from ..checkpoints.cache import weights_path
    from ..checkpoints.zoo import MANIFEST

    rows = [("NAME", "SIZE", "DOWNLOADED", "USED BY", "LICENCE")]
    for release in MANIFEST.values():
        there = "yes" if weights_path(release.name, args.dir).is_file() else "-"
        used_by = ", ".join(user.replace(":", " ") for user in release.used_by) or "-"
        rows.append((release.name, _size(release.size), there, used_by, release.licence))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _info(args: argparse.Namespace) -> int:
    from ..checkpoints.cache import weights_path
    from ..checkpoints.zoo import find_release

    release, path = find_release(args.name), weights_path(args.name, args.dir)
    facts = {
        "name": release.name,
        "purpose": release.purpose,
        "training": release.training,
        "used by": ", ".join(user.replace(":", " ") for user in release.used_by) or "-",
        "licence": release.licence,
        "page": release.page,
        "address": release.urls[0] if release.urls else "none: fetch it by hand",
        **{f"mirror {number}": url for number, url in enumerate(release.urls[1:], start=1)},
        "sha256": release.sha256 or "not published",
        "size": f"{release.size} bytes" if release.size else "not published",
        "note": release.note or "-",
        "path": f"{path} ({'downloaded' if path.is_file() else 'not downloaded'})",
    }
    for key, value in facts.items():
        print(f"{key + ':':<12}{value}")
    return 0


def _download(args: argparse.Namespace) -> int:
    from ..checkpoints.cache import cache_dir, verify
    from ..checkpoints.download import download
    from ..checkpoints.zoo import find_release

    path = download(find_release(args.name), args.dir)
    print(f"{path}: {verify(args.name, args.dir).reason}")
    if path.parent != cache_dir():
        print(f"outside the cache folder: give the path to --weights, or set MSDEAOT_CACHE={path.parent}")
    return 0


def _verify(args: argparse.Namespace) -> int:
    from ..checkpoints.cache import cache_dir, verify, weights_path
    from ..checkpoints.zoo import MANIFEST

    names = args.names or [name for name in MANIFEST if weights_path(name, args.dir).is_file()]
    if not names:
        print(f"nothing is downloaded in {args.dir or cache_dir()}")
    bad = []
    for name in names:
        verdict = verify(name, args.dir)
        print(f"{name}: {verdict.reason}")
        if verdict.state in ("missing", "damaged"):
            bad.append(name)
    if bad:
        raise CheckpointError(f"missing or damaged: {', '.join(bad)}")
    return 0


def _convert(args: argparse.Namespace) -> int:
    from ..checkpoints import load_model, save_checkpoint

    model = load_model(args.preset, weights=args.file, device="cpu")
    save_checkpoint(args.out, model, half=args.half)
    count = sum(tensor.numel() for tensor in model.state_dict().values())
    print(f"{args.out}: {count:,} numbers of {model.preset.name}")
    return 0


def _size(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:,.0f} MB"
