"""Runs commands of msdeaot in processes forked from one that has imported everything, for `test_kills.py` to kill.

A line of standard input is {"argv": [...], "log": file, "url": address or null}; the answer is the process's id, and
its exit status when it has ended. The address is that of the public weights "thing".
"""

import importlib
import json
import os
import sys

from msdeaot_tracker.checkpoints.zoo import MANIFEST, Release
from msdeaot_tracker.cli.main import main


def run(argv: list[str], log: str, url: str | None) -> None:
    os.setsid()
    for number, mode in ((1, os.O_APPEND), (2, os.O_APPEND)):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | mode), number)
    if url:
        MANIFEST["thing"] = Release("thing", "thing.pth", "test", "none", "none", "https://example.org", (url,))
    os._exit(main(argv))


def answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    for name in ("checkpoints.download", "training.engine", "training.loop", "cli.train_run", "cli.train_plan"):
        importlib.import_module(f"msdeaot_tracker.{name}")
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            run(**json.loads(line))
        answer(pid)
        answer(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
