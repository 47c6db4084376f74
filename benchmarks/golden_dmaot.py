"""Reference numbers of DMAOT's memory: `python benchmarks/golden_dmaot.py CHECKOUT tests/data/dmaot_a.npz`.

CHECKOUT is one of github.com/yamy-cheng/DMAOT-VOTS2023, whose engine is run on the weights and frames of
tests/golden_recipes.py. Of four objects the last one is given late, and the second one is out of sight for a while;
memory is small, so that frames leave it. The compiled correlation sampler is replaced by shifts and sums.
"""

from __future__ import annotations

import argparse
import json
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

TESTS = Path(__file__).resolve().parents[1] / "tests"
META = {
    "H": 129,
    "W": 161,
    "nobj": 4,
    "frames": 16,
    "seed": 61,
    "gap": 1,
    "lag": 2,
    "max": 5,
    "late": 5,  # frame on which the last object is given
    "hidden": [7, 8, 9],  # frames on which the second object has no label
}


class Correlation(nn.Module):
    """What the compiled sampler computes, for kernels of one cell."""

    def __init__(self, *, patch_size: int, dilation_patch: int, **settings: int):
        super().__init__()
        if settings != {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}:
            raise ValueError(f"no correlation like {settings}")
        self.side, self.step = patch_size, dilation_patch

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        """[B, C, h, w] each -> [B, side, side, h, w]."""
        reach, (rows, columns) = self.side // 2 * self.step, one.shape[-2:]
        wide = F.pad(two, (reach,) * 4)
        shifts = range(0, self.side * self.step, self.step)
        found = [[(one * wide[..., y : y + rows, x : x + columns]).sum(1) for x in shifts] for y in shifts]
        return torch.stack([torch.stack(line, dim=1) for line in found], dim=1)


def build(checkout: Path) -> Any:
    """The authors' engine for R50-DeAOT-L, its memory as in META."""
    sys.path[:0] = [str(checkout / "dmaot"), str(TESTS)]
    sys.modules["spatial_correlation_sampler"] = sampler = types.ModuleType("spatial_correlation_sampler")
    sampler.SpatialCorrelationSampler = Correlation
    import golden_recipes
    from configs.default import DefaultEngineConfig
    from networks.engines import build_engine
    from networks.models import build_vos_model

    config = DefaultEngineConfig("golden", "r50_dm_deaotl")
    config.TEST_LONG_TERM_MEM_MAX = META["max"]
    network = build_vos_model(config.MODEL_VOS, config).eval()
    keys = json.loads((TESTS / "data" / "r50_deaotl_keys.json").read_text(encoding="utf-8"))
    weights = golden_recipes.deaot_weights(keys["keys"], tuple(keys["dtype_other_than_float32"]))
    network.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    settings = {"long_term_mem_gap": META["gap"], "short_term_mem_skip": META["lag"]}
    return build_engine(config.MODEL_ENGINE, phase="eval", aot_model=network, gpu_id=0, **settings).eval()


@torch.no_grad()
def run(engine: Any) -> dict[str, np.ndarray]:
    """Frame by frame; what is fed to memory is kept beside the logits."""
    import golden_recipes

    size, late = (META["H"], META["W"]), META["late"]
    arrays: dict[str, list] = {name: [] for name in ("frame_crc32", "fed", "logits", "mem_tokens", "held")}
    frame_of: dict[int, int] = {}
    video = golden_recipes.video(*size, META["nobj"], META["frames"], META["seed"])
    for t, (image, truth) in enumerate(video):
        pixels, objects = torch.from_numpy(golden_recipes.network_input(image)), META["nobj"] - (t < late)
        if t == 0:
            fed = np.where(truth == META["nobj"], 0, truth)
        else:
            inner = engine.aot_engines[0]
            arrays["mem_tokens"].append(inner.long_term_memories[0][0].shape[0])
            arrays["held"].append([[frame_of[id(entry)] for entry in bank] for bank in inner.object_memories])
            engine.match_propogate_one_frame(pixels)
            labels = engine.decode_current_logits(size)[0].argmax(dim=0).numpy().astype(np.uint8)
            known = META["nobj"] - (t <= late)
            arrays["logits"].append(inner.pred_id_logits[0, : known + 1].numpy())
            fed = np.where((labels == 2) & (t in META["hidden"]), 0, labels)
            fed = np.where(truth == META["nobj"], META["nobj"], fed) if t == late else fed
        mask = torch.from_numpy(fed)[None, None].float()
        if t in (0, late):
            engine.add_reference_frame(pixels, mask, obj_nums=[objects], frame_step=t)
        else:
            engine.update_memory(mask)
        new = [entry for bank in engine.aot_engines[0].object_memories for entry in bank if id(entry) not in frame_of]
        frame_of |= {id(entry): t for entry in new}
        _keep_alive.extend(new)
        arrays["frame_crc32"].append(zlib.crc32(image.tobytes()))
        arrays["fed"].append(fed.astype(np.uint8))
    unknown = META["nobj"] + 1
    logits = [np.pad(x, ((0, unknown - len(x)), (0, 0), (0, 0)), constant_values=np.nan) for x in arrays["logits"]]
    return {
        "meta": np.array(json.dumps(META)),
        "frame_crc32": np.array(arrays["frame_crc32"]),
        "fed": np.stack(arrays["fed"]),
        "logits": np.stack(logits).astype(np.float32),
        "mem_tokens": np.array(arrays["mem_tokens"], np.int32),
        "held": np.array(json.dumps(arrays["held"])),
    }


_keep_alive: list[Any] = []  # so that no entry's id is given to another


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    if not (arguments.checkout / "dmaot" / "networks").is_dir():
        parser.error(f"no checkout of DMAOT: {arguments.checkout}")
    torch.set_num_threads(1)
    np.savez_compressed(arguments.out, **run(build(arguments.checkout)))
    print(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
