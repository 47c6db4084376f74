"""`msdeaot report`: a comparison of trackers as one page, and as tables for a paper or a README."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from .. import __version__
from ..data.datasets.box_sequences import DATASETS, read_dataset
from ..data.datasets.box_types import BoxSequence
from ..evaluation import DATASET_FOLDERS, PROTOCOLS, results_folder
from ..evaluation.clips import clip_uri
from ..evaluation.layouts import LAYOUTS, TREK150, Layout
from ..evaluation.report import html_page
from ..evaluation.results import read_result_file
from ..evaluation.tables import Comparison, Row, best_first, measured_row, published_rows, read_attributes
from ..evaluation.text_tables import latex_tables, markdown_tables
from ..types import InputError
from .evaluate_dataset import EXIT_INCOMPLETE, parse_protocols

_CLIP_TRACKERS = 4  # boxes in one clip, besides the true one


class _Results(NamedTuple):
    folder: Path  # with one folder per tracker
    layout: Layout
    trackers: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Scores result files as `msdeaot score` does and writes one self-contained HTML page: the overall "
        "table, plots, success by attribute and by sequence (the worst first), and what was left out. Results of "
        "others come in with --import; who measured what is marked. Numbers published for the dataset stand beside "
        "them. What cannot be scored is named and counted, and makes exit status 1."
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the dataset")
    parser.add_argument("--dataset", choices=list(DATASETS), required=True)
    parser.add_argument("--results", type=Path, metavar="RESULTS", help="as for `msdeaot score`")
    parser.add_argument(
        "--import",
        dest="imports",
        type=_parse_import,
        action="append",
        default=[],
        metavar="LAYOUT=FOLDER",
        help=f"results of others, a folder with a folder per tracker, in the layout {', '.join(LAYOUTS)}; repeatable",
    )
    parser.add_argument(
        "--protocol",
        dest="protocols",
        type=parse_protocols,
        metavar="P[,P...]",
        help=f"some of {', '.join(PROTOCOLS)} (default: those with results)",
    )
    parser.add_argument(
        "--trackers", type=lambda text: text.split(","), metavar="A,B,...", help="default: every one with results"
    )
    parser.add_argument(
        "--no-published", dest="published", action="store_false", help="leave out the numbers published for the dataset"
    )
    parser.add_argument(
        "--attributes", type=Path, metavar="FOLDER", help="of LaSOT: `annos/att` of its evaluation toolkit"
    )
    parser.add_argument(
        "--videos",
        type=lambda text: text.split(","),
        default=[],
        metavar="SEQ,...",
        help=f"sequences to show, with the true box and those of the {_CLIP_TRACKERS} best trackers of ope",
    )
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: %(default)s")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the overall tables as Markdown as well")
    parser.add_argument("--latex", type=Path, metavar="FILE", help="write the overall tables as LaTeX as well")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if not (args.results or args.imports):
        raise InputError("--results or --import is needed: what to compare")
    sequences = read_dataset(args.dataset, args.folder)
    rows = _rows(args, sequences)
    problems: list[str] = []
    attributes = read_attributes(args.dataset, args.attributes or args.folder, sequences, problems)
    comparison = Comparison(
        f"{DATASET_FOLDERS[args.dataset]}: trackers compared",
        args.dataset,
        sequences,
        rows,
        attributes,
        problems=problems,
        made_by=f"msdeaot-tracker {__version__}",
    )
    comparison = replace(comparison, clips=dict(_clips(comparison, args.videos)))
    args.out.write_text(html_page(comparison), encoding="utf-8")
    if args.markdown:
        args.markdown.write_text(markdown_tables(comparison), encoding="utf-8")
    if args.latex:
        args.latex.write_text(latex_tables(comparison), encoding="utf-8")
    lacking = [row for entries in rows.values() for row in entries if not row.is_complete]
    print(f"{args.out}: {len(comparison.colours())} trackers under {', '.join(rows)}; {len(lacking)} rows lack runs")
    return EXIT_INCOMPLETE if lacking else 0


def _rows(args: argparse.Namespace, sequences: Sequence[BoxSequence]) -> dict[str, list[Row]]:
    """By protocol, best first; without --protocol those under which there are results."""
    sources = [_find(folder, layout, args.trackers) for folder, layout in args.imports]
    if args.results:
        sources.insert(0, _find(results_folder(args.results, args.dataset), TREK150, args.trackers))
    names = [name for source in sources for name in source.trackers]
    strangers = [name for name in args.trackers or () if name not in names]
    if strangers or not names:
        raise InputError(f"there are no results of {strangers[0] if strangers else 'any tracker'}")
    rows = {}
    for protocol in args.protocols or PROTOCOLS:
        found = [
            measured_row(sequences, source.folder, name, protocol, dataset=args.dataset, layout=source.layout)
            for source in sources
            for name in source.trackers
            if args.protocols or _has(source, name, protocol)
        ]
        published = published_rows(args.dataset, protocol) if args.published else []
        if found:
            rows[protocol] = best_first([*found, *published])
    return rows


def _find(folder: Path, layout: Layout, chosen: Sequence[str] | None) -> _Results:
    found = layout.trackers(folder)
    if not found:
        raise InputError(f"{folder} has no {layout.pattern} with results")
    return _Results(folder, layout, [name for name in found if chosen is None or name in chosen])


def _has(source: _Results, tracker: str, protocol: str) -> bool:
    """Layouts with one folder for all protocols are those of one-pass evaluation."""
    if source.layout is TREK150:
        return source.layout.folder(source.folder, tracker, protocol).is_dir()
    return protocol == "ope"


def _clips(comparison: Comparison, names: Sequence[str]) -> Iterator[tuple[str, tuple[str, list[Row]]]]:
    """Of ope: its runs are the sequences. InputError: no such sequence, none of ope, no frames."""
    known = {sequence.name: sequence for sequence in comparison.sequences}
    colours = comparison.colours()
    for name in names:
        if name not in known:
            raise InputError(f"--videos {name}: there is no such sequence")
        rows = [row for row in comparison.rows.get("ope", ()) if name in row.sequences][:_CLIP_TRACKERS]
        if not rows:
            raise InputError(f"--videos {name}: no tracker has results of ope there")
        answers = {}
        for row in rows:
            file = row.layout.boxes(row.layout.folder(row.root, row.tracker, "ope"), name)
            complete = row.layout.complete  # the row's problems name what is odd in the file
            answers[colours[row.key]] = read_result_file(file, len(known[name]), complete=complete, notes=[])
        yield name, (clip_uri(known[name], answers), rows)


def _parse_import(text: str) -> tuple[Path, Layout]:
    layout, separator, folder = text.partition("=")
    if not separator or layout not in LAYOUTS or not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not LAYOUT=FOLDER with a layout of {', '.join(LAYOUTS)}")
    return Path(folder), LAYOUTS[layout]
