"""Docstrings as the API page shows them: arguments as a list, examples as code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import griffe

_ARGUMENT = re.compile(r"([a-z_]+(?:, [a-z_]+)*):\s+(.*)")
_EXAMPLE = (">>>", "...")


class HouseDocstrings(griffe.Extension):
    """Named by mkdocs.yml."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    """`name: what it is` begins an item; an example goes from `>>>` to the next empty line."""
    return "\n".join(_lines(docstring.splitlines()))


def _lines(lines: list[str]) -> Iterator[str]:
    in_item = in_example = False
    for line in lines:
        if in_example and not line.strip():
            yield "```"
            in_example = False
        if not in_example and line.startswith(_EXAMPLE):
            yield from ("", "```python")
            in_example = True
        argument = None if in_example else _ARGUMENT.fullmatch(line)
        if argument:
            yield from ([] if in_item else [""])
            yield f"- `{argument[1]}`: {argument[2]}"
            in_item = True
        elif in_item and line.startswith(" "):
            yield f"  {line.strip()}"
        else:
            yield from ([""] if in_item else [])
            yield line
            in_item = False
    if in_example:
        yield "```"
