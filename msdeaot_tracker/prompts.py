"""What to track on which frames: targets by frame and object id, from a caller or from a file."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .images import VOID, PathLike, mask_objects, read_mask
from .targets import Checked, Target, check_targets
from .types import Box, InputError, InputErrors, Points
from .words import counted, did_you_mean

Prompts: TypeAlias = "Mapping[int, Mapping[int, Target | None]]"  # frame -> object id -> target; None: it is removed
REMOVE = "remove"
MAX_OBJECT_ID = VOID - 1  # of an indexed PNG whose last index may mean "no label"


@dataclass(frozen=True)
class PromptsFile:
    """A prompts file as read; `name`, `size` (width, height) and `length` are the video's that it says it is for."""

    path: Path
    frames: dict[int, dict[int, Target | None]]
    name: str | None = None
    size: tuple[int, int] | None = None
    length: int | None = None

    @property
    def files(self) -> list[Path]:
        """What was read: the file itself."""
        return [self.path]

    def check_video(self, source: object, size: tuple[int, int], length: int | None) -> None:
        """size: width, height; length: frames in all, if known. InputErrors: the file is for another video."""
        own = Path(str(source)).name
        said = {"called": (self.name, own), "of size": (self.size, size), "of length": (self.length, length)}
        faults = [
            f"{self.path} is for a video {what} {_shown(wanted)}, {source} is {_shown(found)}"
            for what, (wanted, found) in said.items()
            if None not in (wanted, found) and wanted != found
        ]
        if faults:
            raise InputErrors(faults)


def read_prompts(path: PathLike) -> PromptsFile:
    """A JSON file of prompts, UTF-8:

        {"video": {"name": "cats.mp4", "size": [1280, 720], "frames": 300},
         "frames": {"0":  {"1": {"box": [x, y, w, h]}, "2": {"mask": "two.png"}},
                    "40": {"1": {"points": {"foreground": [[x, y]], "background": [[x, y]]}}, "2": "remove"}}}

    "frames": by number in the source, from 0; then by object id, 1 to 254; then a box, a mask file (relative to this
    one; of several objects the one of that id), points (either list may be left out; "box" or "mask" beside them is
    part of the prompt), or "remove". "video" may be left out, and each of its parts: what is there must be true.

    InputErrors: all faults, one line each. InputError: cannot be read.

    >>> file = read_prompts("prompts.json")
    >>> sorted(file.frames), file.frames[2][1]
    ([0, 2], Points(foreground=[(40.0, 20.0)], background=[], box=None, mask=None))
    >>> results = track_video("clip", file.frames)
    """
    path = Path(path)
    reading = _Reading(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_Pairs)
    except FileNotFoundError:
        raise InputError(f"prompts file {path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"prompts file {path} cannot be read: {error}") from None
    return reading.read(content)


def check_prompts(prompts: Prompts, height: int, width: int) -> dict[int, dict[int, Checked | None]]:
    """As `check_targets` leaves them, for frames of this size.

    InputErrors: a line for each object id, box, mask or point that cannot be.
    """
    faults = []
    checked: dict[int, dict[int, Checked | None]] = {}
    for frame, targets in sorted(prompts.items()):
        checked[frame] = {}
        for object_id, target in targets.items():
            shown = (0, 0, width, height) if target is None else target
            try:
                ((name, found),) = check_targets({object_id: shown}, height, width).items()
                checked[frame][name] = None if target is None else found
            except InputError as error:
                faults.append(f"frame {frame}: {error}")
    if faults:
        raise InputErrors(faults)
    return checked


class _Pairs(dict):
    """A JSON object that remembers keys that came twice."""

    def __init__(self, pairs: list[tuple[str, Any]]):
        super().__init__(pairs)
        keys = [key for key, _ in pairs]
        self.twice = sorted({key for key in keys if keys.count(key) > 1})


@dataclass
class _Reading:
    path: Path
    faults: list[str] = field(default_factory=list)

    def read(self, content: Any) -> PromptsFile:
        frames: dict[int, dict[int, Target | None]] = {}
        facts: dict[str, Any] = {}
        if self._object(content, "the file", {"video", "frames"}):
            facts = self._video(content.get("video", _Pairs([])))
            if "frames" not in content:
                self._fault('there is no "frames"')
            elif self._object(content["frames"], '"frames"'):
                for key, objects in content["frames"].items():
                    number = self._number(key, "frame", 0, taken=frames)
                    if self._object(objects, f"frame {key}") and number is not None:
                        frames[number] = self._targets(f"frame {number}", objects)
                if not content["frames"]:
                    self._fault('"frames" is empty: nothing to track')
        if self.faults:
            raise InputErrors(self.faults)
        return PromptsFile(self.path, frames, **facts)

    def _video(self, video: Any) -> dict[str, Any]:
        if not self._object(video, '"video"', {"name", "size", "frames"}):
            return {}
        name, size, length = video.get("name"), video.get("size"), video.get("frames")
        if name is not None and not isinstance(name, str):
            self._fault(f'"video": "name" is a text, got {json.dumps(name)}')
        if size is not None and not (_numbers(size, 2) and all(isinstance(n, int) and n > 0 for n in size)):
            self._fault(f'"video": "size" is [width, height] in pixels, got {json.dumps(size)}')
        if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
            self._fault(f'"video": "frames" is how many it has, got {json.dumps(length)}')
        return {"name": name, "size": size if self.faults or size is None else tuple(size), "length": length}

    def _targets(self, where: str, objects: _Pairs) -> dict[int, Target | None]:
        targets: dict[int, Target | None] = {}
        for key, prompt in objects.items():
            object_id = self._number(key, f"{where}: object", 1, MAX_OBJECT_ID, taken=targets)
            before = len(self.faults)
            target = self._target(f"{where}, object {key}", key, prompt)
            if object_id is not None and len(self.faults) == before:
                targets[object_id] = target
        if not objects:
            self._fault(f"{where} names no object")
        return targets

    def _target(self, where: str, key: str, prompt: Any) -> Target | None:
        if prompt == REMOVE:
            return None
        if not self._object(prompt, where, {"box", "mask", "points"}, hint=f' or "{REMOVE}"'):
            return None
        box = mask = None
        if "box" in prompt:
            if _numbers(prompt["box"], 4):
                box = Box(*map(float, prompt["box"]))
            else:
                self._fault(f'{where}: "box" is [x, y, w, h], got {json.dumps(prompt["box"])}')
        if "mask" in prompt:
            mask = self._mask(where, key, prompt["mask"])
        if "points" in prompt:
            points = prompt["points"]
            if not self._object(points, f'{where}: "points"', {"foreground", "background"}):
                return None
            clicks = [self._clicks(where, kind, points.get(kind, [])) for kind in ("foreground", "background")]
            return Points(*clicks, box, mask)
        if len(prompt) != 1:
            self._fault(f"{where}: give a box, a mask, or points with one of them" if prompt else f"{where} is empty")
        return box if mask is None else mask

    def _clicks(self, where: str, kind: str, clicks: Any) -> list[tuple[float, float]]:
        if isinstance(clicks, list) and all(_numbers(click, 2) for click in clicks):
            return [(float(x), float(y)) for x, y in clicks]
        self._fault(f'{where}: "{kind}" is a list of [x, y], got {json.dumps(clicks)}')
        return []

    def _mask(self, where: str, key: str, name: Any) -> np.ndarray | None:
        if not isinstance(name, str):
            self._fault(f'{where}: "mask" is the name of a file, got {json.dumps(name)}')
            return None
        try:
            masks = mask_objects(read_mask(self.path.parent / name))
        except InputError as error:
            self._fault(f"{where}: {error}")
            return None
        if len(masks) == 1:
            return next(iter(masks.values()))
        if key.isdecimal() and int(key) in masks:
            return masks[int(key)]
        self._fault(f"{where}: mask {name} shows {counted(len(masks), 'object')}, none of which is {key}")
        return None

    def _object(self, value: Any, where: str, known: set[str] | None = None, hint: str = "") -> bool:
        """Whether it is a JSON object, of these keys; a fault where not."""
        if not isinstance(value, _Pairs):
            self._fault(f"{where} is {{…}}{hint}, got {json.dumps(value)[:60]}")
            return False
        for key in value.twice:
            self._fault(f"{where}: {key} is there twice")
        for key in value if known is not None else ():
            if key not in known:
                self._fault(f'{where}: unknown "{key}"{did_you_mean(key, known)}')
        return True

    def _number(
        self, key: str, what: str, lowest: int, highest: int | None = None, *, taken: Container[int]
    ) -> int | None:
        """taken: by earlier keys."""
        if not (key.isdecimal() and key.isascii() and lowest <= int(key) and (highest is None or int(key) <= highest)):
            until = "" if highest is None else f" to {highest}"
            self._fault(f"{what} {key!r} is no number from {lowest}{until}")
        elif int(key) in taken:
            self._fault(f"{what} {int(key)} is there twice, the second time as {key!r}")
        else:
            return int(key)
        return None

    def _fault(self, what: str) -> None:
        self.faults.append(f"{self.path}: {what}")


def _numbers(value: Any, count: int) -> bool:
    numbers = isinstance(value, list) and [n for n in value if isinstance(n, int | float) and not isinstance(n, bool)]
    return bool(numbers) and len(value) == len(numbers) == count


def _shown(value: Any) -> str:
    return f"{value[0]}x{value[1]} pixels" if isinstance(value, tuple) else str(value)
