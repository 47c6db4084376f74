"""Sound video files of kinds whose frames cannot be counted from their headers, written with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (64, 48)  # width, height
CLOCK = 1000


def grey_of(index: int) -> int:
    """Level of frame `index`."""
    return 40 + 7 * index % 200


def frames(times: Sequence[float]) -> list[av.VideoFrame]:
    made = []
    for index, time in enumerate(times):
        frame = av.VideoFrame.from_ndarray(np.full((SIZE[1], SIZE[0], 3), grey_of(index), np.uint8), format="rgb24")
        frame.pts, frame.time_base = round(time * CLOCK), Fraction(1, CLOCK)
        made.append(frame)
    return made


def write(
    path: Path, times: Sequence[float], codec: str = "libx264", *, audio: float = 0.0, options: dict | None = None
) -> Path:
    """One frame for each time in seconds; audio: seconds of silence beside them.

    In a thread of its own: SVT-AV1 makes the one that starts it a real-time thread where it is allowed to, and later
    tests' processes would inherit that.
    """
    with ThreadPoolExecutor(1) as alone:
        return alone.submit(_write, path, times, codec, audio, options).result()


def _write(path: Path, times: Sequence[float], codec: str, audio: float, options: dict | None) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, CLOCK)
        sound = container.add_stream("libopus", rate=48000) if audio else None
        for frame in frames(times):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            for index in range(round(audio * 50)):
                samples = av.AudioFrame.from_ndarray(np.zeros((1, 960 * 2), np.int16), format="s16", layout="stereo")
                samples.pts, samples.rate = 960 * index, 48000
                container.mux(sound.encode(samples))
            container.mux(sound.encode(None))
    return path


def cut_by_copy(path: Path, source: Path, seconds: float) -> Path:
    """The packets from the key frame before `seconds` on, with an edit list that hides what is before it."""
    with av.open(str(source)) as whole, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.dts is not None:
                shift = round(seconds / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                container.mux(packet)
    return path
