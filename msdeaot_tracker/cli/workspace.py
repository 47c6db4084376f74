"""`msdeaot workspace`: a dataset on disk as a workspace of vot-toolkit."""

from __future__ import annotations

import argparse
import logging
import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..data.datasets.box_files import read_integers
from ..data.datasets.box_sequences import read_dataset
from ..data.datasets.box_types import BoxSequence, Interaction
from ..data.datasets.mask_sequences import read_sequence
from ..types import InputError

LAYOUTS = ("trek150", "lasot", "got10k", "davis")
_ANCHORS = "anchors.txt"
Starts = tuple[dict[int, int], list[Interaction]]

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Makes a workspace of vot-toolkit from a dataset on disk. Frames are linked, not copied. Its stack "
        "has the dataset's own protocols and scores: of TREK-150 one-pass, multi-start, hand-object and real-time."
    )
    parser.add_argument("layout", choices=LAYOUTS, metavar="LAYOUT", help=", ".join(LAYOUTS))
    parser.add_argument("folder", type=Path, metavar="DIR", help="the workspace to make: a new or empty folder")
    parser.add_argument("--dataset", type=Path, required=True, metavar="DIR", help="the dataset's folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    folder = _require_new_folder(args.folder)
    found = read_dataset(args.layout, args.dataset)
    sequences = [sequence for sequence in found if _is_usable(sequence)]
    if not sequences:
        raise InputError(f"{args.dataset} has no sequence that can be run")
    starts = [(_anchors(sequence), _interactions(sequence)) for sequence in sequences]  # errors before work
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _write(folder, args.layout, args.dataset, sequences, starts)
    except BaseException:
        shutil.rmtree(folder)
        raise
    left_out = f" ({len(found) - len(sequences)} left out)" if len(found) > len(sequences) else ""
    print(f"sequences:    {len(sequences)}{left_out}")
    print(f"anchors:      {sum(len(anchors) for anchors, _ in starts)}")
    print(f"interactions: {sum(len(interactions) for _, interactions in starts)}")
    print(f"in {folder}:")
    print("  vot evaluate MSDeAOT\n  vot analysis --format json MSDeAOT\n  vot report --format html MSDeAOT")
    return 0


def _write(folder: Path, layout: str, dataset: Path, sequences: list[BoxSequence], starts: list[Starts]) -> None:
    from msdeaot_integration import registry_path, stack_path
    from msdeaot_integration.workspace import write_sequence, write_workspace

    for sequence, (anchors, interactions) in zip(tqdm(sequences, unit="sequence", disable=None), starts, strict=True):
        write_sequence(
            folder / "sequences" / sequence.name,
            sequence.frames,
            _truth(layout, dataset, sequence),
            anchors=anchors,
            interactions=interactions,
            fps=round(sequence.fps or 30),
        )
    names = [sequence.name for sequence in sequences]
    write_workspace(folder, names, stack=stack_path(layout), registries=[registry_path()])


def _require_new_folder(folder: Path) -> Path:
    folder = folder.resolve()
    if not str(folder).isascii():
        raise InputError(f"vot-trax cannot open files below a folder with other than ASCII letters: {folder}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder")
    return folder


def _is_usable(sequence: BoxSequence) -> bool:
    """Whether vot-toolkit can run it; its problems, and why not, are logged."""
    for problem in sequence.problems:
        logger.warning(problem)
    if not sequence.frames:
        reason = "it has no frames that fit its truth"
    elif not sequence.visible[0]:
        reason = "the object is not to be seen on the first frame"
    elif not sequence.name.isascii():
        reason = "vot-trax cannot open files with other than ASCII letters in their names"
    else:
        return True
    logger.warning("%s: %s; left out", sequence.name, reason)
    return False


def _anchors(sequence: BoxSequence) -> dict[int, int]:
    """Direction by frame. InputError, naming file and line: no object to be seen there, two directions at one frame."""
    anchors: dict[int, int] = {}
    for frame, backward in sequence.anchors:
        if not sequence.visible[frame]:
            raise InputError(f"{_anchor_line(sequence, frame)}: the object is not to be seen on frame {frame}")
        if frame in anchors:
            raise InputError(
                f"{_anchor_line(sequence, frame)}: a forward and a backward run from frame {frame}; of "
                "these vot-toolkit, and the names of TREK-150's results, know only one"
            )
        anchors[frame] = -1 if backward else 1
    return anchors


def _anchor_line(sequence: BoxSequence, frame: int) -> str:
    """File and line of the last anchor at a frame."""
    path = next(path for folder in sequence.frames[0].parents if (path := folder / _ANCHORS).is_file())
    lines = np.flatnonzero(read_integers(path, 2, "an anchor is frame,direction")[:, 0] == frame)
    return f"{path}, line {lines[-1] + 1}"


def _interactions(sequence: BoxSequence) -> list[Interaction]:
    """Those that begin with the object in sight; no others can be run."""
    usable = [interaction for interaction in sequence.interactions if sequence.visible[interaction.start]]
    for start, end, _ in set(sequence.interactions) - set(usable):
        logger.warning("%s: interaction %d to %d begins without the object; left out", sequence.name, start, end)
    return usable


def _truth(layout: str, dataset: Path, sequence: BoxSequence) -> list[np.ndarray | tuple[float, ...] | None]:
    """The masks of DAVIS, of other datasets the boxes; None where the object is not to be seen, or nothing is known."""
    if layout != "davis":
        boxes = zip(sequence.boxes.tolist(), sequence.visible, strict=True)
        return [tuple(box) if visible else None for box, visible in boxes]
    source = read_sequence(dataset, sequence.frames[0].parent.name)
    several = len(source.object_ids) > 1
    object_id = int(sequence.name.rpartition("-")[2]) if several else source.object_ids[0]
    masks = (source.masks(index) for index in range(len(source)))
    return [known and known[object_id] for known in masks]
