"""Evaluations shared by processes or Ray actors: whoever dies, the results are those of one process."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msdeaot_tracker.data.datasets.box_sequences import read_dataset
from msdeaot_tracker.evaluation import do_jobs, do_jobs_in_processes, do_jobs_with_ray, list_jobs
from msdeaot_tracker.types import Box, FrameResult, InputError, TrackerError

LENGTH = 12  # frames of each sequence
RUNS = 9
WIDTH = {"a": 5, "b": 6, "c": 7}  # of the boxes
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows SIGTERM cannot be caught either


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Three sequences in TREK-150's layout, with three runs each: of ope, and of mse from both ends."""
    noise = np.random.default_rng(0)
    for name in "abc":
        folder = tmp_path / "data" / name
        (folder / "img").mkdir(parents=True)
        for index in range(1, LENGTH + 1):
            image = noise.integers(0, 255, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / "img" / f"{index:05d}.png")
        (folder / "groundtruth_rect.txt").write_text(f"1,2,{WIDTH[name]},6\n" * LENGTH)
        (folder / "anchors.txt").write_text(f"0,0\n{LENGTH - 1},1\n")
    return tmp_path / "data"


@pytest.fixture
def jobs(dataset):
    jobs, left_out = list_jobs(read_dataset("trek150", dataset), ["ope", "mse"])
    assert len(jobs) == RUNS and not left_out
    return jobs


def results(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "times")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


class Tracker:
    """Each box depends on all pictures of the run so far."""

    def __init__(self, log: Path, pause: float = 0):
        self.pause = pause
        log.mkdir(exist_ok=True)
        (log / str(os.getpid())).touch()

    def initialize(self, image, targets):
        ((self.id, self.box),) = targets.items()
        self.frame = 0
        return self.result(image)

    def track(self, image):
        time.sleep(self.pause)
        self.frame += 1
        self.box = Box(0.9 * self.box.x + 0.01 * image.mean(), *self.box[1:])
        return self.result(image)

    def result(self, image):
        return FrameResult(self.frame, np.zeros(image.shape[:2], np.int32), {self.id: self.box}, {self.id: 1.0})


class Dying(Tracker):
    """In the middle of runs that begin with the box of sequence "a", as long as there are fewer marks than deaths."""

    def __init__(self, log: Path, deaths: int, *, by_error: bool = False):
        super().__init__(log)
        self.marks, self.deaths, self.by_error = log.with_name("marks"), deaths, by_error
        self.marks.mkdir(exist_ok=True)

    def track(self, image):
        result = super().track(image)
        marks = len(list(self.marks.iterdir()))
        if self.box.w == WIDTH["a"] and self.frame == 5 and marks < self.deaths:
            (self.marks / str(marks)).touch()
            if self.by_error:
                raise RuntimeError("device-side assert triggered")
            os.kill(os.getpid(), KILL)
        return result


# What other processes are given has to be found by name.


def make(log: Path, place: int) -> Tracker:
    return Tracker(log)


def make_slow(log: Path, place: int) -> Tracker:
    return Tracker(log, pause=0.02)


def make_pair(log: Path, place: int) -> Tracker:
    """Once there are two, so that both have runs to do."""
    tracker = Tracker(log, pause=0.02)
    while len(list(log.iterdir())) < 2:
        time.sleep(0.05)
    return tracker


def make_dying(log: Path, place: int) -> Tracker:
    return Dying(log, 1)


def make_broken(log: Path, place: int) -> Tracker:
    return Dying(log, 100, by_error=True)


def make_none(place: int) -> Tracker:
    raise InputError("no such preset: deepest")


def die(place: int) -> Tracker:
    os._exit(7)


@pytest.fixture
def expected(jobs, tmp_path) -> dict[str, bytes]:
    """The files of one process."""
    assert [reason for _, reason in do_jobs(jobs, make(tmp_path / "one", 0), tmp_path / "whole", "t")] == [None] * RUNS
    files = results(tmp_path / "whole")
    assert len(files) == RUNS and len(set(files.values())) == 6  # a run of ope is one of the two of mse
    return files


def test_a_process_killed_in_the_middle_is_replaced_and_the_results_are_those_of_one_process(jobs, expected, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    frames, killed = [], []

    def disturb():
        frames.append(1)
        if killed:
            return
        if sys.platform != "win32":  # a Ctrl-C reaches all processes of a terminal; what ends them is the first one
            for process in active_children():
                os.kill(process.pid, signal.SIGINT)
        if len(frames) > LENGTH and len(frames) % LENGTH == 5:
            killed.append(active_children()[0].pid)
            os.kill(killed[0], KILL)

    outcomes = list(do_jobs_in_processes(jobs, partial(make_pair, log), out, "t", workers=2, on_frame=disturb))
    assert sorted(job.run for job, _ in outcomes) == sorted(job.run for job in jobs)
    assert [reason for _, reason in outcomes] == [None] * RUNS
    assert results(out) == expected
    assert killed[0] in {int(path.name) for path in log.iterdir()}
    assert len(frames) > RUNS * LENGTH  # what was lost was done again
    assert not active_children()


def test_a_run_that_its_processes_die_of_is_named_and_the_others_are_done(jobs, expected, tmp_path):
    pair = [job for job in jobs if job.run in ("a", "c")]
    log, out = tmp_path / "log", tmp_path / "out"
    outcomes = do_jobs_in_processes(pair, partial(make_broken, log), out, "t", workers=1, attempts=2)
    reasons = {job.run: reason for job, reason in outcomes}
    assert reasons == {"a": "its process died 2 times: exit status 1", "c": None}
    assert results(out) == {"t/ope/c.txt": expected["t/ope/c.txt"]}
    assert len(list(log.iterdir())) == 3


def test_a_run_that_fails_is_named_and_its_process_goes_on(dataset, jobs, tmp_path):
    (dataset / "a" / "img" / "00004.png").write_bytes(b"cut")
    pair = [job for job in jobs if job.run in ("a", "c")]
    log = tmp_path / "log"
    outcomes = do_jobs_in_processes(pair, partial(make, log), tmp_path / "out", "t", workers=1)
    (a, reason), (c, nothing) = outcomes
    assert (a.run, c.run) == ("a", "c") and "00004.png" in reason and nothing is None
    assert list(results(tmp_path / "out")) == ["t/ope/c.txt"] and len(list(log.iterdir())) == 1


def test_what_keeps_a_tracker_from_loading_is_said_once(jobs, tmp_path):
    with pytest.raises(InputError, match="no such preset: deepest"):
        list(do_jobs_in_processes(jobs, make_none, tmp_path, "t", workers=1))
    with pytest.raises(TrackerError, match="died 1 times before it could work: exit status 7"):
        list(do_jobs_in_processes(jobs, die, tmp_path, "t", workers=1, attempts=1))
    assert not active_children()


def test_an_interrupt_loses_the_run_in_flight(jobs, expected, tmp_path):
    frames = iter(range(1000))

    def interrupt():
        if next(frames) == LENGTH + 3:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    outcomes = do_jobs_in_processes(
        jobs[:3], partial(make_slow, tmp_path / "log"), out, "t", workers=1, on_frame=interrupt
    )
    with pytest.raises(KeyboardInterrupt):
        list(outcomes)
    assert not active_children()
    assert results(out) == {"t/ope/a.txt": expected["t/ope/a.txt"]}


@pytest.mark.skipif(sys.platform == "win32", reason="the pipes of a killed process end otherwise there")
def test_workers_end_when_their_parent_is_killed(dataset, tmp_path):
    script = tmp_path / "evaluate.py"
    script.write_text(
        "import sys\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "from test_workers import make_slow, list_jobs, read_dataset, do_jobs_in_processes\n"
        "if __name__ == '__main__':\n"
        "    data, out = map(Path, sys.argv[1:])\n"
        "    jobs = 100 * list_jobs(read_dataset('trek150', data), ['ope'])[0]\n"
        "    for _ in do_jobs_in_processes(jobs, partial(make_slow, out.with_name('log')), out, 't', workers=1):\n"
        "        print('done', flush=True)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, script, dataset, tmp_path / "out"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert parent.stdout.readline() == b"done\n"
    parent.kill()
    before = time.monotonic()
    parent.communicate(timeout=60)  # the pipe ends when the last process that holds it is gone
    assert time.monotonic() - before < 30  # 300 runs of 0.24 seconds were to come


def test_the_command_gives_the_same_files(dataset, tmp_path, capsys):
    from msdeaot_tracker.cli.main import main

    for name in "bc":
        shutil.rmtree(dataset / name)
    command = ["evaluate", str(dataset), "--dataset", "trek150", "--protocol", "ope", "--tracker", "static"]
    assert main([*command, "--out", str(tmp_path / "one")]) == 0
    assert main([*command, "--out", str(tmp_path / "two"), "--workers", "2"]) == 0
    assert results(tmp_path / "two") == results(tmp_path / "one") and len(results(tmp_path / "one")) == 2
    assert capsys.readouterr().out.count("1 runs done, 0 were finished before, 0 failed") == 2
    with pytest.raises(SystemExit):
        main([*command, "--out", str(tmp_path), "--workers", "0"])
    assert "'0' is not a whole number above 0" in capsys.readouterr().err


def test_windows_are_the_same_in_processes_and_in_what_is_resumed(dataset, tmp_path, capsys):
    from msdeaot_tracker.cli.main import main

    shutil.rmtree(dataset / "c")
    for path in sorted(dataset.glob("?/img/*.png")):  # a small square on its way over the noise
        image = np.array(Image.open(path).resize((160, 120)))
        step = 5 * int(path.stem)
        image[40:50, step : step + 10] = (255, 0, 0)
        Image.fromarray(image).save(path)
    for name in "ab":
        lines = (f"{5 * index},40,10,10\n" for index in range(1, LENGTH + 1))
        (dataset / name / "groundtruth_rect.txt").write_text("".join(lines))
    command = ["evaluate", str(dataset), "--dataset", "trek150", "--protocol", "ope,mse", "--device", "cpu"]
    command += ["--preset", "msdeaot-small", "--initializer", "box", "--set", "tracker.view=auto"]
    command += ["--set", "tracker.window.edge=97"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*command, "--out", str(one)]) == 0
    expected = results(one)
    runs = sorted(path for path in expected if path.endswith(".txt"))
    assert len(runs) == 6 and len({expected[path] for path in runs}) > 2
    assert main([*command, "--out", str(two), "--workers", "2"]) == 0
    assert results(two) == expected
    for path in runs[::2]:
        (one / path).unlink()
    capsys.readouterr()
    assert main([*command, "--out", str(one)]) == 0
    assert "3 runs done, 3 were finished before" in capsys.readouterr().out
    assert results(one) == expected


def test_real_time_is_not_measured_by_crowds_unsaid(dataset, tmp_path, caplog):
    from msdeaot_tracker.cli.main import main

    command = ["evaluate", str(dataset), "--dataset", "trek150", "--protocol", "rte", "--tracker", "static"]
    command += ["--out", str(tmp_path / "out")]
    assert main(command) == 0 and not caplog.text
    with caplog.at_level(logging.WARNING):
        assert main([*command, "--workers", "99"]) == 0  # all runs are done, so no process begins
    assert "slow each other down" in caplog.text


def test_ray_actors(jobs, expected, tmp_path):
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors cannot import a test
    log, out = tmp_path / "log", tmp_path / "out"
    outcomes = list(do_jobs_with_ray(jobs, partial(make_dying, log), out, "t", address="local", actors=2))
    assert sorted(job.run for job, _ in outcomes) == sorted(job.run for job in jobs)
    assert all(reason is None for _, reason in outcomes)
    assert results(out) == expected
    assert len(list(log.iterdir())) == 3
    assert not ray.is_initialized()


def test_no_ray_cluster(jobs, tmp_path):
    pytest.importorskip("ray", reason="needs the extra ray")
    with pytest.raises(TrackerError, match="--ray auto: Could not find"):
        list(do_jobs_with_ray(jobs, partial(make, tmp_path), tmp_path, "t"))


def test_ray_is_asked_for_by_name(jobs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"msdeaot-tracker\[ray\]"):
        list(do_jobs_with_ray(jobs, partial(make, tmp_path), tmp_path, "t"))
