"""A tracker in a process of another Python, spoken to over pipes; `child/__main__.py` has the messages."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..geometry import box_to_mask
from ..types import Box, FrameResult, InputError, TrackerError

_VERSION = 1
_PROGRAM = Path(__file__).parent / "child"
_LONGEST_ANSWER = 1 << 20  # bytes


class PipeTracker:
    """One object, followed by the tracker `name` ("opencv:csrt", "pytracking:atom/default") in a process of its own.

    python:      the interpreter of the environment the tracker lives in.
    environment: variables to put to the process's own.
    timeout:     seconds that an answer may take. The first one includes loading.
    fresh:       a new process for every `initialize`: OpenCV's MIL draws random numbers that go on from run to run.

    The process starts with the first call, and again with `initialize` once it is gone. The masks of the results are
    the boxes. The time of an answer includes handing over the frame.
    TrackerError: the tracker failed, its process ended or did not answer in time.
    """

    def __init__(
        self,
        name: str,
        python: str,
        *,
        environment: Mapping[str, str] | None = None,
        timeout: float = 120,
        fresh: bool = False,
    ) -> None:
        self._name, self._python, self._timeout, self._fresh = name, python, timeout, fresh
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def about(self) -> str:
        """What the tracker comes from, as in "OpenCV 5.0.0"."""
        return self._started()

    def initialize(self, image: np.ndarray, targets: Mapping[int, Box | np.ndarray]) -> FrameResult:
        """targets: one object, by its box."""
        ((self._object, box),) = targets.items()
        if isinstance(box, np.ndarray):
            raise InputError(f"{self._name} starts from a box, not from a mask")
        if self._fresh:
            self.close()
        self._started()
        self._frame = 0
        self._ask({"box": list(box)}, image)
        return self._result(image, Box(*box))

    def track(self, image: np.ndarray) -> FrameResult:
        self._frame += 1
        box = self._ask({}, image).get("box")
        if box is None:
            return self._result(image, None)
        sides = box if isinstance(box, list) else []
        if len(sides) != 4 or not all(isinstance(side, float) and math.isfinite(side) for side in sides):
            raise TrackerError(f"{self._name} answered {box} for a box")
        return self._result(image, Box(*sides))

    def close(self) -> None:
        """End the process; nothing happens where there is none."""
        if self._process is not None:
            self._process.kill()
            with suppress(OSError):  # what was not sent yet cannot be
                self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()
            self._errors.close()
            self._process = None

    def _result(self, image: np.ndarray, box: Box | None) -> FrameResult:
        size = image.shape[:2]
        mask = np.zeros(size, bool) if box is None else box_to_mask(box, *size)
        labels = np.where(mask, np.int32(self._object), np.int32(0))
        return FrameResult(self._frame, labels, {self._object: box}, {self._object: float(box is not None)})

    def _started(self) -> str:
        if self._process is None:
            self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  a pipe that nobody reads would fill up
            command = [self._python, str(_PROGRAM), self._name]
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    env=self._environment,
                )
            except OSError as error:
                raise InputError(f"--python {self._python}: {error}") from error
            try:
                answer = self._ask({"version": _VERSION})
                if answer.get("version") != _VERSION:
                    version = answer.get("version")
                    raise TrackerError(f"{self._name} speaks version {version} of the messages, not {_VERSION}")
            except TrackerError:
                self.close()
                raise
            self._about = str(answer.get("about"))
        return self._about

    def _ask(self, message: Mapping[str, Any], image: np.ndarray | None = None) -> dict[str, Any]:
        if self._process is None:
            raise TrackerError(f"{self._name}: the process ended on an earlier frame")
        process, late = self._process, threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._timeout, give_up)
        timer.start()
        try:
            answer = self._exchange(message if image is None else {**message, "shape": image.shape}, image)
        except (OSError, EOFError, ValueError) as error:  # the pipe is closed, or what came over it is no message
            reason = f"did not answer within {self._timeout:g} seconds" if late.is_set() else self._fault(error)
            self.close()
            raise TrackerError(f"{self._name} {reason}") from error
        finally:
            timer.cancel()
        if "error" in answer:
            raise TrackerError(f"{self._name}: {answer['error']}")
        return answer

    def _exchange(self, message: Mapping[str, Any], image: np.ndarray | None) -> dict[str, Any]:
        to_child, from_child = self._process.stdin, self._process.stdout
        data = json.dumps(message).encode()
        to_child.write(struct.pack(">I", len(data)) + data)
        if image is not None:
            to_child.write(np.ascontiguousarray(image, np.uint8))
        to_child.flush()
        head = from_child.read(4)
        if len(head) < 4:
            raise EOFError("no answer")
        (length,) = struct.unpack(">I", head)
        if length > _LONGEST_ANSWER:
            raise ValueError(f"an answer of {length} bytes")
        answer = json.loads(from_child.read(length))
        if not isinstance(answer, dict):
            raise ValueError("an answer that is not an object")
        return answer

    def _fault(self, error: Exception) -> str:
        """Why there was no answer: how the process ended, with the last line it wrote to its standard error."""
        try:
            reason = f"ended with exit status {self._process.wait(1)}"
        except subprocess.TimeoutExpired:
            reason = f"answered something else: {error}"
        self._errors.seek(0)
        lines = self._errors.read()[-2000:].decode(errors="replace").split("\n")
        return "; ".join([reason, *[line.strip() for line in lines if line.strip()][-1:]])
