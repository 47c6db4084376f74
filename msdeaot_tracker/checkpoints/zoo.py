"""The manifest: which public weights there are, and which preset or initializer they fit."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import Preset
from ..types import CheckpointError

ZOO_URL = "https://github.com/yoxu515/aot-benchmark/blob/main/MODEL_ZOO.md"

# Names in that list; the stage PRE_YTB_DAV (YouTube-VOS and DAVIS) is the one to track with.
OFFICIAL_RELEASES = {
    "deaot-t": "DeAOTT",
    "deaot-s": "DeAOTS",
    "deaot-b": "DeAOTB",
    "deaot-l": "DeAOTL",
    "r50-deaot-l": "R50-DeAOTL",
    "swinb-deaot-l": "SwinB-DeAOTL",
}


@dataclass(frozen=True)
class Weights:
    """One public file of weights."""

    name: str
    file: str  # its name in the cache folder


MANIFEST: dict[str, Weights] = {
    entry.name: entry
    for entry in (
        Weights("sam-vit-b", "sam_vit_b_01ec64.pth"),
        Weights("sam-vit-l", "sam_vit_l_0b3195.pth"),
        Weights("sam-vit-h", "sam_vit_h_4b8939.pth"),
        Weights("sam-hq-vit-b", "sam_hq_vit_b.pth"),
        Weights("sam-hq-vit-l", "sam_hq_vit_l.pth"),
        Weights("sam-hq-vit-h", "sam_hq_vit_h.pth"),
        Weights("alpha-refine-r34", "SEcmnet_ep0040-c.pth.tar"),
        Weights("alpha-refine-r18", "ar18_cm.pth.tar"),
        Weights("deaot-t", "DeAOTT_PRE_YTB_DAV.pth"),
        Weights("deaot-s", "DeAOTS_PRE_YTB_DAV.pth"),
        Weights("deaot-b", "DeAOTB_PRE_YTB_DAV.pth"),
        Weights("deaot-l", "DeAOTL_PRE_YTB_DAV.pth"),
        Weights("r50-deaot-l", "R50_DeAOTL_PRE_YTB_DAV.pth"),
        Weights("swinb-deaot-l", "SwinB_DeAOTL_PRE_YTB_DAV.pth"),
        Weights("dmaot-swinb", "dmaot_swinb.pth"),
        Weights("hqtrack-vmos", "hqtrack_vmos.pth"),
    )
}


def find_entry(name: str) -> Weights:
    if name not in MANIFEST:
        raise CheckpointError(f"no weights are known by the name {name!r}; there are: {', '.join(MANIFEST)}")
    return MANIFEST[name]


def where_to_find(preset: Preset) -> str:
    """One sentence for someone who asked for a preset without bringing its weights."""
    release = OFFICIAL_RELEASES.get(preset.name)
    if release is None:
        return f"no weights for {preset.name!r} are public; train them, or give a file of your own"
    return f"download the public release {release!r} (PRE_YTB_DAV) from {ZOO_URL} and give its path"
