"""Peak memory of `msdeaot track`: `python benchmarks/peak_memory.py [--size 854x480] [--frames 60] [-- OPTIONS]`.

Each number of frames is a process of its own, which tracks one object through a generated video, and writes masks,
boxes and the overlay as always. What was resident at most is what the operating system says at its end, all libraries
included; before it, what importing torch alone takes. Several numbers are compared with the first:
`--size 160x90 --frames 300 20000` shows how much memory grows with the video.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_SIDE = 0.5  # of the object, in heights of the frame: large enough to be followed on the full frame
_PERIODS = 101, 137  # frames of its way to and fro, across and down
_PEAK = """
import sys
def peak():
    if sys.platform == "win32":
        import psutil
        return psutil.Process().memory_info().peak_wset
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""
_TORCH = _PEAK + "import torch; print(peak())"
_TRACK = _PEAK + "from msdeaot_tracker.cli.main import main; code = main(sys.argv[1:]); print(peak()); sys.exit(code)"


def peak_bytes(code: str, *arguments: str) -> int:
    """Of a process that runs this and prints it last. RuntimeError: with what it wrote when it failed."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {done.stdout.strip()}")
    return int(done.stdout.split()[-1])


def write_video(path: Path, width: int, height: int, frames: int) -> str:
    """A bright square on noise, going to and fro; its first box as `--box` takes it."""
    generator, side = np.random.default_rng(0), round(_SIDE * height)
    ground = generator.integers(0, 128, (height, width, 3), np.uint8)
    patch = generator.integers(128, 256, (side, side, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 4_000_000
        for index in range(frames):
            left, top = (
                round(abs(2 * (index % period) / period - 1) * (room - side))
                for period, room in zip(_PERIODS, (width, height), strict=True)
            )
            image = ground.copy()
            image[top : top + side, left : left + side] = patch
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return f"{width - side},{height - side},{side},{side}"


def parse_size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT, both even, to (width, height)."""
    width, separator, height = text.partition("x")
    if not (separator and width.isdigit() and height.isdigit() and min(int(width), int(height)) >= 32):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in pixels, at least 32x32")
    if int(width) % 2 or int(height) % 2:
        raise argparse.ArgumentTypeError(f"{text!r}: the codec of the generated video needs even sides")
    return int(width), int(height)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default=(854, 480), metavar="WxH")
    parser.add_argument("--frames", nargs="+", type=int, default=[60], metavar="N")
    parser.add_argument("options", nargs="*", help="of `msdeaot track`, after --")
    arguments = parser.parse_args()
    if min(arguments.frames) < 1:
        parser.error("--frames start at 1")
    try:
        print(f"import torch: {peak_bytes(_TORCH) / 1e6:.0f} MB", flush=True)
        first = None
        for frames in arguments.frames:
            with tempfile.TemporaryDirectory() as folder:
                video = Path(folder) / "video.mp4"
                box = write_video(video, *arguments.size, frames)
                given = ["track", str(video), "--box", box, "--out", str(Path(folder) / "out"), *arguments.options]
                peak = peak_bytes(_TRACK, *given)
            first = first or peak
            print(f"{frames} frames: {peak / 1e6:.0f} MB, {peak / first - 1:+.1%}", flush=True)
    except RuntimeError as error:
        print(f"peak_memory: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
