"""What the tracker found, drawn over the frames, and the video of that."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from .images import PathLike, palette
from .parts import find_spans
from .types import FrameResult, TrackerError

logger = logging.getLogger(__name__)

DEFAULT_FPS = 25.0  # of an overlay whose source does not say
_CLOCK = 90000  # ticks per second, as in MPEG streams: frames keep the times of their source
_H264 = {"libx264": {"preset": "veryfast", "tune": "zerolatency", "crf": "23"}, "libopenh264": {}}
_LAST_RESORT = "mpeg4"  # MPEG-4 part 2, which FFmpeg itself can write
_KEY_FRAME_SECONDS = 2  # between frames that a player can jump to
# Each frame is a fragment that plays without the end of the file; closing makes an ordinary MP4 of them.
_CONTAINER = {"movflags": "+hybrid_fragmented+frag_every_frame", "flush_packets": "1"}


class Paint(NamedTuple):
    """How an object is shown. A name that is not of ASCII gives way to the id, as OpenCV has no letters for it."""

    name: str
    colour: tuple[int, int, int]  # RGB


class OverlayWriter:
    """An H.264 MP4 of the frames with what the tracker found drawn over them; a context manager.

    What was written plays at any time, also when the process is killed. Sides are made even, as the codec needs, by
    repeating the last row or column. A PyAV whose FFmpeg has no H.264 encoder writes MPEG-4 part 2, with a warning.
    """

    def __init__(
        self,
        path: PathLike,
        fps: float | None = None,
        *,
        views: bool = False,
        paints: Mapping[int, Paint] | None = None,
    ):
        """fps: of frames whose time is not known (default: 25). views, paints: as for `draw_overlay`."""
        self._path, self._views, self._paints = Path(path), views, paints
        self._fps = fps or DEFAULT_FPS
        self._container: av.container.OutputContainer | None = None
        self._first_time: float | None = None
        self._frames, self._last_tick = 0, -1

    def write(self, image: np.ndarray, result: FrameResult, time: float | None = None) -> None:
        """image: uint8 [H, W, 3] RGB, of one size; time: in seconds, rising. OSError, TrackerError: not possible."""
        drawn = draw_overlay(image, result, views=self._views, paints=self._paints)
        rows, columns = drawn.shape[:2]
        if rows % 2 or columns % 2:
            drawn = cv2.copyMakeBorder(drawn, 0, rows % 2, 0, columns % 2, cv2.BORDER_REPLICATE)
        if self._container is None:
            self._open(drawn.shape[1], drawn.shape[0])
        frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
        frame.pts, frame.time_base = self._tick(time), self._stream.codec_context.time_base
        self._encode(frame)

    def close(self) -> None:
        if self._container is not None:
            container, self._container = self._container, None
            try:
                self._encode(None, container)
            finally:
                container.close()

    def __enter__(self) -> OverlayWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _tick(self, time: float | None) -> int:
        """Ticks since the first frame, always rising."""
        if self._first_time is None:
            self._first_time = time
        seconds = self._frames / self._fps if None in (time, self._first_time) else time - self._first_time
        self._frames += 1
        base = self._stream.codec_context.time_base
        self._last_tick = max(self._last_tick + 1, round(seconds / base))
        return self._last_tick

    def _open(self, width: int, height: int) -> None:
        self._path.open("wb").close()  # says why it cannot be written
        name = next((name for name in _H264 if name in av.codecs_available and _can_encode(name)), _LAST_RESORT)
        rate = Fraction(self._fps).limit_denominator(1001)
        if name == _LAST_RESORT:
            logger.warning("FFmpeg has no H.264 encoder here: %s is MPEG-4 part 2, which no browser plays", self._path)
        try:
            self._container = av.open(f"file:{self._path}", "w", format="mp4", options=_CONTAINER)
            self._stream = self._container.add_stream(name, rate=rate, options=_H264.get(name, {}))
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.codec_context.gop_size = max(1, round(_KEY_FRAME_SECONDS * self._fps))
            self._stream.codec_context.time_base = Fraction(1, _CLOCK) if name in _H264 else 1 / rate
            self._stream.codec_context.open()
        except av.error.FFmpegError as error:
            raise self._error(error) from error

    def _encode(self, frame: av.VideoFrame | None, container: av.container.OutputContainer | None = None) -> None:
        try:
            (container or self._container).mux(self._stream.encode(frame))
        except av.error.FFmpegError as error:
            raise self._error(error) from error

    def _error(self, error: av.error.FFmpegError) -> Exception:
        if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
            return OSError(error.errno, error.strerror, str(self._path))
        return TrackerError(f"{self._path} cannot be encoded: {error}")


def _can_encode(name: str) -> bool:
    try:
        return av.codec.Codec(name, "w").is_encoder
    except av.error.FFmpegError:
        return False


def draw_overlay(
    image: np.ndarray, result: FrameResult, *, views: bool = False, paints: Mapping[int, Paint] | None = None
) -> np.ndarray:
    """A copy of the image [H, W, 3] with every object tinted and outlined, its box, and its id and score.

    views: in white, the rectangles in which the network looked as well. paints: names and colours by object id, in
    place of the id and of the masks' palette.
    """
    drawn, paints = image.copy(), paints or {}
    inside = find_spans(result.labels)
    for object_id, span in inside.items():
        _tint(drawn[span], result.labels[span] == object_id, _colour(object_id, paints))
    thickness = max(1, round(min(image.shape[:2]) / 240))
    for x, y, w, h in set(result.views.values()) if views else ():
        cv2.rectangle(drawn, (x, y), (x + w - 1, y + h - 1), (255, 255, 255), thickness)
    for object_id, box in result.boxes.items():
        if box is not None:
            colour = _colour(object_id, paints)
            if object_id in inside:
                rows, columns = inside[object_id]
                mask = (result.labels[rows, columns] == object_id).view(np.uint8)
                outlines, _ = cv2.findContours(
                    mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(columns.start, rows.start)
                )
                cv2.drawContours(drawn, outlines, -1, colour, thickness)
            x, y, w, h = (round(side) for side in box)
            cv2.rectangle(drawn, (x, y), (x + w - 1, y + h - 1), colour, thickness)
            name = paints[object_id].name if object_id in paints else ""
            text = name if name and name.isascii() else str(object_id)
            _draw_text(drawn, f"{text}: {result.scores[object_id]:.2f}", (x, y), thickness)
    return drawn


def bright_colour(object_id: int) -> tuple[int, int, int]:
    """The colour of an object that has been given no other: the palette's hue, as bright as it goes."""
    return _colour(object_id, {})


def _colour(object_id: int, paints: Mapping[int, Paint]) -> tuple[int, int, int]:
    """As painted, or the hue of the masks' palette (which begins again after 255)."""
    return paints[object_id].colour if object_id in paints else tuple(_hues()[(object_id - 1) % 255].tolist())


def _tint(region: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Half of the colour, in place of half of what is there, in the pixels of a mask; in a way that lets others run."""
    tinted = cv2.add(region >> 1, (*(part // 2 for part in colour), 0))
    cv2.copyTo(tinted, mask.view(np.uint8), region)


@cache
def _hues() -> np.ndarray:
    """uint8 [255, 3] of ids from 1 on: a pixel's colour is looked up, not computed."""
    colours = palette()[1:].astype(int)
    return (colours * 255 // colours.max(axis=-1, keepdims=True)).astype(np.uint8)


def _draw_text(image: np.ndarray, text: str, corner: tuple[int, int], thickness: int) -> None:
    """White on black, with its lower left corner at `corner` where the image has room for it."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, max(0.3, min(image.shape[:2]) / 900)
    (width, height), base = cv2.getTextSize(text, font, scale, thickness)
    x = max(0, min(corner[0], image.shape[1] - width))
    y = max(height, corner[1] - base)
    cv2.rectangle(image, (x, y - height), (x + width, y + base), (0, 0, 0), cv2.FILLED)
    cv2.putText(image, text, (x, y), font, scale, (255, 255, 255), thickness, cv2.LINE_AA)
