"""Runs the real vot-toolkit in a process of its own, and looks behind its exit status.

`vot evaluate` ends with status 0 after a tracker has crashed, and `vot analysis` reuses a stale cache (0.7.4).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msdeaot_tracker import TrackerError

from .requirements import check_experiments, require_toolkit, toolkit_version
from .workspace import parse_interactions

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PERCENT = re.compile(r"\s*(\d+) %\s*")
_LOG_FILE = re.compile(r"Tracker output written to file: (.*)")
_LOG_LINES = 15

Progress = Callable[[float], None]


class ToolkitError(TrackerError):
    """vot-toolkit, or a tracker in it, did not do what it was asked to; `log` is the end of what it wrote."""

    def __init__(self, message: str, log: Sequence[str]) -> None:
        super().__init__(message)
        self.log = "\n".join(log[-_LOG_LINES:])


def evaluate(workspace: Path, tracker: str, *, progress: Progress | None = None) -> None:
    """`vot evaluate`: all experiments of the workspace's stack with one tracker.

    progress: called with the share of the current experiment that is done, in [0, 1]; the next one begins anew.
    Raises ToolkitError when the tracker crashed, with the tracker's log, or when results are missing; ImportError when
    the toolkit is missing, or of a version that crashes in one of the experiments.
    """
    check_experiments(toolkit_version(), _read_stack(workspace))
    output = _vot(["evaluate", tracker], workspace, progress)
    interrupted = [line for line in output if "Evaluation interrupted" in line]
    if interrupted:
        raise ToolkitError(f"vot evaluate {tracker}: {interrupted[-1]}", _tracker_log(output))
    missing = [name for name in expected_results(workspace) if not _has_result(workspace, tracker, name)]
    if missing:
        raise ToolkitError(f"vot evaluate {tracker}: no results for {', '.join(missing)}", output)


def analyse(workspace: Path, trackers: Sequence[str], *, name: str, progress: Progress | None = None) -> dict[str, Any]:
    """`vot analysis`: {experiment: {analysis name: [result of each tracker]}}, anew from the results on disk."""
    report = workspace / "analysis" / f"{name}.json"
    report.unlink(missing_ok=True)
    shutil.rmtree(workspace / "cache" / "analysis", ignore_errors=True)
    output = _vot(["analysis", "--format", "json", "--name", name, *trackers], workspace, progress)
    if not report.is_file():
        raise ToolkitError("vot analysis wrote no report", output)
    experiments = json.loads(report.read_text(encoding="utf-8"))["results"]
    return {
        experiment: {
            analysis["name"]: result
            for analysis, result in zip(data["parameters"]["analyses"], data["results"], strict=True)
        }
        for experiment, data in experiments.items()
    }


def expected_results(workspace: Path) -> Iterator[str]:
    """`experiment/sequence/run` of every run that the workspace's stack asks for, with one object per sequence."""
    experiments = _read_stack(workspace)
    sequences = workspace / "sequences"
    for sequence in (sequences / "list.txt").read_text(encoding="utf-8").splitlines():
        for name, experiment in experiments.items():
            runs = _expected_runs(sequences / sequence, experiment)
            yield from (f"{name}/{sequence}/{sequence}_{run}" for run in runs)


def _read_stack(workspace: Path) -> dict[str, dict[str, Any]]:
    """The experiments of the workspace's stack, by name."""
    import yaml  # comes with the toolkit

    return yaml.safe_load((workspace / "stack.yaml").read_text(encoding="utf-8"))["experiments"]


def _expected_runs(sequence: Path, experiment: dict[str, Any]) -> list[str]:
    kind = experiment["type"].rpartition(".")[2].lower()  # MultiStart and so on of vot_experiments, by dotted path
    if kind == "multistart":
        anchors = sequence / "anchor.value"
        values = anchors.read_text(encoding="utf-8").split() if anchors.is_file() else []
        return [f"{index:08d}" for index, value in enumerate(values) if float(value)]
    if kind == "handobject":
        lines = (sequence / "sequence").read_text(encoding="utf-8").splitlines()
        properties = dict(line.split("=", 1) for line in lines)
        spans = parse_interactions(properties.get("interactions", ""))
        return [f"{first:08d}_{last:08d}_{hand}" for first, last, hand in spans]
    # After three equal runs the toolkit repeats no more.
    return [f"{repetition:03d}" for repetition in range(1, min(experiment.get("repetitions", 1), 3) + 1)]


def _has_result(workspace: Path, tracker: str, name: str) -> bool:
    stem = workspace / "results" / tracker / name
    return any(stem.with_name(stem.name + suffix).is_file() for suffix in (".bin", ".txt"))


def _vot(arguments: Sequence[str], workspace: Path, progress: Progress | None) -> list[str]:
    """Run a command in the workspace and return the lines it wrote, without colours and percentages."""
    require_toolkit()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VOT_")}  # its settings
    lines = []
    with subprocess.Popen(
        [sys.executable, "-m", "vot", *arguments],
        cwd=workspace,
        env=environment | {"PYTHONUNBUFFERED": "1", "MPLBACKEND": "Agg"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as process:
        for raw in process.stdout:
            line = _COLOUR.sub("", raw).rstrip()
            percent = _PERCENT.fullmatch(line)
            if not percent:
                lines.append(line)
            elif progress:
                progress(int(percent[1]) / 100)
    if process.returncode:
        raise ToolkitError(f"vot {arguments[0]} failed: {lines[-1] if lines else process.returncode}", lines)
    return lines


def _tracker_log(output: Sequence[str]) -> list[str]:
    """What the crashed tracker wrote, without its conversation with the toolkit."""
    paths = [match[1] for line in output if (match := _LOG_FILE.search(line))]
    if not paths:
        return list(output)
    text = Path(paths[-1]).read_text(encoding="utf-8", errors="replace")
    return [line for line in text.splitlines() if not line.startswith("@@TRAX:")]
