"""What has to be installed for a toolkit, that it is that and whole, and what the toolkit that is there cannot do."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from importlib.metadata import distributions, packages_distributions
from importlib.util import find_spec
from typing import Any

EXTRA = 'pip install "msdeaot-tracker[vot]" (x86-64 Linux and Windows only: vot-trax has no other wheels)'
_BROKEN_SINCE = (0, 8)  # vot-toolkit whose own multi-start, supervised and real-time experiments end in an error
_BROKEN_KINDS = ("multistart", "supervised")
_ONE_TOOLKIT = "give each version an environment of its own; the extra `vot` brings 0.7.4, the extra `vots` 0.9"


def require_trax() -> None:
    """Raise ImportError unless `import trax` will bring vot-trax (Google's Trax has the same module name)."""
    _require("trax", "vot-trax")


def require_toolkit() -> None:
    """Raise ImportError unless `import vot` will bring one vot-toolkit that works, and `import trax` vot-trax."""
    _require("vot", "vot-toolkit")
    require_trax()
    attributee = _version("attributee")
    if sys.version_info >= (3, 11) and _numbers(attributee) >= (0, 1, 10):
        raise ImportError(
            f"attributee {attributee} breaks `import vot` on Python {sys.version_info[0]}.{sys.version_info[1]}: "
            "pip install attributee==0.1.9, which the extras `vot` and `vots` pin"
        )


def toolkit_version() -> str:
    """Of vot-toolkit; ImportErrors of `require_toolkit`."""
    require_toolkit()
    return _version("vot-toolkit")


def toolkit_limits(version: str) -> list[str]:
    """What this version of vot-toolkit cannot do, and what can, one line each."""
    if _numbers(version) < _BROKEN_SINCE:
        return [
            f"vot-toolkit {version} does not know the stacks vots2024, vots2025, vots2026 and davis2017val; "
            "0.9 does: the extra `vots`, in an environment of its own"
        ]
    return [
        f"vot-toolkit {version} crashes in its own multi-start, supervised and real-time experiments, as in "
        "vots2025/realtime; 0.7.4 runs them: the extra `vot`, in an environment of its own. One-pass experiments run, "
        "of several objects as well, and so do all of the workspaces that `msdeaot workspace` makes"
    ]


def check_experiments(version: str, experiments: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ImportError naming the first of a stack's experiments that this version of vot-toolkit crashes in."""
    if _numbers(version) < _BROKEN_SINCE:
        return
    for name, experiment in experiments.items():
        kind = experiment["type"]
        own = "." not in kind  # by a dotted path it is somebody else's
        if own and (kind in _BROKEN_KINDS or experiment.get("realtime")):
            what = kind if kind in _BROKEN_KINDS else "real-time"
            raise ImportError(f"experiment {name!r} is {what}: {toolkit_limits(version)[0]}")


def _require(module: str, distribution: str) -> None:
    if find_spec(module) is None:
        raise ImportError(f"{distribution} is not installed: {EXTRA}")
    strangers = set(packages_distributions().get(module, ())) - {distribution}
    if strangers:
        names = ", ".join(sorted(strangers))
        raise ImportError(
            f"the module {module!r} here comes from {names}, another project of the same name: "
            f"pip uninstall {names}, then {EXTRA}"
        )
    _version(distribution)


def _version(distribution: str) -> str:
    """ImportError: several are here, as when one environment sees another's packages, or was upgraded by halves."""
    found = {each.version for each in distributions(name=distribution)}
    if len(found) > 1:
        raise ImportError(f"{distribution} is here in versions {' and '.join(sorted(found))} at once: {_ONE_TOOLKIT}")
    return found.pop() if found else ""


def _numbers(version: str) -> tuple[int, ...]:
    """0.1.10 -> (0, 1, 10)."""
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
