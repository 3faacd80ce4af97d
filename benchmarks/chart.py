"""The reads as an SVG chart: a group of bars per shape, times on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_LEFT, _RIGHT, _TOP, _WIDTH = 130, 90, 70, 860
_BAR, _GAP = 14, 18
_COLOURS = ("#9aa5b1", "#7b8794", "#d9480f", "#f59f00", "#2f9e44", "#1971c2")


def _text(x: float, y: float, words: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def _duration(seconds: float) -> str:
    milliseconds = seconds * 1e3
    return f"{milliseconds:.3g} ms" if milliseconds < 1000 else f"{seconds:.3g} s"


def bars(title: str, groups: Mapping[str, Mapping[str, float]], series: Sequence[str]) -> str:
    """Draw `groups` (label -> contestant -> seconds), with contestants in the order of `series`."""
    values = [group[name] for group in groups.values() for name in series if name in group]
    low = 10 ** math.floor(math.log10(min(values)))
    high = 10 ** math.ceil(math.log10(max(values)))
    span = math.log10(high / low)
    plot = _WIDTH - _LEFT - _RIGHT

    def x(seconds: float) -> float:
        return _LEFT + plot * math.log10(seconds / low) / span

    lines: list[str] = []
    y = float(_TOP)
    for label, group in groups.items():
        present = [name for name in series if name in group]
        middle = y + len(present) * _BAR / 2 + 4
        lines.append(_text(_LEFT - 10, middle, label, 'text-anchor="end" font-weight="600"'))
        for name in present:
            colour = _COLOURS[series.index(name) % len(_COLOURS)]
            end = x(group[name])
            lines.append(
                f'<rect x="{_LEFT}" y="{y:.1f}" width="{end - _LEFT:.1f}" height="{_BAR - 2}" '
                f'fill="{colour}"><title>{escape(name)}</title></rect>'
            )
            lines.append(_text(end + 5, y + _BAR - 4, _duration(group[name]), 'font-size="10"'))
            y += _BAR
        y += _GAP
    height = y + 30
    grid: list[str] = []
    for power in range(round(span) + 1):
        at = x(low * 10**power)
        grid.append(f'<path d="M{at:.1f} {_TOP - 8}V{y:.1f}" stroke="#dde2e7"/>')
        grid.append(_text(at, y + 14, _duration(low * 10**power), 'text-anchor="middle"'))
    legend: list[str] = []
    at = float(_LEFT)
    for index, name in enumerate(series):
        colour = _COLOURS[index % len(_COLOURS)]
        legend.append(f'<rect x="{at:.1f}" y="38" width="10" height="10" fill="{colour}"/>')
        legend.append(_text(at + 14, 47, name))
        at += 34 + 6.4 * len(name)
    body = "\n".join(
        [_text(_LEFT, 22, title, 'font-size="15" font-weight="600"'), *legend, *grid, *lines]
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="#1f2933">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )
