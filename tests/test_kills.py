"""SIGKILL at random moments: what was finished stays and is readable, and the same command goes on to the same end.

MSDEAOT_KILLS says how many of each kind (default: 2).
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from msdeaot_tracker import load_model
from msdeaot_tracker.checkpoints.state_dicts import read_pickle
from msdeaot_tracker.data.datasets.box_files import read_boxes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
KILLS = int(os.environ.get("MSDEAOT_KILLS", 2))
SERVER = Path(__file__).with_name("forking_server.py")
Files = dict[str, bytes]


class Commands:
    """Commands of msdeaot, one after the other, some of which are killed."""

    def __init__(self, log: Path):
        self.log = log
        self._server = subprocess.Popen(
            [sys.executable, SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def run(self, *argv: object, url: str | None = None, seconds: float | None = None) -> bool:
        """Whether it came to its end before it was killed, together with all that it had started."""
        self.log.unlink(missing_ok=True)
        command = {"argv": [str(part) for part in argv], "log": str(self.log), "url": url}
        print(json.dumps(command), file=self._server.stdin, flush=True)
        pid = int(self._server.stdout.readline())
        timer = threading.Timer(seconds or 0, self._kill, [pid])
        if seconds is not None:
            timer.start()
        code = int(self._server.stdout.readline())
        timer.cancel()
        said = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
        assert code in (0, -signal.SIGKILL) and "Traceback" not in said, said
        give_up = time.monotonic() + 300  # they see it once they have started, which takes long on a busy machine
        while others := members(pid):
            assert time.monotonic() < give_up, f"{others} went on"
            time.sleep(0.1)
        return code == 0

    def _kill(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        self._server.kill()
        self._server.communicate()


def members(session: int) -> list[int]:
    """The processes that a command started, itself among them, which are still alive."""
    alive = []
    for pid in psutil.pids():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                alive.append(pid)
    return alive


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp("commands") / "log.txt")
    yield commands
    commands.close()


def kill_at_random(
    commands: Commands,
    argv: list[object],
    out: Path,
    check: Callable[[], Files],
    done: Callable[[], Files],
    url: str | None = None,
) -> None:
    """check: what is finished is readable; by name. done: the same at the end, which is the same each time."""
    assert commands.run("weights", "info", "deaot-t")  # so that no time is taken for the start of the server
    begin = time.monotonic()
    assert commands.run(*argv, url=url)
    whole, duration = done(), time.monotonic() - begin
    clear(out)
    rng, kills, before = random.Random(0), 0, {}
    while kills < KILLS:
        begin = time.monotonic()
        if commands.run(*argv, url=url, seconds=rng.uniform(0, duration)):
            assert done() == whole
            duration = min(duration, time.monotonic() - begin)  # the machine may have been busy
            clear(out)
            before = {}
        else:
            kills += 1
            finished = check()
            assert before.items() <= finished.items(), "what was finished stays"
            before = finished
    assert commands.run(*argv, url=url)
    assert done() == whole


def clear(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def test_evaluate_with_two_workers(commands, tmp_path):
    noise = np.random.default_rng(0)
    for name in "abc":
        (tmp_path / "data" / name / "img").mkdir(parents=True)
        for index in range(40):
            image = noise.integers(0, 255, (240, 320, 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / "data" / name / "img" / f"{index:05d}.png")
        (tmp_path / "data" / name / "groundtruth_rect.txt").write_text("10,20,50,60\n" * 40)
        (tmp_path / "data" / name / "anchors.txt").write_text("0,0\n20,0\n39,1\n")
    out = tmp_path / "out"

    def finished() -> Files:
        files = {path: path.read_bytes() for path in out.rglob("*.txt") if path.parent.name in ("ope", "mse")}
        for path in files:
            read_boxes(path, complete=True)
        return {path.name: content for path, content in files.items()}

    def done() -> Files:
        files = finished()
        assert len(files) == 12
        return files

    protocols = ["--protocol", "ope,mse", "--tracker", "static", "--workers", "2"]
    kill_at_random(
        commands, ["evaluate", tmp_path / "data", "--dataset", "trek150", *protocols, "--out", out], out, finished, done
    )


def test_train(commands, tmp_path):
    out = tmp_path / "out"
    steps = 4

    def finished() -> Files:
        if (out / "state.pt").exists():
            assert read_pickle(out / "state.pt")["step"] in range(1, steps + 1)
        if (out / "weights.safetensors").exists():
            load_model(weights=out / "weights.safetensors", device="cpu")
        return {}

    def done() -> Files:
        finished()
        with open(out / "log.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["step"] for row in rows] == [str(steps)]  # the last is always written
        weights = load_model(weights=out / "weights.safetensors", device="cpu").state_dict()
        values = {key: tensor.numpy().tobytes() for key, tensor in weights.items()}
        return {**values, "loss": rows[0]["loss"].encode()}

    small = ["--size", "49", "--batch-size", "2", "--workers", "0", "--precision", "32-true", "--device", "cpu"]
    train = ["train", "msdeaot-small", "--steps", steps, "--set", "save_every=1", *small, "--out", out]
    kill_at_random(commands, train, out, finished, done)


def test_download(commands, tmp_path):
    content = random.Random(0).randbytes(1 << 20)

    class Handler(BaseHTTPRequestHandler):
        """Slowly, and from where one asks it to."""

        def log_message(self, *args):
            pass

        def do_GET(self):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")) if self.headers["Range"] else 0
            self.send_response(206 if start else 200)
            self.send_header("ETag", '"one"')
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            try:
                for place in range(start, len(content), 1 << 16):
                    self.wfile.write(content[place:][: 1 << 16])
                    time.sleep(0.02)
            except ConnectionError:
                return

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    url = f"http://127.0.0.1:{http.server_port}/thing"
    out = tmp_path / "out"

    def finished() -> Files:
        path = out / "thing.pth"
        assert not path.exists() or path.read_bytes() == content
        return {path.name: content} if path.exists() else {}

    def done() -> Files:
        assert finished() and {path.name for path in out.iterdir()} == {
            "thing.pth",
            "thing.pth.json",
            ".thing.pth.lock",
        }
        return finished()

    try:
        kill_at_random(commands, ["weights", "download", "thing", "--dir", out], out, finished, done, url)
    finally:
        http.shutdown()
        http.server_close()
