"""Which public weights fit which preset."""

from __future__ import annotations

from ..config import Preset

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


def where_to_find(preset: Preset) -> str:
    """One sentence for someone who asked for a preset without bringing its weights."""
    release = OFFICIAL_RELEASES.get(preset.name)
    if release is None:
        return f"no weights for {preset.name!r} are public; train them, or give a file of your own"
    return f"download the public release {release!r} (PRE_YTB_DAV) from {ZOO_URL} and give its path"
