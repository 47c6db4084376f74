"""CPU time per frame beside the authors' code: `python benchmarks/against_public.py DIR`.

DIR is a checkout of the public AOT code (github.com/yoxu515/aot-benchmark). Both sides get the same artificial weights
and frames, grow the same memory and are fed the same labels; their logits must agree. Each side runs in a process of
its own, in turn, several times; a frame's time is the least CPU time it took.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"  # the recipes and the parity runner live there
GAP = 5  # the published long-term gap of the L models
OBJECTS, SEED = 2, 21
WARM_UP = 2  # frames not counted


@dataclass(frozen=True)
class Case:
    model: str  # name of the public configuration and of the reference files
    title: str
    size: int  # pixels, both sides


CASES = (Case("r50_deaotl", "R50-DeAOT-L", 465), Case("swinb_deaotl", "SwinB-DeAOT-L", 464))


@dataclass
class Run:
    """Per frame after the first: logits [N, C, h, w], labels [N, H, W], CPU seconds, long-term tokens."""

    logits: list[np.ndarray]
    labels: list[np.ndarray]
    seconds: list[float]
    tokens: list[int]


def run_frames(
    case: Case, frames: int, fed: np.ndarray | None, start: Callable, step: Callable, remember: Callable
) -> Run:
    """Drive one side: `start(image, labels)`; per frame `step(image)` -> logits, enlarged logits, long-term tokens;
    then `remember(t, labels)`.
    """
    import golden_recipes

    run = Run([], [], [], [])
    for t, (image, labels) in enumerate(golden_recipes.video(case.size, case.size, OBJECTS, frames, SEED)):
        if t == 0:
            start(image, labels)
            continue
        began = time.process_time()
        logits, enlarged, tokens = step(image)
        found = enlarged.argmax(dim=0).numpy().astype(np.uint8)
        remember(t, found if fed is None else fed[t - 1])
        run.seconds.append(time.process_time() - began)
        run.logits.append(logits.numpy())
        run.labels.append(found)
        run.tokens.append(tokens)
    return run


def run_public(case: Case, frames: int, fed: np.ndarray | None) -> Run:
    """The authors' engine. Their packages are found because the parent put the checkout on this process's path."""
    if importlib.util.find_spec("PIL") is None:  # they import Pillow for functions that are not called here
        sys.modules["PIL"] = stand_in = types.ModuleType("PIL")
        stand_in.Image = types.SimpleNamespace()
    import golden_recipes
    from configs.default import DefaultEngineConfig
    from networks.engines import build_engine
    from networks.models import build_vos_model

    config = DefaultEngineConfig("benchmark", case.model)
    network = build_vos_model(config.MODEL_VOS, config).eval()
    network.load_state_dict({**network.state_dict(), **official_weights(case)})
    engine = build_engine(config.MODEL_ENGINE, phase="eval", aot_model=network, gpu_id=0, long_term_mem_gap=GAP).eval()

    def pixels(image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(golden_recipes.network_input(image))

    def mask(labels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(labels)[None, None].float()

    def start(image: np.ndarray, labels: np.ndarray) -> None:
        engine.add_reference_frame(pixels(image), mask(labels), obj_nums=[OBJECTS], frame_step=0)

    def step(image: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, int]:
        tokens = engine.aot_engines[0].long_term_memories[0][0].shape[0]
        engine.match_propogate_one_frame(pixels(image))
        enlarged = engine.decode_current_logits((case.size, case.size))[0]
        return engine.aot_engines[0].pred_id_logits[0, : OBJECTS + 1], enlarged, tokens

    return run_frames(case, frames, fed, start, step, lambda _t, labels: engine.update_memory(mask(labels)))


def run_ours(case: Case, frames: int, fed: np.ndarray | None) -> Run:
    """Model and Memory as the tracker drives them."""
    import parity

    model = parity.build(case.model, parity.find_keys(parity.DATA, case.model))
    groups = parity.Groups(model, OBJECTS, parity.memory_config({"gap": GAP}, vmos=False))
    align_corners = model.preset.model.align_corners

    def encode(image: np.ndarray) -> parity.Features:
        return model.encode(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)

    def step(image: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, int]:
        features, tokens = encode(image), groups.memories[0].token_counts[0]
        groups.propagate(features)
        (logits,) = groups.decode(features)
        enlarged = F.interpolate(logits, (case.size, case.size), mode="bilinear", align_corners=align_corners)
        return logits[0, : OBJECTS + 1], enlarged[0], tokens

    return run_frames(case, frames, fed, lambda i, m: groups.reference(encode(i), m), step, groups.update)


def official_weights(case: Case) -> dict[str, torch.Tensor]:
    import golden_recipes
    import parity

    keys = json.loads(parity.find_keys(parity.DATA, case.model).read_text(encoding="utf-8"))
    weights = golden_recipes.deaot_weights(keys["keys"], tuple(keys["dtype_other_than_float32"]))
    return {key: torch.from_numpy(value) for key, value in weights.items()}


@torch.inference_mode()
def work(arguments: argparse.Namespace) -> None:
    """One side's run, in a process of its own; the result goes to a file."""
    torch.set_num_threads(arguments.threads)
    case = next(case for case in CASES if case.model == arguments.model)
    fed = np.load(arguments.fed)["labels"] if arguments.fed else None
    run = {"public": run_public, "ours": run_ours}[arguments.worker](case, arguments.frames, fed)
    np.savez(arguments.out, logits=run.logits, labels=run.labels, seconds=run.seconds, tokens=run.tokens)


def launch(side: str, case: Case, arguments: argparse.Namespace, out: Path, fed: Path | None) -> dict[str, np.ndarray]:
    command = [sys.executable, __file__, str(arguments.directory), "--worker", side, "--model", case.model]
    command += ["--frames", str(arguments.frames), "--threads", str(arguments.threads), "--out", str(out)]
    command += ["--fed", str(fed)] if fed else []
    path = [str(arguments.directory.resolve()), str(TESTS)] if side == "public" else [str(TESTS)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(ROOT)])}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{side} {case.title} ended with status {result.returncode}:\n{result.stderr}")
    return dict(np.load(out))


def compare(case: Case, arguments: argparse.Namespace) -> bool:
    """Print one case's table row; True if the logits agree."""
    tolerance = tolerances()[case.model]
    with tempfile.TemporaryDirectory() as folder:
        public_file, ours_file = Path(folder) / "public.npz", Path(folder) / "ours.npz"
        times = {"public": [], "ours": []}
        for turn in range(arguments.rounds):
            public = launch("public", case, arguments, public_file, public_file if turn else None)
            ours = launch("ours", case, arguments, ours_file, public_file)
            times["public"].append(public["seconds"])
            times["ours"].append(ours["seconds"])
    difference = np.abs(public["logits"] - ours["logits"]).max()
    agree = bool(difference <= tolerance) and np.array_equal(public["tokens"], ours["tokens"])
    public_time, our_time = (float(np.min(times[side], axis=0)[WARM_UP:].mean()) for side in ("public", "ours"))
    print(
        f"{case.title:<14} {case.size}x{case.size}  memory {ours['tokens'].min()}-{ours['tokens'].max()} tokens  "
        f"public {public_time:.3f} s  ours {our_time:.3f} s  ratio {our_time / public_time:.2f}  "
        f"logits differ by {difference:.1e} (<= {tolerance:.0e}) {'ok' if agree else 'FAILED'}",
        flush=True,
    )
    return agree


def tolerances() -> dict[str, float]:
    """Of logits, as the parity runner has them (read there, so that they are written down once)."""
    code = "import json, parity; print(json.dumps({k: t.logits for k, t in parity.TOLERANCES.items()}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(ROOT)])}
    return json.loads(subprocess.check_output([sys.executable, "-c", code], env=environment, text=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="checkout of the public AOT code")
    parser.add_argument("--frames", type=int, default=16, help="per clip, after the reference (at most 32)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each side")
    parser.add_argument("--threads", type=int, default=1)
    for internal in ("--worker", "--model", "--fed", "--out"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not WARM_UP < arguments.frames <= 32:
        parser.error(f"--frames is {arguments.frames}, it must be from {WARM_UP + 1} to 32")
    if arguments.worker:
        work(arguments)
        return 0
    for part in ("networks/engines/deaot_engine.py", "configs/models/swinb_deaotl.py", "utils/image.py"):
        if not (arguments.directory / part).is_file():
            parser.error(f"{arguments.directory} is no checkout of the public AOT code: it has no {part}")
    print(f"CPU seconds per frame, {arguments.threads} thread(s), {OBJECTS} objects, long-term gap {GAP}")
    agreed = [compare(case, arguments) for case in CASES]  # every case is run, whatever the first one says
    return 0 if all(agreed) else 1


if __name__ == "__main__":
    sys.exit(main())
