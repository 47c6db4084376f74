"""A video file or stream, decoded frame by frame by FFmpeg (PyAV)."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import VideoReformatter

from .types import InputError

logger = logging.getLogger(__name__)

_MAX_PIXELS = 1 << 27  # of a frame, 16384x8192; damage can announce any size
_PROTOCOLS = "http,https,rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto"  # of streams, and of what their playlists lead to
_PATIENCE = (15.0, 15.0)  # seconds until a stream opens, and until it sends more
# Demuxers of FFmpeg that read the file they are given alone: playlists could show any other file of this machine.
_FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,ogg,gif,apng,h264,hevc,av1,obu,ivf,mjpeg,mxf,nut,"
    "yuv4mpegpipe,rm,dv,vc1,wtv,nsv,swf,amv"
)
MAX_FPS = 1000.0  # containers without a frame rate report their time base instead


class VideoFile:
    """The frames of a file's best video stream, in the order they are shown; an iterator and a context manager.

    What cannot be decoded before the first frame (a cut between key frames) is left out with a warning; later it is
    damage, as is a file that is shorter than its index. Where a stream without an index breaks off, it ends.
    """

    def __init__(self, path: Path | str):
        """path: a file, or as text the address of a stream. InputError: not a video, or none that FFmpeg knows."""
        self._path = path
        try:
            if isinstance(path, str):
                self._container = av.open(path, options={"protocol_whitelist": _PROTOCOLS}, timeout=_PATIENCE)
            else:  # the prefix keeps colons in names
                options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
                self._container = av.open(f"file:{path}", options=options)
            self._stream = self._container.streams.best("video")
        except av.error.ArgumentError as error:
            raise InputError(f"{path} is of a kind that is not opened here, such as a list of files") from error
        except (av.error.FFmpegError, ValueError) as error:
            what = "does not answer, or is no video" if isinstance(path, str) else "is not a video"
            raise InputError(f"{path} {what} that can be decoded, or it is damaged ({_reason(error)})") from error
        if self._stream is None or self._stream.codec_context is None:
            self._container.close()
            raise InputError(f"{path} holds no video that can be decoded")
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
        self._start = max(self._container.start_time or 0, 0) / av.time_base  # negative: sound that is not heard
        self._frames = self._decode()
        self._to_rgb = VideoReformatter()  # one for all: a frame's own brings threads of its own
        self.count = 0  # frames decoded so far

    @property
    def fps(self) -> float | None:
        """On average; None where it is not known."""
        rate = self._stream.average_rate
        return float(rate) if rate is not None and 0 < rate <= MAX_FPS else None

    @property
    def length(self) -> int | None:
        """Frames, as the index counts those that are shown; None where there is none."""
        return sum(not entry.is_discard for entry in self._stream.index_entries) if self._has_index else None

    @property
    def frame_bytes(self) -> int:
        """Of a decoded frame, [H, W, 3]."""
        return 3 * self._stream.codec_context.width * self._stream.codec_context.height

    def skip(self, frames: int) -> int:
        """Leave out the next frames; how many there were. InputError as in iteration."""
        for done in range(frames):  # stepping, since seeking is inexact in many files
            if next(self._frames, None) is None:
                return done
        return frames

    def __iter__(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """uint8 [H, W, 3] RGB, upright, and its time in seconds from the file's beginning. InputError: damage."""
        for frame in self._frames:
            time = None if frame.time is None else frame.time - self._start
            yield _upright(self._to_rgb.reformat(frame, format="rgb24").to_ndarray(), frame), time

    def close(self) -> None:
        self._frames.close()
        self._container.close()

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def _has_index(self) -> bool:
        """Whether the file says beforehand what frames it holds; fragments and streams do not."""
        return 0 < len(self._stream.index_entries) <= self._stream.frames

    def _decode(self) -> Iterator[av.VideoFrame]:
        left_out = 0
        packets = self._packets()
        for packet in packets:
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                if packet.is_corrupt:  # the last one, whose end is missing
                    break
                if self.count:
                    raise InputError(f"frame {self.count} of {self._path} is damaged ({_reason(error)})") from error
                left_out += 1
                continue
            for frame in frames:
                if frame.is_corrupt and not packet.is_corrupt:
                    if self.count:
                        raise InputError(f"frame {self.count} of {self._path} is damaged")
                    left_out += 1
                    continue
                if left_out and not self.count:
                    logger.warning("%s begins with %d frames that cannot be decoded: left out", self._path, left_out)
                self.count += 1
                yield frame
        if (
            isinstance(self._path, Path)
            and self._has_index
            and max(e.pos + e.size for e in self._stream.index_entries) > os.path.getsize(self._path)
        ):
            raise InputError(
                f"{self._path} ends after frame {self.count - 1} although it announces {self._stream.frames} frames: "
                "damaged"
            )

    def _packets(self) -> Iterator[av.Packet]:
        try:
            yield from self._container.demux(self._stream)
        except av.error.FFmpegError as error:
            raise InputError(f"{self._path} is damaged after frame {self.count - 1} ({_reason(error)})") from error


def _upright(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Turned and mirrored as the frame's display matrix says (ISO 14496-12, 8.3.2.3), to whole quarters."""
    # A container of our own: the frame's would refer back to it, and all pixels would wait for the garbage collector.
    matrix = SideDataContainer(frame).get("DISPLAYMATRIX")
    if matrix is None:
        return image
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), "=i4").tolist()
    if abs(a) < abs(b):  # rows become columns
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
