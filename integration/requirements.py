"""Checks that a toolkit's packages are there, and are not other projects of the same name."""

from __future__ import annotations

from importlib.metadata import packages_distributions
from importlib.util import find_spec

EXTRA = 'pip install "msdeaot-tracker[vot]" (x86-64 Linux and Windows only: vot-trax has no other wheels)'


def require_trax() -> None:
    """Raise ImportError unless `import trax` will bring vot-trax (Google's Trax has the same module name)."""
    _require("trax", "vot-trax")


def require_toolkit() -> None:
    """Raise ImportError unless `import vot` will bring vot-toolkit, and `import trax` vot-trax."""
    _require("vot", "vot-toolkit")
    require_trax()


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
