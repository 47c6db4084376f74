"""Thin adapters that let tracking toolkits drive the tracker; installed as `msdeaot_integration`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["registry_path", "stack_path"]

_HERE = Path(__file__).resolve().parent


def registry_path() -> Path:
    """The registry file for vot-toolkit: beside this module in a wheel, one folder up in a checkout."""
    installed = _HERE / "trackers.ini"
    return installed if installed.is_file() else _HERE.parent / "trackers.ini"


def stack_path(name: str) -> Path:
    """The experiment stack `stacks/<name>.yaml` of this package."""
    return _HERE / "stacks" / f"{name}.yaml"
