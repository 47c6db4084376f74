"""The results of a run in the formats of others. A new one is one function and its line in EXPORTERS."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..files import PART, whole_file
from ..types import InputError
from ..words import did_you_mean
from .coco import write_coco
from .davis import write_davis
from .folder import RunFolder
from .tables import write_csv, write_jsonl, write_mot
from .yolo import write_yolo

EXPORT = "export"  # where in a results folder exports lie
LISTING = "exported.json"  # what an export wrote, so that a later one replaces it and nothing else


@dataclass(frozen=True)
class Exporter:
    """write: of a run to a path, that of a file or (if `name` has no suffix) of a folder which it makes."""

    write: Callable[[RunFolder, Path], None]
    name: str  # of the file or folder
    summary: str
    needs_masks: bool = False
    package: str | None = None  # that it needs, of the extra of the format's name


EXPORTERS = {
    "csv": Exporter(write_csv, "tracks.csv", "a row per frame and object"),
    "jsonl": Exporter(write_jsonl, "tracks.jsonl", "a JSON object per frame and object"),
    "coco": Exporter(write_coco, "coco.json", "COCO, masks as compressed RLE", needs_masks=True, package="pycocotools"),
    "mot": Exporter(write_mot, "mot.txt", "MOTChallenge, as trackers submit it"),
    "yolo": Exporter(write_yolo, "yolo", "YOLO segmentation: labels/ and data.yaml", needs_masks=True),
    "davis": Exporter(write_davis, "davis", "label pictures named like the frames", needs_masks=True),
}


def check_formats(formats: Sequence[str], *, masks: bool = True) -> None:
    """InputError: one is unknown, named twice, or needs masks where there are none. ImportError: a package lacks."""
    for number, name in enumerate(formats):
        if name not in EXPORTERS:
            known = ", ".join(EXPORTERS)
            raise InputError(f"unknown format {name!r}{did_you_mean(name, EXPORTERS)}; there are: {known}")
        if name in formats[:number]:
            raise InputError(f"format {name!r} is named twice: both would be {EXPORTERS[name].name}")
        if EXPORTERS[name].needs_masks and not masks:
            raise InputError(f"format {name!r} needs the masks, which this run leaves out")
        package = EXPORTERS[name].package
        if package is not None and find_spec(package) is None:
            raise ImportError(f'{package} is not installed: pip install "msdeaot-tracker[{name}]"')


def check_place(out: Path, formats: Iterable[str]) -> None:
    """InputError: where these formats go in `out` is something that is not from an earlier export."""
    earlier = exported_files(out)
    for path in (out / EXPORTERS[name].name for name in formats):
        foreign = [p for p in _files(path) if p not in earlier]
        if foreign:
            raise InputError(f"{foreign[0]} is not from an earlier export; choose another folder")


def exported_files(out: Path) -> list[Path]:
    """What is there of the files that exports to `out` wrote, and their listing."""
    return [path for path in (*(out / name for name in _listed(out)), out / LISTING) if os.path.lexists(path)]


def remove_exports(out: Path) -> None:
    """Take out what exports to `out` wrote, and the folders that this leaves empty."""
    _remove(out, [path.relative_to(out).as_posix() for path in exported_files(out)])
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()


def export(results: Path, formats: Sequence[str], out: Path | None = None) -> list[Path]:
    """Write the run in the folder `results` in these formats, names of EXPORTERS, to the folder `out`.

    out: default `results`/export. Earlier exports to it in the same formats are replaced, and nothing else.
    Returns the paths written, in the order of the formats. InputError: see `check_formats`, `check_place`, `RunFolder`;
    an input whose frames' names an exporter cannot take; another export at work in `out`. After an error nothing has
    changed.
    """
    out = results / EXPORT if out is None else out
    run = RunFolder(results)
    check_formats(formats, masks=run.has_masks)
    check_place(out, formats)
    with _new_folder(out / f".{LISTING}{PART}") as partial:
        for name in formats:
            EXPORTERS[name].write(run, partial / EXPORTERS[name].name)
        replaced = {EXPORTERS[name].name for name in formats}
        old = [name for name in _listed(out) if Path(name).parts[0] in replaced]
        new = [path.relative_to(partial).as_posix() for path in sorted(_files(partial))]
        _remove(out, old)
        with whole_file(out / LISTING) as listing:
            names = sorted({*_listed(out)} - {*old} | {*new})
            listing.write_text(json.dumps({"files": names}, indent=1), encoding="utf-8")
        for name in new:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial / name, out / name)
    return [out / EXPORTERS[name].name for name in formats]


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """For as long as the context lasts; on the disk of what is to be written."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise InputError(f"another export writes to {path.parent}; if it was killed, remove {path}") from None
    try:
        yield path
    finally:
        shutil.rmtree(path)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


def _listed(out: Path) -> list[str]:
    """Names of the files that exports to `out` wrote, from there; none that is not one of an exporter's."""
    places = {exporter.name for exporter in EXPORTERS.values()}
    try:
        names = [Path(name) for name in json.loads((out / LISTING).read_text(encoding="utf-8"))["files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []  # no listing, or not one of ours
    return [name.as_posix() for name in names if name.parts[:1] and name.parts[0] in places and ".." not in name.parts]


def _remove(out: Path, names: Iterable[str]) -> None:
    """These files below `out`, and the folders that this leaves empty."""
    paths = [out / name for name in names]
    for path in paths:
        path.unlink(missing_ok=True)
    folders = {folder for path in paths for folder in path.parents if folder != out and folder.is_relative_to(out)}
    for folder in sorted(folders, reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _files(path: Path) -> list[Path]:
    """A file, or those in a folder, whatever they are."""
    if path.is_dir() and not path.is_symlink():
        return [inside for inside in path.rglob("*") if not inside.is_dir() or inside.is_symlink()]
    return [path] if os.path.lexists(path) else []
