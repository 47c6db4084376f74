"""SIGKILL at random moments: what was finished stays and can be read, and the same command goes on."""

import json
import shutil
import sys
import time
from pathlib import Path

import killing
import numpy as np
import pytest
import torch

from msdeaot_tracker.checkpoints import save_checkpoint
from msdeaot_tracker.config import find_preset
from msdeaot_tracker.data.mask_records import KEPT, read_records
from msdeaot_tracker.images import read_mask, write_image
from msdeaot_tracker.models import MSDeAOT
from msdeaot_tracker.video import open_source

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a fork server")

KILLS = 30
FRAMES, HEIGHT, WIDTH = 12, 48, 64


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def frame(index: int) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 60, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    image[12:28, 10 + index : 30 + index] += np.array([180, 90, 0], np.uint8)
    return image


def killed_often(arguments: list, out: Path, check) -> int:
    """Run the command until it was killed KILLS times, from nothing or on what a killed run left; then to its end.

    check: of the folder after each kill. How often it was killed after it had begun the folder.
    """
    killing.run_to_end(["registry"])  # loads the packages
    shares = iter(killing.moments(3 * KILLS, 1.0))
    shutil.rmtree(out, ignore_errors=True)
    duration = killing.run_to_end(arguments)
    killed = begun = 0
    while killed < KILLS:
        if fresh := killed % 3 == 0:
            shutil.rmtree(out, ignore_errors=True)
        start = time.monotonic()
        code = killing.run_killed(arguments, next(shares) * duration)
        assert code in (0, killing.SIGKILLED), "it does not go on where it was killed"
        killed += code != 0
        if code == 0 and fresh:  # done before its moment: the machine has become faster
            duration = time.monotonic() - start
        if out.exists():
            check(out)
            begun += code != 0
    killing.run_to_end(arguments)
    return begun


def check_track(out: Path) -> None:
    for path in (out / "masks").glob("*.png"):
        assert read_mask(path).shape == (HEIGHT, WIDTH)
    lines = (out / "boxes.txt").read_text().splitlines() if (out / "boxes.txt").exists() else []
    assert all(len([float(side) for side in line.split(",")]) == 4 for line in lines)
    if (out / "result.json").exists():
        assert json.loads((out / "result.json").read_text())["status"] in ("running", "complete")
    frames = 0
    if (out / "overlay.mp4").exists() and len(lines) > 2:
        frames = len(list(open_source(out / "overlay.mp4")))
    assert frames >= len(lines) - 2


def test_track(tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "random.safetensors"
    save_checkpoint(weights, MSDeAOT(find_preset("msdeaot-small")))
    (tmp_path / "frames").mkdir()
    for index in range(FRAMES):
        write_image(tmp_path / "frames" / f"{index}.png", frame(index))
    (tmp_path / "mine.txt").write_text("the user's own")
    out = tmp_path / "out"
    arguments = ["track", tmp_path / "frames", "--box", "10,12,20,16", "--initializer", "box", "--weights", weights]
    assert killed_often([*arguments, "--device", "cpu", "--out", out], out, check_track) > KILLS // 3
    assert json.loads((out / "result.json").read_text())["status"] == "complete"
    assert sorted(path.name for path in out.iterdir()) == [
        *("boxes.txt", "frames.jsonl", "masks", "overlay.mp4", "result.json")
    ]
    assert sorted(path.name for path in (out / "masks").iterdir()) == [f"{i:08d}.png" for i in range(FRAMES)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "mine.txt", "out", "random.safetensors"]


def check_masks(out: Path) -> None:
    for path in (out / "masks").glob("*.csv"):
        for record in read_records(path):
            if record.status == KEPT:
                assert read_mask(out / "Annotations" / path.stem / f"{record.frame}.png").shape == (HEIGHT, WIDTH)


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_masks(tmp_path):
    for video in ("cat-1", "cat-2", "cat-3"):
        folder = tmp_path / "lasot" / "cat" / video
        (folder / "img").mkdir(parents=True)
        for index in range(FRAMES):
            write_image(folder / "img" / f"{index + 1:08d}.jpg", frame(index))
        (folder / "groundtruth.txt").write_text("".join(f"{10 + index},12,20,16\n" for index in range(FRAMES)))
        for name in ("full_occlusion.txt", "out_of_view.txt"):
            (folder / name).write_text(",".join(["0"] * FRAMES))
    arguments = ["masks", "--boxes", f"lasot:{tmp_path / 'lasot'}", "--initializer", "grabcut", "--sheet", "0"]
    expected = tmp_path / "expected"
    killing.run_to_end([*arguments, "--out", expected])
    out = tmp_path / "out"
    assert killed_often([*arguments, "--out", out], out, check_masks) > KILLS // 3
    assert files(out) == files(expected)
    assert len([name for name in files(out) if name.startswith("Annotations")]) > 2 * FRAMES
