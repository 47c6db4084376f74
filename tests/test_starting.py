"""What starts without torch: help texts, the commands that only read files, and most of the package."""

import json
import os
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

import msdeaot_tracker
from msdeaot_tracker import checkpoints, threads
from msdeaot_tracker.cli.main import COMMANDS
from msdeaot_tracker.cli.results import ResultWriter
from msdeaot_tracker.images import write_image
from msdeaot_tracker.types import Box, FrameResult
from msdeaot_tracker.video import Frame

GOLDEN = Path(__file__).parent / "data" / "trek150"
# The modules of the package whose import loads torch; no other's may.
MAY_LOAD_TORCH = (
    *(
        "dense_readout",
        "device",
        "groups",
        "loading",
        "look",
        "memory",
        "onnx_export",
        "passes",
        "enlargement",
        "readout",
        "tracker",
        "views",
        "whole_video",
    ),
    *("models", "models.*", "training.*"),
    *("checkpoints.convert", "checkpoints.imagenet", "checkpoints.io", "checkpoints.state_dicts"),
    *("cli.train_*", "cli.validation"),
    *("data.batches", "data.dataset_check", "data.masks.workers", "data.mixing"),
    *("initializers.alpha_refine*", "initializers.box_prompt", "initializers.lite*", "initializers.sam*"),
)
# In a process in which `import torch` fails, and which prints a list.
WITHOUT_TORCH = """
import contextlib, io, json, pkgutil, sys
from importlib import import_module
sys.modules["torch"] = None
import msdeaot_tracker
from msdeaot_tracker.cli.main import main

def failing_modules():
    for module in pkgutil.walk_packages(msdeaot_tracker.__path__, "msdeaot_tracker.", onerror=lambda name: None):
        try:
            import_module(module.name) if not module.name.endswith("__main__") else None
        except ImportError as error:
            if "gradio" in str(error):  # not installed
                continue
            assert "torch" in str(error), error
            yield module.name.removeprefix("msdeaot_tracker.")

def failing_commands(commands):
    for command in commands:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                code = main(command)
            except SystemExit as exit:
                code = exit.code
        if code:
            yield command, errors.getvalue()

print(json.dumps(list(%s)))
"""


def run_without_torch(what: str) -> list:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH % what], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_only_the_listed_modules_load_torch():
    loading = run_without_torch("failing_modules()")
    strangers = [name for name in loading if not any(fnmatch(name, listed) for listed in MAY_LOAD_TORCH)]
    assert not strangers
    assert [listed for listed in MAY_LOAD_TORCH if not any(fnmatch(name, listed) for name in loading)] in (
        [],
        ["models.*"],  # not looked for below a package that does not load
    )


def test_help_texts_and_commands_that_only_read_files_do_without_torch(tmp_path):
    dataset = [str(GOLDEN / "dataset"), "--dataset", "trek150"]
    results = ["--results", str(GOLDEN / "results")]
    given = {1: Box(0, 0, 1, 1)}
    with ResultWriter(tmp_path / "run", {"source": "clip.mp4", "fps": 20}, given, None, overlay=False) as writer:
        result = FrameResult(0, np.ones((1, 1), np.int32), given, {1: 1.0})
        writer.write(Frame(0, np.zeros((1, 1, 3), np.uint8), 0.0, ""), result, 0.1)
    commands = [
        ["--version"],
        ["--help"],
        *([command, "--help"] for command in COMMANDS),
        ["data", "check", "--help"],
        ["weights", "convert", "--help"],
        ["score", *dataset, *results, "--protocol", "ope"],
        ["report", *dataset, *results, "--out", str(tmp_path / "report.html")],
        ["export-challenge", *dataset, *results, "--tracker", "steady", "--out", str(tmp_path / "submission.zip")],
        ["weights", "list"],
        ["weights", "info", "r50-deaot-l"],
        ["weights", "verify", "--dir", str(tmp_path)],
        ["registry"],
        ["data", "list"],
        ["export", str(tmp_path / "run"), "--format", "csv,jsonl,mot,yolo,davis"],
    ]
    assert run_without_torch(f"failing_commands({commands!r})") == []
    (failed,) = run_without_torch("failing_commands([['train', '--list']])")
    assert "torch" in failed[1]  # which shows that a command that needs it is found out


def test_loading_torch_is_left_to_the_first_use():
    code = (
        "import sys, msdeaot_tracker as m; assert 'torch' not in sys.modules; m.Tracker; assert 'torch' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize("package", [msdeaot_tracker, checkpoints], ids=lambda package: package.__name__)
def test_all_public_names_are_found(package):
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="'no_such_name'"):
        _ = package.no_such_name


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [({}, ("500", "2000")), ({"GOMP_SPINCOUNT": "77"}, ("77",)), ({"OMP_WAIT_POLICY": "passive"}, ("0",))],
)
@pytest.mark.skipif(sys.platform != "linux", reason="torch brings GNU's OpenMP on Linux")
def test_waiting_threads_spin_as_the_user_says_or_else_briefly(chosen, expected):
    """Asked of the library itself, which tells its settings when torch loads it."""
    code = "from msdeaot_tracker.cli.main import main; main(['registry']); import torch"
    inherited = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")}
    environment = {**inherited, "OMP_DISPLAY_ENV": "verbose", "OMP_NUM_THREADS": "1", **chosen}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert any(f"GOMP_SPINCOUNT = '{rounds}'" in done.stderr for rounds in expected)


@pytest.mark.parametrize(
    ("load", "rounds"),
    [
        ("0.10 0.20 0.30 1/84 1234", "2000"),  # this process runs, and no other
        ("0.10 0.20 0.30 9/84 1234", "500"),
        ("something else", "500"),
        (None, "500"),
    ],
)
def test_threads_that_wait_spin_for_less_beside_others(load, rounds, monkeypatch, tmp_path):
    for name in threads._OWN:
        monkeypatch.setenv(name, "put back later")
        monkeypatch.delenv(name)
    monkeypatch.setattr(threads, "_LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 4)
    if load is not None:
        (tmp_path / "loadavg").write_text(load)
    threads.spin_briefly()
    assert os.environ["GOMP_SPINCOUNT"] == rounds


@pytest.mark.skipif(not Path("/proc/loadavg").exists(), reason="the system does not tell what runs")
def test_processes_that_compute_are_counted():
    code = "print('on', flush=True)\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)]
    try:
        for other in others:
            other.stdout.readline()
        assert threads._others() >= 3
    finally:
        for other in others:
            other.kill()
            other.communicate()


@pytest.mark.parametrize("adapter", ["vot", "vot_python", "got10k", "pytracking"])
def test_adapters_leave_torch_to_what_sets_how_threads_wait(adapter):
    code = f"import sys, msdeaot_integration.{adapter}; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# What tracking with the default preset adds to what `import torch` loads: each takes memory and time to start.
MAY_BE_LOADED = {"PIL", "av", "cv2", "defusedxml", "msdeaot_tracker", "numpy", "platformdirs", "safetensors", "tqdm"}
TRACKING = """
import sys, torch
of_torch = set(sys.modules)
from msdeaot_tracker.cli.main import main
code = main(sys.argv[1:])
print(*sorted(set(sys.modules) - of_torch))
sys.exit(code)
"""


def test_tracking_with_the_default_preset_loads_what_is_listed(tmp_path):
    (tmp_path / "clip").mkdir()
    for index in range(2):
        image = np.random.default_rng(index).integers(0, 256, (64, 96, 3), np.uint8)
        write_image(tmp_path / f"clip/{index}.png", image)
    command = ["track", str(tmp_path / "clip"), "--box", "20,10,50,40", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", TRACKING, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.splitlines()[-1].split()
    assert "msdeaot_tracker.tracker" in loaded
    packages = {name.partition(".")[0] for name in loaded if name[0] != "_"} - sys.stdlib_module_names
    assert not packages - MAY_BE_LOADED - {"torch"}
    assert not [name for name in loaded if name.startswith(("torch._dynamo", "torch._inductor"))]
