"""The submission of the TREK-150 challenge: one JSON file in a zip, written, and read back with every fault named.

Fields and names are those of the TREK-150 toolkit (`ExperimentTREK150.export_results_for_challenge`):

    {"challenge": "object_tracking", "version": "0.1", "tracker_name": str, "sls_pt": -1, "sls_tl": -1, "sls_td": -1,
     "results": {"ope": {sequence: boxes}, "mse": {sequence: {"anchor-N": boxes}},
                 "hoi": {sequence: {"hoi-START-END-HAND": boxes}}}}

boxes: a list of [x, y, w, h], one per frame of the run, in its order. hoi has the sequences with interactions.
"""

from __future__ import annotations

import json
import math
import os
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..data.datasets.box_types import BoxSequence
from ..types import InputError
from .protocols import find_protocol
from .results import read_results

_PROTOCOLS = ("ope", "mse", "hoi")
_HEAD = {"challenge": "object_tracking", "version": "0.1"}
_SUPERVISION = ("sls_pt", "sls_tl", "sls_td")  # levels of supervision in EPIC-KITCHENS' challenges; -1: not told
_MEMBER = "challenge-submission.json"
_BYTES_PER_BOX = 400  # at most; some 200 where the file is indented, as the toolkit's is


def write_submission(path: Path, sequences: Sequence[BoxSequence], folder: Path, tracker: str) -> list[str]:
    """From the result files in `folder`/`tracker`. The file is written whole or not at all.

    What kept it from being written, a line each: a sequence or a run that lacks whole results; none: it is there.
    """
    results: dict[str, Any] = {protocol: {} for protocol in _PROTOCOLS}
    problems: list[str] = []
    for protocol, sequence, name, length in _runs(sequences, problems):
        run = sequence if protocol == "ope" else f"{sequence}-{name}"
        try:
            boxes = read_results(folder, tracker, protocol, run, length)
        except InputError as error:
            problems.append(str(error))
            continue
        if broken := _check_boxes(f"{protocol}, {run}", boxes.tolist(), length):
            problems += broken
        if protocol == "ope":
            results[protocol][sequence] = boxes.tolist()
        else:
            results[protocol].setdefault(sequence, {})[name] = boxes.tolist()
    if not problems:
        content = {**_HEAD, "tracker_name": tracker, **dict.fromkeys(_SUPERVISION, -1), "results": results}
        _write_zip(path, json.dumps(content, allow_nan=False))
    return problems


def check_submission(path: Path, sequences: Sequence[BoxSequence]) -> list[str]:
    """All that is wrong with a submission, a line each; none: it has every run of the sequences, at its length.

    InputError: it is not a zip of one JSON file, or one that nobody should unpack.
    """
    problems: list[str] = []
    expected: dict[str, dict[str, dict[str, int]]] = {protocol: {} for protocol in _PROTOCOLS}
    for protocol, sequence, name, length in _runs(sequences, problems):
        expected[protocol].setdefault(sequence, {})[name] = length
    boxes = sum(length for of in expected.values() for runs in of.values() for length in runs.values())
    content = _read_zip(path, (1 << 20) + _BYTES_PER_BOX * boxes)
    if not isinstance(content, dict):
        return [*problems, "the file is not a JSON object"]
    _check_fields(content, problems)
    results = content.get("results")
    if not isinstance(results, dict):
        return [*problems, "results: missing, or not an object"]
    problems += [f"results: {key!r} is not known" for key in results if key not in _PROTOCOLS]
    for protocol, runs in expected.items():
        problems += _check_protocol(protocol, results.get(protocol), runs)
    return problems


def _runs(sequences: Sequence[BoxSequence], problems: list[str]) -> Iterator[tuple[str, str, str, int]]:
    """Protocol, sequence, name of the run in a submission, length. What has no runs for a fault is a problem."""
    for protocol in _PROTOCOLS:
        for sequence in sequences:
            if not len(sequence):
                problems.append(f"{protocol}, {sequence.name}: its truth cannot be read")
                continue
            try:
                runs = find_protocol(protocol)(sequence)
            except InputError as error:
                problems.append(str(error))
                continue
            if protocol == "mse" and not runs:
                problems.append(f"mse, {sequence.name}: the dataset has no anchors for it")
            for run in runs:
                yield protocol, sequence.name, run.name.removeprefix(f"{sequence.name}-"), len(run.frames)


def _check_fields(content: dict[str, Any], problems: list[str]) -> None:
    for key, value in _HEAD.items():
        if content.get(key) != value:
            problems.append(f"{key}: {_short(content.get(key))}, where {value!r} is expected")
    name = content.get("tracker_name")
    if not isinstance(name, str) or not name:
        problems.append(f"tracker_name: {_short(name)}, where a name is expected")
    for key in _SUPERVISION:
        level = content.get(key)
        if type(level) is not int or not -1 <= level <= 5:
            problems.append(f"{key}: {_short(level)}, where a whole number from -1 to 5 is expected")
    known = {*_HEAD, "tracker_name", *_SUPERVISION, "results"}
    problems += [f"{_short(key)} is not a field of a submission" for key in content if key not in known]


def _check_protocol(protocol: str, there: Any, expected: dict[str, dict[str, int]]) -> list[str]:
    if not isinstance(there, dict):
        return [f"{protocol}: missing, or not an object"]
    problems = []
    for sequence in there:
        # The toolkit writes an empty entry for a sequence whose file of interactions is empty.
        if sequence not in expected and not (protocol == "hoi" and there[sequence] == {}):
            problems.append(f"{protocol}, {_short(sequence)}: no such sequence in the dataset, or no runs in it")
    for sequence, runs in expected.items():
        if sequence not in there:
            problems.append(f"{protocol}, {sequence}: missing")
        elif protocol == "ope":
            problems += _check_boxes(f"ope, {sequence}", there[sequence], runs[sequence])
        elif not isinstance(there[sequence], dict):
            problems.append(f"{protocol}, {sequence}: not an object with a run each")
        else:
            found = there[sequence]
            problems += [
                f"{protocol}, {sequence}: no run {_short(run)} in the dataset" for run in found if run not in runs
            ]
            for run, length in runs.items():
                where = f"{protocol}, {sequence}, {run}"
                problems += _check_boxes(where, found[run], length) if run in found else [f"{where}: missing"]
    return problems


def _check_boxes(where: str, boxes: Any, length: int) -> list[str]:
    if not isinstance(boxes, list):
        return [f"{where}: not a list of boxes"]
    if len(boxes) != length:
        return [f"{where}: {len(boxes)} boxes for a run of {length} frames"]
    for index, box in enumerate(boxes):
        if not isinstance(box, list) or len(box) != 4 or not _all_finite([box]):
            return [f"{where}, box {index}: {_short(box)}, where four finite numbers are expected"]
    return []


def _all_finite(boxes: list[list[Any]]) -> bool:
    """Whether all are numbers; True and False are none, and an integer may be too large for one."""
    try:
        return all(type(side) in (int, float) and math.isfinite(side) for box in boxes for side in box)
    except OverflowError:
        return False


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _write_zip(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_MEMBER, text)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read_zip(path: Path, largest: int) -> Any:
    """The content of the one JSON file in a zip from anywhere, of `largest` bytes; nothing comes onto the disk."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) != 1 or not members[0].filename.endswith(".json"):
                names = ", ".join(_short(member.filename) for member in members[:3])
                raise InputError(f"{path} holds {len(members)} files ({names}), where one .json is expected")
            (member,) = members
            if member.flag_bits & 1:
                raise InputError(f"{path} is encrypted")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(f"{path} is packed in an unusual way (method {member.compress_type})")
            if member.file_size > largest:
                raise InputError(
                    f"{path} would unpack to {member.file_size} bytes, and no submission for these sequences has more "
                    f"than {largest}"
                )
            with archive.open(member) as file:
                data = file.read(member.file_size + 1)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise InputError(f"{path} is not a zip, or a damaged one: {error}") from error
    try:
        return json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: {_short(member.filename)} is not JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """ValueError: a key that stands there twice, of which readers take either."""
    content = dict(pairs)
    if len(content) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{_short(next(key for key in keys if keys.count(key) > 1))} stands there twice")
    return content
