"""Time per frame beside the authors' code: `python benchmarks/against_public.py DIR [--device cuda] [--json FILE]`.

DIR is a checkout of the public AOT code (github.com/yoxu515/aot-benchmark), which computes in float32; our side does in
float32, whose logits must agree, and in bfloat16. All get the same artificial weights and frames, hold the same number
of frames in long-term memory (copies of the reference) and are fed the same labels. Each runs in a process of its own,
in turn, several times. FILE gets {"rows": [{"preset", "memory_frames", "precision", "ratio_median"}]}: the median, over
frames and rounds, of our time to theirs. On a CPU it is the CPU's time, else what a clock on the wall says.
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
OBJECTS, SEED = 2, 21
WARM_UP = 1  # frames not counted, of each size of memory
PRECISIONS = ("float32", "bfloat16")
NEVER = 9999  # long-term gap


@dataclass(frozen=True)
class Case:
    model: str  # name of the public configuration and of the reference files
    preset: str
    size: int  # pixels, both sides


CASES = (Case("r50_deaotl", "r50-deaot-l", 465), Case("swinb_deaotl", "swinb-deaot-l", 464))


@dataclass
class Run:
    """Per frame after the first: logits [N, C, h, w], labels [N, H, W], CPU seconds, long-term tokens."""

    logits: list[np.ndarray]
    labels: list[np.ndarray]
    seconds: list[float]
    tokens: list[int]


def run_frames(
    case: Case, plan: argparse.Namespace, start: Callable, hold: Callable, step: Callable, remember: Callable
) -> Run:
    """Drive one side: `start(image, labels)`; for each size of memory `hold(frames)`; then, per frame, `step(image)` ->
    logits, enlarged logits, long-term tokens; then `remember(t, labels)`.
    """
    import golden_recipes

    fed = np.load(plan.fed)["labels"] if plan.fed else None
    run = Run([], [], [], [])
    count = plan.frames * len(plan.memory)
    for t, (image, labels) in enumerate(golden_recipes.video(case.size, case.size, OBJECTS, count, SEED)):
        if t == 0:
            start(image, labels)
            continue
        if (t - 1) % plan.frames == 0:
            hold(plan.memory[(t - 1) // plan.frames])
        began = _seconds(plan.device)
        logits, enlarged, tokens = step(image)
        found = enlarged.argmax(dim=0).cpu().numpy().astype(np.uint8)
        remember(t, found if fed is None else fed[t - 1])
        run.seconds.append(_seconds(plan.device) - began)
        run.logits.append(logits.float().cpu().numpy())
        run.labels.append(found)
        run.tokens.append(tokens)
    return run


def _seconds(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def run_public(case: Case, plan: argparse.Namespace) -> Run:
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
    network.to(plan.device)
    engine = build_engine(
        config.MODEL_ENGINE, phase="eval", aot_model=network, gpu_id=0, long_term_mem_gap=NEVER
    ).eval()

    def pixels(image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(golden_recipes.network_input(image)).to(plan.device)

    def mask(labels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(labels)[None, None].float().to(plan.device)

    single: list = []  # the reference's tokens, by layer

    def start(image: np.ndarray, labels: np.ndarray) -> None:
        engine.add_reference_frame(pixels(image), mask(labels), obj_nums=[OBJECTS], frame_step=0)
        single.extend(engine.aot_engines[0].long_term_memories)

    def hold(count: int) -> None:
        engine.aot_engines[0].long_term_memories = [
            [None if part is None else part.repeat(count, 1, 1) for part in layer] for layer in single
        ]

    def step(image: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, int]:
        tokens = engine.aot_engines[0].long_term_memories[0][0].shape[0]
        engine.match_propogate_one_frame(pixels(image))
        enlarged = engine.decode_current_logits((case.size, case.size))[0]
        return engine.aot_engines[0].pred_id_logits[0, : OBJECTS + 1], enlarged, tokens

    return run_frames(case, plan, start, hold, step, lambda _t, labels: engine.update_memory(mask(labels)))


def run_ours(case: Case, plan: argparse.Namespace) -> Run:
    """Model and Memory as the tracker drives them, in the precision that the side is named by."""
    import parity

    model = parity.build(case.model, parity.find_keys(parity.DATA, case.model)).to(plan.device)
    groups = parity.Groups(model, OBJECTS, parity.memory_config({"gap": NEVER}, vmos=False))
    (memory,), align_corners = groups.memories, model.preset.model.align_corners

    def encode(image: np.ndarray) -> parity.Features:
        return model.encode(torch.from_numpy(image).to(plan.device).permute(2, 0, 1)[None].float() / 255)

    def start(image: np.ndarray, labels: np.ndarray) -> None:
        groups.reference(encode(image), labels)
        single.extend(memory.long_term.joined)

    def hold(count: int) -> None:
        for _ in range(count - len(memory.long_term.frames)):
            memory.write_reference(0, tuple(single))

    def step(image: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, int]:
        features, tokens = encode(image), memory.token_counts[0]
        groups.propagate(features)
        (logits,) = groups.decode(features)
        enlarged = F.interpolate(logits.float(), (case.size, case.size), mode="bilinear", align_corners=align_corners)
        return logits[0, : OBJECTS + 1], enlarged[0], tokens

    single: list = []
    with torch.autocast(torch.device(plan.device).type, torch.bfloat16, enabled=plan.worker == "bfloat16"):
        return run_frames(case, plan, start, hold, step, groups.update)


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
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32
    case = next(case for case in CASES if case.model == arguments.model)
    run = (run_public if arguments.worker == "public" else run_ours)(case, arguments)
    np.savez(arguments.out, logits=run.logits, labels=run.labels, seconds=run.seconds, tokens=run.tokens)


def launch(side: str, case: Case, arguments: argparse.Namespace, out: Path, fed: Path | None) -> dict[str, np.ndarray]:
    command = [sys.executable, __file__, str(arguments.directory), "--worker", side, "--model", case.model]
    command += ["--frames", str(arguments.frames), "--threads", str(arguments.threads), "--out", str(out)]
    command += ["--device", arguments.device]
    command += ["--memory", *map(str, arguments.memory), *(["--fed", str(fed)] if fed else [])]
    path = [str(arguments.directory.resolve()), str(TESTS)] if side == "public" else [str(TESTS)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(ROOT)])}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{side} {case.preset} ended with status {result.returncode}:\n{result.stderr}")
    return dict(np.load(out))


def compare(case: Case, arguments: argparse.Namespace, rows: list[dict]) -> bool:
    """Print one case's table rows, and add them to `rows`; True if the logits agree in float32."""
    tolerance, sides = tolerances()[case.model], ("public", *arguments.precisions)
    with tempfile.TemporaryDirectory() as folder:
        files = {side: Path(folder) / f"{side}.npz" for side in sides}
        seconds: dict[str, list[np.ndarray]] = {side: [] for side in sides}
        for turn in range(arguments.rounds):
            found = {}
            for side in sides:
                fed = files["public"] if turn or side != "public" else None
                found[side] = launch(side, case, arguments, files[side], fed)
                seconds[side].append(found[side]["seconds"].reshape(len(arguments.memory), -1)[:, WARM_UP:])
    agree, public = True, found["public"]
    for precision in arguments.precisions:
        ours = found[precision]
        differ = float(np.abs(public["logits"] - ours["logits"]).max())
        exact = precision == "float32"
        same = np.array_equal(public["tokens"], ours["tokens"]) and (differ <= tolerance or not exact)
        verdict = f"(<= {tolerance:.0e}) {'ok' if same else 'FAILED'}" if exact or not same else ""
        agree = agree and same
        ratios = np.array(seconds[precision]) / np.array(seconds["public"])  # [rounds, sizes of memory, frames]
        for index, memory in enumerate(arguments.memory):
            ratio = float(np.median(ratios[:, index]))
            rows.append({"preset": case.preset, "memory_frames": memory, "precision": precision, "ratio_median": ratio})
            public_time, our_time = (np.median(np.array(seconds[side])[:, index]) for side in ("public", precision))
            print(
                f"{case.preset:<14} {case.size}x{case.size}  {memory:>3} frames held  {precision:<9} public "
                f"{public_time:.3f} s  ours {our_time:.3f} s  ratio {ratio:.3f}  logits differ by {differ:.1e} "
                f"{verdict}",
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
    parser.add_argument("--frames", type=int, default=4, help="per size of memory (default: %(default)s)")
    parser.add_argument("--memory", type=int, nargs="+", default=[1, 20], help="frames held, rising")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="of our side")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:<number> (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ratios to a file as well")
    for internal in ("--worker", "--model", "--fed", "--out"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not WARM_UP < arguments.frames <= 32 // len(arguments.memory):
        most = 32 // len(arguments.memory)
        parser.error(f"--frames is {arguments.frames}, it must be from {WARM_UP + 1} to {most}")
    if arguments.memory[0] < 1 or sorted(set(arguments.memory)) != arguments.memory:
        parser.error(f"--memory is {arguments.memory}: numbers of frames from 1, rising")
    if arguments.worker:
        work(arguments)
        return 0
    for part in ("networks/engines/deaot_engine.py", "configs/models/swinb_deaotl.py", "utils/image.py"):
        if not (arguments.directory / part).is_file():
            parser.error(f"{arguments.directory} is no checkout of the public AOT code: it has no {part}")
    print(f"seconds per frame on {arguments.device}, {arguments.threads} CPU thread(s), {OBJECTS} objects")
    rows: list[dict] = []
    agreed = []
    for case in CASES:  # every case is run, whatever the first one says
        agreed.append(compare(case, arguments, rows))
        if arguments.json:
            arguments.json.write_text(json.dumps({"rows": rows}, indent=1), encoding="utf-8")
    return 0 if all(agreed) else 1


if __name__ == "__main__":
    sys.exit(main())
