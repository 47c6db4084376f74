"""From sequences to runs, jobs and what a tracker is shown."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msdeaot_tracker.data.datasets.box_sequences import Anchor, BoxSequence, Interaction, read_dataset
from msdeaot_tracker.evaluation import PROTOCOLS, list_jobs, run_job, shard_jobs
from msdeaot_tracker.evaluation.realtime import run_realtime
from msdeaot_tracker.types import Box, FrameResult, InputError

GOLDEN = Path(__file__).parent / "data" / "trek150"


def sequence(length: int = 6, *, absent: tuple[int, ...] = (), frames: bool = True, **fields) -> BoxSequence:
    boxes = np.array([[10.0 + i, 5, 20, 10] for i in range(length)])
    boxes[list(absent)] = np.nan
    paths = tuple(Path(f"{i}.jpg") for i in range(length)) if frames else ()
    return BoxSequence("s", paths, boxes, **fields)


# Runs


def test_runs_of_the_invented_sequences_are_those_of_the_toolkit():
    """Names and lengths of every file that the public toolkit was given."""
    sequences = read_dataset("trek150", GOLDEN / "dataset")
    for protocol, plan in PROTOCOLS.items():
        runs = {run.name: len(run.frames) for each in sequences for run in plan(each)}
        files = (GOLDEN / "results" / "TREK-150" / "steady" / protocol).glob("*.txt")
        assert runs == {path.stem: len(path.read_text().splitlines()) for path in files}


def test_backward_runs_go_back():
    (forward, backward) = PROTOCOLS["mse"](sequence(anchors=(Anchor(2, False), Anchor(3, True))))
    assert (forward.name, list(forward.frames)) == ("s-anchor-2", [2, 3, 4, 5])
    assert (backward.name, list(backward.frames)) == ("s-anchor-3", [3, 2, 1, 0])


def test_an_interaction_includes_its_last_frame():
    (run,) = PROTOCOLS["hoi"](sequence(interactions=(Interaction(1, 3, 2),)))
    assert (run.name, list(run.frames)) == ("s-hoi-1-3-2", [1, 2, 3])


def test_two_directions_from_one_frame_have_one_name():
    both = sequence(anchors=(Anchor(0, False), Anchor(3, False), Anchor(3, True)))
    with pytest.raises(InputError, match=r"forward and a backward run begin at frame 3; .*s-anchor-3"):
        PROTOCOLS["mse"](both)
    jobs, left_out = list_jobs([both, sequence(anchors=(Anchor(0, False),))], ["mse"])
    assert len(jobs) == 1 and len(left_out) == 1 and "frame 3" in left_out[0]


# Jobs


def test_jobs_name_what_they_leave_out():
    sequences = [
        sequence(absent=(2,), anchors=(Anchor(0, False), Anchor(2, True), Anchor(5, True))),
        sequence(frames=False),
        sequence(absent=(0,)),
        BoxSequence("broken", (), np.empty((0, 4))),
    ]
    jobs, left_out = list_jobs(sequences, ["ope", "mse", "hoi"])
    assert [(job.protocol, job.run) for job in jobs] == [("ope", "s"), ("mse", "s-anchor-0"), ("mse", "s-anchor-5")]
    assert [path.name for path in jobs[2].frames] == ["5.jpg", "4.jpg", "3.jpg", "2.jpg", "1.jpg", "0.jpg"]
    assert jobs[2].box == (15, 5, 20, 10)
    reasons = ["no frames", "frame, 0", "truth cannot be read", "frame, 2", "no anchors", "no anchors", "read", "read"]
    assert len(left_out) == len(reasons)
    assert all(reason in line for reason, line in zip(reasons, left_out, strict=True)), left_out
    with pytest.raises(InputError, match="'OPE' is none of ope"):
        list_jobs(sequences, ["OPE"])


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 30])
def test_shards_are_a_partition(start, count):
    sequences = read_dataset("trek150", GOLDEN / "dataset")
    whole = [BoxSequence(s.name, (Path("f"),) * len(s), s.boxes, s.anchors, s.interactions) for s in sequences]
    jobs, _ = list_jobs(whole, ["ope", "mse", "hoi"])
    shards = [shard_jobs(jobs, index, count) for index in range(start, start + count)]
    assert sorted(job.run for shard in shards for job in shard) == sorted(job.run for job in jobs)
    if count == 3:
        lengths = [sum(len(job.frames) for job in shard) for shard in shards]
        assert max(lengths) - min(lengths) <= max(len(job.frames) for job in jobs)


class Recorder:
    """Answers with a box for each frame's grey level, or with none, and remembers what it was asked."""

    def __init__(self, absent: tuple[int, ...] = ()):
        self.absent, self.seen = absent, []

    def initialize(self, image, targets):
        self.targets, self.seen = dict(targets), []
        return self.track(image)

    def track(self, image):
        level = int(image[0, 0, 0])
        self.seen.append(level)
        box = None if level in self.absent else Box(level, 0, 1, 1)
        return FrameResult(0, np.zeros(image.shape[:2], np.int32), {1: box}, {1: 1.0})


@pytest.fixture
def pictures(tmp_path) -> tuple[Path, ...]:
    paths = tuple(tmp_path / f"{index}.png" for index in range(6))
    for index, path in enumerate(paths):
        Image.new("RGB", (4, 4), (10 * index,) * 3).save(path)
    return paths


def test_a_run_follows_its_frames_from_the_truth(pictures):
    seq = sequence(anchors=(Anchor(3, True),))
    seq = BoxSequence("s", pictures, seq.boxes, seq.anchors)
    (job,), _ = list_jobs([seq], ["mse"])
    tracker, frames = Recorder(absent=(10,)), []
    result = run_job(tracker, pickle.loads(pickle.dumps(job)), progress=lambda: frames.append(1))
    assert tracker.targets == {1: Box(13, 5, 20, 10)} and tracker.seen == [30, 20, 10, 0] and len(frames) == 4
    # The given box, what the tracker says, its last box where it says nothing, what it says.
    assert result.boxes.tolist() == [[13, 5, 20, 10], [20, 0, 1, 1], [20, 0, 1, 1], [0, 0, 1, 1]]
    assert run_job(Recorder(absent=(20,)), job).boxes[1].tolist() == [13, 5, 20, 10]
    assert result.seconds.shape == (4,) and (result.seconds > 0).all()


def test_a_frame_that_is_gone_is_named(pictures):
    (job,), _ = list_jobs([BoxSequence("s", pictures, sequence().boxes)], ["ope"])
    pictures[4].unlink()
    with pytest.raises(InputError, match=r"4\.png does not exist"):
        run_job(Recorder(), job)


# Real time


class Clock:
    """Stands still but for what a tracker takes."""

    now = 0.0

    def __call__(self):
        return self.now


def answers(duration, frames: int = 24) -> list[int]:
    """What a tracker that answers its n-th frame with n (the first with 1) is credited with, frame by frame."""
    clock, calls = Clock(), []

    def step(image):
        clock.now += duration(len(calls)) / 60
        calls.append(image)
        return Box(len(calls), 0, 1, 1)

    boxes = run_realtime(step, step, range(frames), Box(1, 0, 1, 1), fps=60, clock=clock)
    return [int(box.x) for box in boxes]


# Recorded from the public toolkit (ExperimentTREK150.run_rte) with its clock replaced by the same one.
@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (lambda n: 0.3, list(range(1, 25))),
        (lambda n: 0.4, [1, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14, 16, 16, 18, 18, 20, 20, 22, 22, 24]),
        (lambda n: 2.5, [1, 1, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 9, 9]),
        (
            lambda n: ((7 * n + 3) % 11) / 11 * 2,
            [1, 1, 2, 3, 4, 5, 6, 7, 8, 10, 10, 12, 11, 12, 13, 13, 15, 15, 15, 16, 18, 18, 19, 21],
        ),
        (lambda n: 0.0, [1, 2, 3, 4, 5, 6] + [5] * 18),
    ],
    ids=["fast", "in time but late", "slow", "uneven", "no time at all"],
)
def test_real_time_is_the_toolkits(duration, expected):
    assert answers(duration) == expected


def test_a_real_time_job_is_run_on_the_clock(pictures):
    (job,), _ = list_jobs([BoxSequence("s", pictures, sequence().boxes, fps=1e-3)], ["rte"])
    tracker = Recorder()
    result = run_job(tracker, job)  # a frame every thousand seconds
    assert tracker.seen == [0, 10, 20, 30, 40, 50] and not len(result.seconds)
    assert result.boxes[:, 0].tolist() == [10, 10, 20, 30, 40, 50]
    (job,), _ = list_jobs([BoxSequence("s", pictures, sequence().boxes, fps=1e9)], ["rte"])
    assert run_job(tracker, job).boxes[:, 0].tolist() == [10] * 6 and tracker.seen == [0]
