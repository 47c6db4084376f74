"""vot-toolkit 0.9, protocol `python`: boxes only, in a process the toolkit itself starts.

    protocol = python
    command = msdeaot_integration.vot_python:BoxTracker
    convert = rectangle       ; masks of the ground truth arrive as the corners of their rectangle
    multiobject =             ; empty: one object at a time

Settings are given as `arg_device = cpu`, `arg_preset = msdeaot-r50` and so on: the arguments of `BoxTracker`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from msdeaot_tracker import FrameResult, TrackerError, read_image

from .trax_server import BoxTuple, one_line, upright_rectangle
from .vot import load_warm_tracker

Given = BoxTuple | list[tuple[float, float]]  # (x, y, w, h) or the corners of a polygon
Status = tuple[BoxTuple, dict[str, float]]


class BoxTracker:
    """One object. Where it is absent the answer is its last box, with confidence 0."""

    multiobject = False

    def __init__(
        self,
        preset: str | None = None,
        weights: str | None = None,
        device: str = "auto",
        initializer: str = "lite",
        overrides: str = "",
    ) -> None:
        """overrides: settings with spaces between them, as in "tracker.view=full memory.long_term_max=4"."""
        settings = {"preset": preset, "weights": weights, "device": device, "initializer": initializer}
        with _errors_the_toolkit_reports():
            self._tracker = load_warm_tracker(**settings, overrides=overrides.split())
        self._last_box: BoxTuple = (0.0, 0.0, 0.0, 0.0)

    def init(self, frame: str, new: tuple[Given, Mapping[str, str]], properties: Mapping[str, str]) -> Status:
        """Start on the image file `frame` with the region `new[0]`; a polygon counts as its upright rectangle."""
        region, _ = new
        self._last_box = upright_rectangle(region) if isinstance(region, list) else region
        with _errors_the_toolkit_reports():
            return self._status(self._tracker.initialize(read_image(frame), {1: self._last_box}))

    def update(self, frame: str, new: list, properties: Mapping[str, str]) -> Status:
        with _errors_the_toolkit_reports():
            return self._status(self._tracker.track(read_image(frame)))

    def _status(self, result: FrameResult) -> Status:
        if result.boxes[1] is not None:
            self._last_box = tuple(result.boxes[1])
        return self._last_box, {"confidence": result.scores[1]}


@contextmanager
def _errors_the_toolkit_reports() -> Iterator[None]:
    """The toolkit's worker passes RuntimeError on; most other errors it leaves to a time-out."""
    try:
        yield
    except (TrackerError, OSError) as error:
        raise RuntimeError(one_line(error)) from error
