"""One HTML page of a comparison: tables, plots, what was left out, clips. It loads nothing and names are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from .metrics import ERROR_THRESHOLDS, PIXEL_THRESHOLDS, ROBUSTNESS_THRESHOLDS, THRESHOLDS
from .page_style import SCRIPT, STYLE
from .plots import colour_class, curve_plot
from .tables import (
    IMPORTED,
    MEASURED,
    MISSING,
    PUBLISHED_SOURCE,
    SUCCESS,
    Comparison,
    Row,
    attribute_success,
    worst_sequences_first,
)
from .text_tables import TITLES, table_cells, table_notes

_PLOTS = {  # by the names of curves: thresholds, title, labels of the axes
    "success": (THRESHOLDS, "Success", "overlap threshold", "part of frames"),
    "precision": (PIXEL_THRESHOLDS, "Precision", "centre error threshold (pixels)", "part of frames"),
    "normalized_precision": (
        ERROR_THRESHOLDS,
        "Normalized precision",
        "normalized centre error threshold",
        "part of frames",
    ),
    "generalized_success_robustness": (
        ROBUSTNESS_THRESHOLDS,
        "Robustness",
        "overlap threshold of failure",
        "part of the run before failure",
    ),
}
_BADGES = {MEASURED: "measured", IMPORTED: "imported", PUBLISHED_SOURCE: "published", MISSING: "missing"}
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def html_page(comparison: Comparison) -> str:
    """The whole page, for one file."""
    colours = comparison.colours()
    parts = [_header(comparison)]
    for protocol, rows in comparison.rows.items():
        scored = [row for row in rows if row.overall and row.root is not None]
        parts += [
            f"<section><h2>{escape(TITLES[protocol])}</h2>",
            _overall(comparison, rows),
            _plots(scored, colours),
            _attributes(comparison, scored),
            _by_sequence(comparison, scored),
            "</section>",
        ]
    parts += [_clips(comparison, colours), _left_out(comparison)]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(comparison.title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main>\n{body}\n<footer>{escape(comparison.made_by)}</footer>\n</main>"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _header(comparison: Comparison) -> str:
    frames = sum(map(len, comparison.sequences))
    counts = {"sequence": len(comparison.sequences), "frame": frames, "tracker": len(comparison.colours())}
    facts = ", ".join(f"{count:,} {name}{'' if count == 1 else 's'}" for name, count in counts.items())
    lacking = [row for rows in comparison.rows.values() for row in rows if not row.is_complete]
    note = ""
    if lacking:
        names = ", ".join(dict.fromkeys(f"{row.tracker} ({row.protocol})" for row in lacking))
        note = (
            f'<div class="card warn"><b>Not over everything.</b> {escape(names)}: some runs have no usable results and '
            f'are in no number. <a href="#left-out">What was left out</a></div>'
        )
    return f'<header><h1>{escape(comparison.title)}</h1><p class="facts">{facts}</p>{note}</header>'


def _overall(comparison: Comparison, rows: Sequence[Row]) -> str:
    head, lines = table_cells(rows)
    body = []
    for row, (tracker, _, *values) in zip(rows, lines, strict=True):
        kind = _BADGES[row.source]
        origin = f'<span class="badge {kind}">{escape(row.source)}</span> <small>{escape(row.reference)}</small>'
        cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        body.append(f'<tr class="{kind}"><td>{escape(tracker)} {origin}</td>{cells}</tr>')
    titles = "".join(f"<th>{escape(title)}</th>" for title in [head[0], *head[2:]])
    return _card(_table(titles, body) + "".join(f"<p>{escape(note)}</p>" for note in table_notes(comparison, rows)))


def _plots(rows: Sequence[Row], colours: Mapping[tuple[str, str], int]) -> str:
    plots = []
    for name, (thresholds, title, x_label, y_label) in _PLOTS.items():
        shown = sorted((row for row in rows if name in row.curves), key=lambda row: -row.overall[f"{name}_score"])
        if not shown:
            continue
        svg = curve_plot(
            {colours[row.key]: (row.tracker, row.curves[name]) for row in shown}, thresholds, x_label, y_label
        )
        legend = "".join(_legend_item(row, colours, f"{row.overall[f'{name}_score']:.3f}") for row in shown)
        plots.append(f'<figure class="card"><h3>{title}</h3>{svg}<ul class="legend">{legend}</ul></figure>')
    return f'<div class="plots">{"".join(plots)}</div>' if plots else ""


def _legend_item(row: Row, colours: Mapping[tuple[str, str], int], value: str) -> str:
    note = f"<b>{escape(value)}</b>" if value else ""
    return f'<li><i class="{colour_class(colours[row.key])}"></i><span>{escape(row.label)}</span>{note}</li>'


def _attributes(comparison: Comparison, rows: Sequence[Row]) -> str:
    rows = [row for row in rows if row.sequences]
    if not (rows and comparison.attributes):
        return ""
    lines = []
    for attribute, names in comparison.attributes.items():
        values = [attribute_success(row, names, comparison.sequences) for row in rows]
        lines.append(_matrix_line([attribute], len(names), values))
    return _card("<h3>Success by attribute</h3>" + _matrix(["attribute", "sequences"], rows, lines))


def _by_sequence(comparison: Comparison, rows: Sequence[Row]) -> str:
    rows = [row for row in rows if row.sequences]
    if not rows:
        return ""
    lengths = {sequence.name: len(sequence) for sequence in comparison.sequences}
    lines = [
        _matrix_line([name], lengths[name], [row.sequences.get(name, {}).get(SUCCESS) for row in rows])
        for name in worst_sequences_first(rows)
    ]
    return _card("<h3>Success by sequence, the worst first</h3>" + _matrix(["sequence", "frames"], rows, lines))


def _matrix(titles: Sequence[str], rows: Sequence[Row], lines: Sequence[str]) -> str:
    head = [*titles, *(row.label for row in rows)]
    columns = "".join(f'<th data-sort tabindex="0">{escape(title)}</th>' for title in head)
    return _table(columns, lines, f'class="matrix" style="--n:{len(rows)}"')


def _matrix_line(names: Sequence[str], count: int, values: Sequence[float | None]) -> str:
    best = max((value for value in values if value is not None), default=None)
    cells = []
    for value in values:
        if value is None:
            cells.append('<td data-v="-1">–</td>')
        else:
            kind = "bar best" if value == best and len(values) > 1 else "bar"
            cells.append(f'<td class="{kind}" style="--v:{value:.4f}" data-v="{value:.6f}">{value:.3f}</td>')
    first = "".join(f"<td>{escape(name)}</td>" for name in names)
    return f'<tr>{first}<td data-v="{count}">{count:,}</td>{"".join(cells)}</tr>'


def _clips(comparison: Comparison, colours: Mapping[tuple[str, str], int]) -> str:
    if not comparison.clips:
        return ""
    figures = []
    for name, (uri, rows) in comparison.clips.items():
        legend = '<li><i class="truth"></i>truth</li>' + "".join(_legend_item(row, colours, "") for row in rows)
        figures.append(
            f'<details class="card" open><summary>{escape(name)}</summary>'
            f'<img src="{escape(uri)}" alt="{escape(name)}: boxes of the trackers and the truth">'
            f'<ul class="legend inline">{legend}</ul></details>'
        )
    return f'<section><h2>Beside the truth</h2><div class="clips">{"".join(figures)}</div></section>'


def _left_out(comparison: Comparison) -> str:
    entries = [
        (
            f"{row.tracker}, {row.protocol}: {row.coverage['scored_runs']} of {row.coverage['runs']} runs",
            row.coverage["problems"],
        )
        for rows in comparison.rows.values()
        for row in rows
        if row.coverage is not None and (row.coverage["problems"] or not row.is_complete)
    ]
    if comparison.problems:
        entries.append(("This page", comparison.problems))
    if not entries:
        return _section("Every run that there should be was scored, and no file had a fault.")
    return _section("", (_problem_list(title, problems) for title, problems in entries))


def _section(text: str, parts: Iterable[str] = ()) -> str:
    return f'<section id="left-out"><h2>What was left out</h2><p>{text}</p>{"".join(parts)}</section>'


def _problem_list(title: str, problems: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    return f'<details class="card"><summary>{escape(title)}</summary><ul>{items}</ul></details>'


def _table(head: str, lines: Iterable[str], attributes: str = "") -> str:
    body = "".join(lines)
    return f'<div class="scroll"><table {attributes}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _card(content: str) -> str:
    return f'<div class="card">{content}</div>'
