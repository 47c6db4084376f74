"""Rows as tables of text: their cells, Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .published import SEQUENCES
from .tables import COLUMNS, PUBLISHED_SOURCE, Comparison, Row

TITLES = {
    "ope": "One-pass evaluation (OPE)",
    "mse": "Multi-start evaluation (MSE)",
    "hoi": "Hand-object interaction evaluation (HOI)",
    "rte": "Real-time evaluation (RTE)",
}
_NONE = "–"
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    **{character: f"\\{character}" for character in "#$%&_{}"},
}


def table_cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The head and the lines of one protocol's table; scores with three digits, as they are published."""
    keys = [key for key in COLUMNS if any(_value(row, key) != _NONE for row in rows)]
    head = ["tracker", "origin", *(COLUMNS[key] for key in keys), "runs"]
    return head, [[row.tracker, row.who, *(_value(row, key) for key in keys), _runs(row)] for row in rows]


def table_notes(comparison: Comparison, rows: Sequence[Row]) -> list[str]:
    """What must be said with these numbers."""
    notes = [] if all(row.is_complete for row in rows) else ["* Over fewer runs than there are."]
    whole, here = SEQUENCES.get(comparison.dataset), len(comparison.sequences)
    if any(row.source == PUBLISHED_SOURCE for row in rows) and here != whole:
        notes.append(f"Published numbers are over {whole} sequences, the others over {here}: they do not compare.")
    return notes


def markdown_tables(comparison: Comparison) -> str:
    """The overall tables. Names are escaped: they come from files."""
    parts = []
    for protocol, rows in comparison.rows.items():
        head, lines = table_cells(rows)
        table = [[_markdown(cell) for cell in line] for line in [head, *lines]]
        table.insert(1, ["---", "---", *["---:"] * (len(head) - 2)])
        parts.append(f"### {TITLES[protocol]}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in table) + "\n")
        parts += [f"{_markdown(note)}\n" for note in table_notes(comparison, rows)]
    return "\n".join(parts)


def latex_tables(comparison: Comparison) -> str:
    """The same as `table`s, for \\usepackage{booktabs}."""
    parts = ["% \\usepackage{booktabs}\n"]
    for protocol, rows in comparison.rows.items():
        head, lines = table_cells(rows)
        caption = " ".join([f"{TITLES[protocol]}.", *table_notes(comparison, rows)])
        body = [" & ".join(_latex(cell) for cell in line) + r" \\" for line in [head, *lines]]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\caption{{{_latex(caption)}}}",
                    rf"\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
                    r"\toprule",
                    body[0],
                    r"\midrule",
                    *body[1:],
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                    "",
                ]
            )
        )
    return "\n".join(parts)


_FASTEST = 10_000  # frames per second; what is faster has not looked at them


def _value(row: Row, key: str) -> str:
    value = row.overall.get(key)
    if value is None or (key == "speed_fps" and not 0 <= value <= _FASTEST):
        return _NONE
    return f"{value:,.1f}" if key == "speed_fps" else f"{value:.3f}"


def _runs(row: Row) -> str:
    if row.coverage is None:
        return _NONE
    return f"{row.coverage['scored_runs']}/{row.coverage['runs']}{'' if row.is_complete else '*'}"


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&$])", r"\\\1", _line(text))


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in _line(text))


def _line(text: str) -> str:
    return " ".join(text.split())
