"""Curves as SVG for a page: colours, lines and letters come from the page's style, so it suits light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

COLOURS = 8  # classes c0 to c7 of the page's style; a ninth line begins again, dashed
_WIDTH, _HEIGHT = 400, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 42


def colour_class(index: int) -> str:
    return f"c{index % COLOURS}" + (" dashed" if index // COLOURS % 2 else "")


def curve_plot(curves: Mapping[int, tuple[str, np.ndarray]], x: np.ndarray, x_label: str, y_label: str) -> str:
    """One <svg>. curves: {index of the colour: (name, values [len(x)] in [0, 1])}; x ascends."""
    ticks = np.linspace(x[0], x[-1], 6)
    grid = [_tick_x(x, value) for value in ticks] + [_tick_y(value) for value in np.linspace(0, 1, 6)]
    lines = [_line(x, values, index, name) for index, (name, values) in reversed(list(curves.items()))]
    middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
    names = ", ".join(name for name, _ in curves.values())
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(y_label)} of {escape(names)}">'
        + "".join(grid)
        + f'<text class="axis" x="{middle_x:g}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
        + f'<text class="axis" transform="translate(12 {middle_y:g}) rotate(-90)" text-anchor="middle">'
        + f"{escape(y_label)}</text>"
        + "".join(lines)
        + "</svg>"
    )


def _line(x: np.ndarray, values: Sequence[float], index: int, name: str) -> str:
    points = " ".join(f"{_x(x, a):.1f},{_y(b):.1f}" for a, b in zip(x, values, strict=True))
    return f'<polyline class="line {colour_class(index)}" points="{points}"><title>{escape(name)}</title></polyline>'


def _tick_x(x: np.ndarray, value: float) -> str:
    at, foot = _x(x, value), _HEIGHT - _BOTTOM
    label = f'<text x="{at:.1f}" y="{foot + 16}" text-anchor="middle">{value:g}</text>'
    return f'<path class="grid" d="M{at:.1f} {_TOP}V{foot}"/>{label}'


def _tick_y(value: float) -> str:
    at = _y(value)
    label = f'<text x="{_LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{value:.1f}</text>'
    return f'<path class="grid" d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}"/>{label}'


def _x(x: np.ndarray, value: float) -> float:
    return _LEFT + (value - x[0]) / (x[-1] - x[0]) * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _TOP + (1 - value) * (_HEIGHT - _TOP - _BOTTOM)
