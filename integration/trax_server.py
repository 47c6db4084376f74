"""The conversation with a TraX client (vot-toolkit's `traxpython`): regions in, regions and confidences out.

Knows nothing of the network: whatever has `initialize` and `track` can be served.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from msdeaot_tracker.types import TrackerError

if TYPE_CHECKING:
    import trax

Answer = Literal["given", "rectangle", "mask"]
BoxTuple = tuple[float, float, float, float]
Target = BoxTuple | np.ndarray


class RegionError(ValueError):
    """The client gave a region that cannot be tracked."""


class Result(Protocol):
    """What is read of a frame's result, by object id; see `msdeaot_tracker.FrameResult`."""

    masks: Mapping[int, np.ndarray]
    boxes: Mapping[int, BoxTuple | None]
    scores: Mapping[int, float]


class RegionTracker(Protocol):
    """Images are uint8 [H, W, 3] RGB; targets are (x, y, w, h) in pixels or masks, bool [H, W], by object id."""

    def initialize(self, image: np.ndarray, targets: Mapping[int, Target]) -> Result: ...

    def track(self, image: np.ndarray, targets: Mapping[int, Target] | None = None) -> Result: ...


logger = logging.getLogger(__name__)


def prepare_output() -> None:
    """Send the log to standard error, in ASCII: any other byte there makes the TraX client lose the tracker."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="ascii", errors="backslashreplace")
    logging.basicConfig(format="%(name)s: %(levelname)s: %(message)s")


def serve(
    tracker: RegionTracker,
    read_image: Callable[[str], np.ndarray],
    *,
    answer: Answer = "given",
    multi_object: bool = False,
) -> None:
    """Answer a TraX client on standard input and output until it says goodbye.

    read_image: of a path, uint8 [H, W, 3] RGB.

    Every `initialize` request starts a fresh video on the same tracker. Objects are numbered 1, 2, ... as they arrive
    and answered in that order, each with its score as the property `confidence`: in the region type they were given
    in (`answer="given"`; a polygon counts as its upright rectangle), or always as rectangles or masks.
    An absent object is answered with confidence 0 by an empty mask, or by its last rectangle: the toolkit has no empty
    rectangle.

    An exception is logged, on one line if it is of the user's making (TrackerError, RegionError, OSError) and else with
    its traceback, closes the session with its message as the reason, which the toolkit reports, and ends the process
    with status 1.
    """
    import trax

    # Without POLYGON the client itself turns polygons into masks, and gets them wrong (vot-trax 4.0.2).
    regions = [trax.Region.RECTANGLE, trax.Region.POLYGON, trax.Region.MASK]
    server = trax.Server(regions, [trax.Image.PATH], multiobject=multi_object)
    try:
        _converse(server, tracker, read_image, answer)
    except Exception as error:
        message = one_line(error)
        unexpected = not isinstance(error, (TrackerError, RegionError, OSError))
        logger.error(message, exc_info=unexpected)  # before `quit`, after which the client no longer reads our output
        server.quit(reason=message.encode("ascii", "backslashreplace").decode())
        raise SystemExit(1) from error
    server.quit()


def one_line(error: Exception) -> str:
    """The exception for a log that is read line by line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _converse(
    server: trax.Server, tracker: RegionTracker, read_image: Callable[[str], np.ndarray], answer: Answer
) -> None:
    from trax import TraxStatus

    video = _Video(answer)
    while (request := server.wait()).type != TraxStatus.QUIT:
        image = read_image(request.image["color"].path())
        if request.type == TraxStatus.INITIALIZE:
            video = _Video(answer)
            result = tracker.initialize(image, video.add(request.objects, image.shape[:2]))
        else:
            result = tracker.track(image, video.add(request.objects or [], image.shape[:2]) or None)
        server.status(video.status(result))


class _Video:
    """The objects of one video in order of arrival: object k has the id k + 1."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._as_mask: list[bool] = []
        self._last_box: dict[int, BoxTuple] = {}

    def add(self, objects: list[tuple[trax.Region, dict[str, str]]], size: tuple[int, int]) -> dict[int, Target]:
        """Number the objects that a request brings; `size` is the frame's (H, W)."""
        targets: dict[int, Target] = {}
        for region, _ in objects:
            target = _target(region, size)
            given_mask = isinstance(target, np.ndarray)
            self._as_mask.append(given_mask if self._answer == "given" else self._answer == "mask")
            object_id = len(self._as_mask)
            targets[object_id] = target
            self._last_box[object_id] = _bounds(target) if given_mask else target
        return targets

    def status(self, result: Result) -> list[tuple[trax.Region, dict[str, float]]]:
        return [
            (self._region(object_id, as_mask, result), {"confidence": result.scores[object_id]})
            for object_id, as_mask in enumerate(self._as_mask, start=1)
        ]

    def _region(self, object_id: int, as_mask: bool, result: Result) -> trax.Region:
        import trax

        if as_mask:
            return trax.Mask.create(np.ascontiguousarray(result.masks[object_id], np.uint8))
        box = result.boxes[object_id]
        if box is not None:
            self._last_box[object_id] = box
        return trax.Rectangle.create(*self._last_box[object_id])


def _target(region: trax.Region, size: tuple[int, int]) -> Target:
    """A region as the tracker takes it: rectangle and polygon as (x, y, w, h), a mask padded or cut to `size`."""
    import trax

    if isinstance(region, trax.Rectangle):
        return region.bounds()
    if isinstance(region, trax.Polygon):
        return upright_rectangle(list(region))
    if isinstance(region, trax.Mask):
        return _place(region.array().astype(bool), region.offset(), size)
    raise RegionError(f"cannot track a {region.type} region")


def upright_rectangle(points: Sequence[tuple[float, float]]) -> BoxTuple:
    left, top = np.min(points, axis=0).tolist()
    right, bottom = np.max(points, axis=0).tolist()
    return left, top, right - left, bottom - top


def _place(patch: np.ndarray, offset: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """bool [H, W] with the patch's top-left pixel at (x, y) = offset; what lies outside the frame is dropped."""
    mask = np.zeros(size, bool)
    (x, y), (height, width) = offset, size
    inside = patch[max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)]
    top, left = max(y, 0), max(x, 0)
    mask[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return mask


def _bounds(mask: np.ndarray) -> BoxTuple:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise RegionError("the given mask is empty inside the frame")
    return columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]
