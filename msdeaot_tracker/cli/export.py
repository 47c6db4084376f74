"""`msdeaot export`: the results of `msdeaot track` in the formats of others."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..exports import EXPORT, EXPORTERS, export


def add_arguments(parser: argparse.ArgumentParser) -> None:
    formats = "; ".join(f"{name}: {exporter.summary}" for name, exporter in EXPORTERS.items())
    parser.description = (
        "Writes what `msdeaot track` found in the formats of other programs. What an earlier export left is replaced, "
        f"no other file is. {formats}."
    )
    parser.add_argument("results", type=Path, metavar="RESULTS", help="folder that `msdeaot track` wrote")
    parser.add_argument(
        "--format", dest="formats", type=parse_formats, required=True, metavar="NAME,…", help=", ".join(EXPORTERS)
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"folder to write to (default: RESULTS/{EXPORT})")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    for name, path in zip(args.formats, export(args.results, args.formats, args.out), strict=True):
        print(f"{name}: {path}")
    return 0


def parse_formats(text: str) -> list[str]:
    """The text csv,coco as its names; the type of an argument."""
    return [name.strip() for name in text.split(",")]
