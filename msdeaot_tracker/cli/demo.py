"""`msdeaot demo`: the plugin under the real vot-toolkit, on videos whose truth is known."""

from __future__ import annotations

import argparse
import configparser
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..data.procedural import Clip, ClipConfig, generate_clip
from ..geometry import mask_to_box
from ..images import read_image
from ..overlay import OverlayWriter
from ..types import FrameResult, InputError
from ..video import list_frames

FPS = 20
ANCHORS = 3  # of the multi-start experiment, per sequence
# Calmer than the clips for training: one object that is seen well at first, slow motion, little that hides it.
CLIPS = ClipConfig(
    height=240,
    width=320,
    frames=40,
    max_objects=1,
    max_distractors=2,
    object_size=(0.25, 0.6),
    min_area=0.03,
    min_visibility=0.9,
    vigour=(0.2, 0.4),
    absence_probability=0,
    screen_probability=0,
    occluder_probability=0.2,
    camouflage_probability=0.1,
    companion_probability=0,
    turning_probability=0.3,
)
BASELINE = "StaticBox"
REGISTRY = "trackers.ini"
OVERLAY, PLOT = "overlay.mp4", "success.png"
BAR = "{desc:24}|{bar:30}| {percentage:3.0f}% [{elapsed}]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Makes videos with known truth, lets the real vot-toolkit run this tracker and a static-box "
        "baseline on them, and writes a table, a success plot and a video of the result. Minutes on a CPU."
    )
    parser.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="folder to write to (demo)")
    parser.add_argument("--sequences", type=int, default=3, metavar="N", help="videos to make (3)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (auto)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from msdeaot_integration.requirements import require_toolkit
    from msdeaot_integration.toolkit import ToolkitError

    from ..device import pick_device

    device = pick_device(args.device)
    print(f"device: {device}", flush=True)
    require_toolkit()
    if args.sequences < 1:
        raise InputError(f"--sequences {args.sequences}: at least one is needed")
    workspace = _clean_workspace(args.out)
    plugin, *_ = _write_registry(workspace / REGISTRY, str(device))
    try:
        _evaluate(workspace, (plugin, BASELINE), args.sequences)
    except ToolkitError as error:
        print(error.log, file=sys.stderr)
        raise
    return 0


def _evaluate(workspace: Path, trackers: Sequence[str], sequences: int) -> None:
    from msdeaot_integration.toolkit import analyse, evaluate

    out = workspace.parent
    with tqdm(total=sequences + 2 * len(trackers) + 2, bar_format=BAR) as bar:
        bar.set_description_str("making videos")
        names = _make_sequences(workspace, sequences, bar)
        for tracker in trackers:
            bar.set_description_str(f"vot evaluate {tracker}")
            evaluate(workspace, tracker, progress=_Steps(bar, 2))
        bar.set_description_str("vot analysis")
        analysis = analyse(workspace, trackers, name="demo", progress=_Steps(bar, 1))
        bar.set_description_str("drawing")
        video = _write_overlay(out / OVERLAY, workspace, trackers[0], names)
        plot = _write_plot(out / PLOT, trackers, analysis["ope"])
        bar.set_description_str("done")
        bar.update(bar.total - bar.n)
    print(_table(trackers, analysis))
    print(f"video:     {video}\nplot:      {plot}\nworkspace: {workspace}")


class _Steps:
    """Moves the bar by `steps` while the toolkit counts from 0 to 100 % that many times."""

    def __init__(self, bar: tqdm, steps: int) -> None:
        self._bar, self._start, self._steps = bar, bar.n, steps
        self._finished, self._share = 0, 0.0

    def __call__(self, share: float) -> None:
        if share < self._share:
            self._finished += 1
        self._share = share
        self._bar.n = self._start + min(self._finished + share, self._steps)
        self._bar.refresh()


def _clean_workspace(out: Path) -> Path:
    """An empty folder `out/workspace`; only what an earlier demo wrote there is removed."""
    workspace = (out / "workspace").resolve()
    foreign = [out / name for name in (OVERLAY, PLOT) if (out / name).exists()]
    if foreign and not (workspace / REGISTRY).is_file():
        raise InputError(f"--out: {foreign[0]} is not from an earlier demo; choose another folder")
    if not str(workspace).isascii():
        raise InputError(f"--out: vot-trax cannot open files below a folder with other than ASCII letters: {workspace}")
    if (workspace / REGISTRY).is_file():
        shutil.rmtree(workspace)
    try:
        workspace.mkdir(parents=True)
    except FileExistsError:
        raise InputError(f"--out: {workspace} exists and is not a workspace of an earlier demo") from None
    return workspace


def _write_registry(path: Path, device: str) -> list[str]:
    """The shipped registry with this interpreter and device in it; returns the names of its trackers."""
    from msdeaot_integration import registry_path

    registry = configparser.ConfigParser(interpolation=None)
    registry.read(registry_path(), encoding="utf-8")
    plugin = registry[registry.sections()[0]]
    plugin["command"] = f"from {plugin['command']} import run; run(device={device!r})"
    quote = subprocess.list2cmdline if sys.platform == "win32" else shlex.join
    # The toolkit pastes the interpreter into a command line, where a space would end it.
    registry["DEFAULT"]["python"] = quote([sys.executable]).replace("%", "%%")
    with path.open("w", encoding="utf-8") as file:
        registry.write(file)
    return registry.sections()


def _make_sequences(workspace: Path, sequences: int, bar: tqdm) -> list[str]:
    """Writes the videos and the workspace around them; returns the names of the sequences."""
    from msdeaot_integration import stack_path
    from msdeaot_integration.workspace import spread_anchors, write_sequence, write_workspace

    names = [f"procedural{index:02d}" for index in range(sequences)]
    for name, clip in zip(names, _clips_in_sight(), strict=False):
        anchors = spread_anchors([True] * len(clip.frames), ANCHORS)
        write_sequence(workspace / "sequences" / name, clip.frames, clip.labels == 1, anchors=anchors, fps=FPS)
        bar.update(1)
    write_workspace(workspace, names, stack=stack_path("ope_multistart"), registries=[workspace / REGISTRY])
    return names


def _clips_in_sight() -> Iterator[Clip]:
    """The clips, by rising seed, in which at least half of the object stays in sight."""
    for seed in count():
        clip = generate_clip(seed, CLIPS)
        if clip.visibility.min() >= 0.5:
            yield clip


def _write_overlay(path: Path, workspace: Path, tracker: str, sequences: Sequence[str]) -> Path:
    """The toolkit's own record of the one-pass runs, drawn on the frames."""
    with OverlayWriter(path, FPS) as writer:
        for sequence in sequences:
            frames = list_frames(workspace / "sequences" / sequence / "color")
            run = zip(frames, *_read_run(workspace, tracker, sequence), strict=True)
            for index, (frame, region, score) in enumerate(run):
                image = read_image(frame)
                height, width = image.shape[:2]
                labels = region.rasterize((0, 0, width - 1, height - 1)).astype(np.int32)
                writer.write(image, FrameResult(index, labels, {1: mask_to_box(labels > 0)}, {1: score}))
    return path


def _read_run(workspace: Path, tracker: str, sequence: str) -> tuple[list[Any], list[float]]:
    """Region and confidence of each frame; of the first, which is given and not answered, the truth and 1."""
    from vot.region.io import read_trajectory

    run = workspace / "results" / tracker / "ope" / sequence / f"{sequence}_001"
    truth = read_trajectory(str(workspace / "sequences" / sequence / "groundtruth.txt"))
    _, *confidences = run.with_name(f"{run.name}_confidence.value").read_text(encoding="utf-8").splitlines()
    return truth[:1] + read_trajectory(f"{run}.bin")[1:], [1.0, *map(float, confidences)]


def _write_plot(path: Path, trackers: Sequence[str], ope: Mapping[str, Any]) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="overlap threshold", ylabel="success rate", title="One-pass evaluation")
    for tracker, (curve,), (success,) in zip(trackers, ope["success"], ope["accuracy"], strict=True):
        axes.plot(*np.transpose(curve), label=f"{tracker} [{success:.3f}]")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend()
    FigureCanvasAgg(figure).print_png(path)
    return path


def _table(trackers: Sequence[str], analysis: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        f"{'':16}{'OPE':>10}{'multi-start':>33}",
        f"{'tracker':16}{'success':>10}{'accuracy':>11}{'robustness':>13}{'EAO':>9}",
    ]
    for index, tracker in enumerate(trackers):
        success, *_ = analysis["ope"]["accuracy"][index]
        accuracy, robustness, *_ = analysis["multistart"]["ar"][index]
        eao, *_ = analysis["multistart"]["eao"][index]
        lines.append(f"{tracker:16}{success:10.3f}{accuracy:11.3f}{robustness:13.3f}{eao:9.3f}")
    return "\n".join(lines)
