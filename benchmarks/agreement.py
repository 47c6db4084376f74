"""One tracker measured in several ways: `python benchmarks/agreement.py DIR --work FOLDER`, with DIR in DAVIS' layout.

The shipped model in float32, on a few small frames, and the static box, on all of DIR, run through `msdeaot evaluate`
and the toolkits that are there: vot-toolkit, TREK-150's, got10k, pytracking. Anchors and hand-object spans are made up.
Printed for each protocol and way: the largest difference of any box to our runner's, the toolkit's own score, and the
largest difference of its scores to ours. Result files keep 3 decimals: boxes may differ by 0.001 px, scores by 1e-6.
pytracking keeps whole pixels, and is compared with ours truncated. Exit status 1: something differs by more.
"""

from __future__ import annotations

import argparse
import configparser
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from speed import parse_size  # beside this file

from msdeaot_tracker.cli.main import main as msdeaot
from msdeaot_tracker.data.datasets.box_sequences import BoxSequence, Interaction, read_dataset
from msdeaot_tracker.data.datasets.mask_sequences import find_sequences
from msdeaot_tracker.data.datasets.trek150_writer import write_trek150
from msdeaot_tracker.evaluation import RunBoxes, SequenceRuns, average_one_pass, box_iou, find_protocol, score
from msdeaot_tracker.evaluation.layouts import GOT10K, PYTRACKING, TREK150, Layout
from msdeaot_tracker.evaluation.results import read_result_file
from msdeaot_tracker.images import read_mask, write_image, write_mask
from msdeaot_tracker.types import TrackerError

PIXELS, SCORES = 1e-3, 1e-6  # what may differ
EVERY = 50  # frames between anchors; half a sequence if that is less
PROTOCOLS = ("ope", "mse", "hoi")
SUCCESS = "success_score"
MEASURES = (SUCCESS, "normalized_precision_score", "generalized_success_robustness_score", "recall_score")
VOT_NAMES = {"static": "StaticBox", "msdeaot": "MSDeAOT"}
TREK150_HAS, PYTRACKING_HAS = "toolkit/experiments/trek150.py", "pytracking/evaluation/trek150dataset.py"
EXACTLY = "tracker.precision=float32"
ROW = "{:<8} {:<9} {:<17} {:>5} {:>7} {:>10}  {:<22} {:>11}  {}"
HEAD = ROW.format("tracker", "protocol", "way", "runs", "boxes", "boxes by", "score", "scores by", "")


Runs = dict[str, dict[str, np.ndarray]]  # by protocol and our name of the run: boxes [N, 4]
Scores = dict[str, dict[str, float]]  # by protocol and name; the first of a protocol is shown


class Measured(NamedTuple):
    boxes: Runs
    scores: Scores
    remark: str = ""


class Case(NamedTuple):
    tracker: str  # "static" or "msdeaot"
    sequences: Sequence[BoxSequence]
    dataset: Path  # where they are, in TREK-150's layout
    work: Path  # of this case alone
    ours: Measured


Answer = tuple[Measured, Measured]  # what is expected of a way, and what came


class NotRunError(Exception):
    """A way that cannot be gone here, and why."""


def reduce_davis(source: Path, target: Path, frames: int, size: tuple[int, int]) -> Path:
    """The first frames of each sequence, made small, in DAVIS' layout again. Returns `target`."""
    height, width = size
    for sequence in find_sequences(source):
        images, annotations = (target / kind / sequence.name for kind in ("JPEGImages", "Annotations"))
        images.mkdir(parents=True)
        annotations.mkdir(parents=True)
        for index in range(min(frames, len(sequence))):
            image = cv2.resize(sequence.image(index), (width, height), interpolation=cv2.INTER_AREA)
            write_image(images / f"{index:05d}.jpg", image)
            if (path := sequence.annotations[index]) is not None:
                labels = read_mask(path).astype(np.uint8)
                small = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
                write_mask(annotations / f"{index:05d}.png", small)
    return target


def make_case(tracker: str, davis: Path, work: Path) -> Case:
    """DAVIS as TREK-150, and what our runner gets there."""
    dataset, results = work / "dataset", work / "ours"
    source = read_dataset("davis", davis)
    every = min(EVERY, max(len(s) for s in source) // 2)
    left_out = write_trek150(source, dataset, every=every, interactions={s.name: list(_spans(s)) for s in source})
    if left_out:
        raise TrackerError("; ".join(left_out))
    options = ["--dataset", "trek150", "--protocol", ",".join(PROTOCOLS), "--tracker", tracker, "--set", EXACTLY]
    _msdeaot("evaluate", str(dataset), *options, "--out", str(results))
    sequences, folder = read_dataset("trek150", dataset), results / "TREK-150"
    scores = {protocol: score(sequences, folder, protocol)[tracker]["overall"] for protocol in PROTOCOLS}
    ours = Measured(_read_boxes(sequences, folder, tracker, TREK150), _pick(scores))
    return Case(tracker, sequences, dataset, work, ours)


def _spans(sequence: BoxSequence) -> Iterator[Interaction]:
    """Two that overlap, made up."""
    last, seen = len(sequence) - 1, np.flatnonzero(sequence.visible)
    if len(seen):
        yield Interaction(0, last // 2, 0)
        yield Interaction(int(seen[len(seen) // 3]), last, 2)


def _msdeaot(*arguments: str) -> None:
    with redirect_stdout(io.StringIO()) as output:
        status = msdeaot(list(arguments))
    if status:
        raise TrackerError(f"msdeaot {' '.join(arguments)}: exit status {status}. {output.getvalue()}")


def _pick(scores: Mapping[str, Mapping[str, Any]]) -> Scores:
    return {protocol: {name: found[name] for name in MEASURES if name in found} for protocol, found in scores.items()}


def _read_boxes(sequences: Sequence[BoxSequence], results: Path, tracker: str, layout: Layout) -> Runs:
    """Of all protocols that the layout is for."""
    boxes: Runs = {protocol: {} for protocol in (PROTOCOLS if layout is TREK150 else PROTOCOLS[:1])}
    for protocol in boxes:
        folder = layout.folder(results, tracker, protocol)
        for run in (run for sequence in sequences for run in find_protocol(protocol)(sequence)):
            path = layout.boxes(folder, run.name)
            boxes[protocol][run.name] = read_result_file(path, len(run.frames), complete=layout.complete)
    return boxes


def through_vot(case: Case) -> Answer:
    if not find_spec("vot"):
        raise NotRunError("vot-toolkit is not installed")
    import yaml  # comes with the toolkit
    from msdeaot_integration import toolkit
    from vot.region.io import read_trajectory

    workspace, name = case.work / "vot", VOT_NAMES[case.tracker]
    _msdeaot("workspace", "trek150", str(workspace), "--dataset", str(case.dataset))
    stack = yaml.safe_load((workspace / "stack.yaml").read_text(encoding="utf-8"))
    stack["experiments"] = {protocol: stack["experiments"][protocol] for protocol in PROTOCOLS}  # none on the clock
    (workspace / "stack.yaml").write_text(yaml.safe_dump(stack), encoding="utf-8")
    config = yaml.safe_load((workspace / "config.yaml").read_text(encoding="utf-8"))
    config["registry"] = [_write_registry(workspace / "trackers.ini").as_posix()]
    (workspace / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    toolkit.evaluate(workspace, name)
    analyses = toolkit.analyse(workspace, [name], name="agreement")
    boxes: Runs = {protocol: {} for protocol in PROTOCOLS}
    for protocol in PROTOCOLS:
        for sequence in case.sequences:
            folder = workspace / "results" / name / protocol / sequence.name
            for run in find_protocol(protocol)(sequence):
                first, last = run.frames[0], run.frames[-1]
                end = {"ope": "001", "mse": f"{first:08d}", "hoi": f"{first:08d}_{last:08d}_*"}[protocol]
                (file,) = folder.glob(f"{sequence.name}_{end}.bin")
                answers = [(box.x, box.y, box.width, box.height) for box in read_trajectory(str(file))[1:]]
                boxes[protocol][run.name] = np.array([sequence.boxes[first], *answers])  # begins with what was given
    scores = {p: dict(zip(MEASURES, analyses[p]["scores"][0], strict=False)) for p in PROTOCOLS}
    return case.ours, Measured(boxes, scores)


def _write_registry(path: Path) -> Path:
    """The shipped one with the model in float32."""
    from msdeaot_integration import registry_path

    registry = configparser.ConfigParser(interpolation=None)
    registry.read(registry_path(), encoding="utf-8")
    plugin = registry[VOT_NAMES["msdeaot"]]
    plugin["command"] = f"from {plugin['command']} import run; run(overrides=[{EXACTLY!r}])"
    with path.open("w", encoding="utf-8") as file:
        registry.write(file)
    return path


def through_trek150(case: Case, clone: Path | None, python: str) -> Answer:
    if clone is None:
        raise NotRunError("no --trek150-toolkit")
    out = case.work / "trek150-toolkit"
    _drive("trek150", case, out, python, clone)
    boxes = _read_boxes(case.sequences, out / "TREK-150", case.tracker, TREK150)
    files = {p: out / "TREK-150" / case.tracker / f"performance-{p}.json" for p in PROTOCOLS}
    scores = {p: json.loads(path.read_text())[case.tracker]["overall"] for p, path in files.items()}
    return case.ours, Measured(boxes, _pick(scores))


def through_got10k(case: Case, python: str) -> Answer:
    """Its score is the mean overlap of all frames but the first of each sequence."""
    if subprocess.run([python, "-c", "import got10k"], capture_output=True, check=False).returncode:
        raise NotRunError(f"{python} has no got10k")
    out = case.work / "got10k"
    _drive("got10k", case, out, python)
    report = json.loads((out / "GOT-10k" / case.tracker / "performance.json").read_text())
    boxes = _read_boxes(case.sequences, out / "GOT-10k", case.tracker, GOT10K)
    ious = [box_iou(case.ours.boxes["ope"][s.name], s.boxes)[1:][s.visible[1:]] for s in case.sequences]
    expected = Measured(case.ours.boxes, {"ope": {"mean overlap": float(np.concatenate(ious).mean())}})
    return expected, Measured(boxes, {"ope": {"mean overlap": report[case.tracker]["overall"]["ao"]}})


def through_pytracking(case: Case, clone: Path | None, python: str) -> Answer:
    """A truth at the left or the top edge (x or y is 0) is absent to its scores; so it is to ours here."""
    if clone is None:
        raise NotRunError("no --pytracking")
    if case.tracker == "static":
        raise NotRunError("it has no static box")
    out = case.work / "pytracking"
    _drive("pytracking", case, out, python, clone)
    given = case.ours.boxes["ope"]
    ours = {name: np.trunc(boxes) for name, boxes in given.items()}
    lost = np.max([np.abs(ours[name] - boxes).max() for name, boxes in given.items()])
    truths = {s.name: np.where((s.boxes > 0).all(axis=1, keepdims=True), s.boxes, np.nan) for s in case.sequences}
    edge = sum(int(s.visible.sum() - (s.boxes > 0).all(axis=1).sum()) for s in case.sequences)
    runs = [SequenceRuns(name, len(boxes), [RunBoxes(boxes, truths[name])]) for name, boxes in ours.items()]
    expected = Measured({"ope": ours}, {"ope": {SUCCESS: average_one_pass(runs)[0][SUCCESS]}})
    boxes = _read_boxes(case.sequences, out, f"{case.tracker}/default", PYTRACKING)
    remark = f"; ours truncated, by {lost:.3f} px at most; frames with x or y = 0 not scored, as there: {edge}"
    return expected, Measured(boxes, {"ope": json.loads((out / "scores.json").read_text())}, remark)


def _drive(way: str, case: Case, out: Path, python: str, clone: Path | None = None) -> None:
    """`agreement_drivers.py` in another Python, which imports from the clone."""
    out.mkdir(exist_ok=True)
    paths = [str(clone.resolve()) if clone else "", os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [python, str(Path(__file__).with_name("agreement_drivers.py")), way, case.tracker, str(case.dataset), str(out)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "MPLBACKEND": "Agg"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    (out / "log.txt").write_text(done.stdout, encoding="utf-8")
    if done.returncode:
        last = done.stdout.strip().splitlines()[-1:]
        raise TrackerError(f"{way} ended with status {done.returncode}, see {out / 'log.txt'}: {' '.join(last)}")


def compare(case: Case, way: str, expected: Measured, found: Measured) -> bool:
    """Print a row for each protocol. Whether all agree."""
    agreed = True
    for protocol, scores in found.scores.items():
        ours, theirs = expected.boxes[protocol], found.boxes[protocol]
        pixels = np.max([np.abs(theirs[run] - boxes).max() for run, boxes in ours.items()])
        apart = np.max([abs(scores[name] - value) for name, value in expected.scores[protocol].items()])
        agrees = bool(pixels <= PIXELS and apart <= SCORES)  # not where either is NaN
        agreed &= agrees
        verdict = "reference" if found is expected else "agrees" if agrees else "DIFFERS"
        name, value = next(iter(scores.items()))
        shown = f"{value:.6f} {name.removesuffix('_score')}"
        row = (case.tracker, protocol, way, len(ours), sum(map(len, ours.values())), f"{pixels:.6f}", shown)
        print(ROW.format(*row, f"{apart:.1e}", verdict) + found.remark, flush=True)
    return agreed


def compare_all(case: Case, arguments: argparse.Namespace) -> bool:
    """Print the table of one tracker. Whether all agree."""
    ways: dict[str, Callable[[], Answer]] = {
        "msdeaot evaluate": lambda: (case.ours, case.ours),
        "vot-toolkit": partial(through_vot, case),
        "TREK-150 toolkit": partial(through_trek150, case, arguments.trek150_toolkit, arguments.python),
        "got10k": partial(through_got10k, case, arguments.python),
        "pytracking": partial(through_pytracking, case, arguments.pytracking, arguments.python),
    }
    print(HEAD, flush=True)
    agreed = True
    for way, measure in ways.items():
        try:
            agreed &= compare(case, way, *measure())
        except NotRunError as reason:
            print(f"{case.tracker:<18} {way:<17} not run: {reason}", flush=True)
        except TrackerError as error:
            print(f"{case.tracker:<18} {way:<17} FAILED: {error}", flush=True)
            agreed = False
    return agreed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR", help="JPEGImages/<sequence>, Annotations/<sequence>")
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="for all files; a new folder")
    parser.add_argument("--trackers", nargs="+", choices=list(VOT_NAMES), default=list(VOT_NAMES))
    parser.add_argument("--frames", type=int, default=16, help="of each sequence, for the model (%(default)s)")
    parser.add_argument("--size", type=parse_size, default=(120, 214), metavar="WxH", help="for the model (214x120)")
    parser.add_argument("--trek150-toolkit", type=Path, metavar="CLONE")
    parser.add_argument("--pytracking", type=Path, metavar="CLONE", help="with `msdeaot install-pytracking` done")
    parser.add_argument("--python", default=sys.executable, metavar="FILE", help="has got10k, and runs the clones")
    arguments = parser.parse_args()
    if arguments.frames < 4:
        parser.error(f"--frames is {arguments.frames}, it must be 4 at least")
    for clone, inside in ((arguments.trek150_toolkit, TREK150_HAS), (arguments.pytracking, PYTRACKING_HAS)):
        if clone and not (clone / inside).is_file():
            parser.error(f"{clone} has no {inside}")
    agreed = True
    try:
        arguments.work.mkdir(parents=True)
        for tracker in arguments.trackers:
            work = arguments.work.resolve() / tracker
            work.mkdir()
            source = arguments.directory
            if tracker == "msdeaot":
                source = reduce_davis(source, work / "reduced", arguments.frames, arguments.size)
            agreed &= compare_all(make_case(tracker, source, work), arguments)
    except (TrackerError, OSError) as error:
        parser.error(str(error))
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
