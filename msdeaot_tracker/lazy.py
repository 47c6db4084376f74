"""Names of a package whose modules load torch, found when they are first asked for (PEP 562).

torch takes seconds and hundreds of megabytes, which what only reads files, or prints a help text, should not pay for.
The rule: a module that computes with tensors imports torch at its top; packages name such modules' contents through
`lazy_names`; other modules import them inside the functions that need them. `tests/test_starting.py` holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package. homes: the module of the package that each name comes from."""

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return find
