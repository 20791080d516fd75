"""Charts as inline SVG: no image library, no script, and they take the page's colours in light, dark and print.

Every function gives markup that is safe to put into a page as it is: all text in it is escaped.
"""

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from pipeline.report.histogram import Histogram

#: Pixels of the drawing; the page scales it to the width that there is.
_WIDTH = 360
_HEIGHT = 130
_LEFT, _RIGHT, _TOP, _BOTTOM = 8, 8, 18, 24
_CURVE_WIDTH, _CURVE_HEIGHT = 720, 300
#: Classes of the style sheet, one a line, taken in turn.
_SERIES = 6


def number(value: float) -> str:
    """A number for an axis or a table cell: 4 significant digits, thousands in groups, no needless zeros."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def histogram(data: Histogram) -> Markup:
    """Kept documents as filled bars, dropped ones as an outline over them, limits as dashed lines.

    Both are drawn to their own maximum: a rule that drops one document in a hundred would not show otherwise.
    """
    low, high = _place(data.edges[0], data), _place(data.edges[-1], data)
    span = (high - low) or 1.0
    inner, bottom = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM

    def across(value: float) -> float:
        return _LEFT + inner * (_place(value, data) - low) / span

    parts = [f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>']
    for css, counts in (("kept", data.kept), ("dropped", data.dropped)):
        tallest = max(counts, default=0)
        for place, count in enumerate(counts):
            if not count:
                continue
            # One document must be seen beside ten thousand.
            height = max(1.5, (bottom - _TOP) * count / tallest)
            left, right = across(data.edges[place]), across(data.edges[place + 1])
            width = max(0.8, right - left - 0.6)
            words = f"{number(data.edges[place])} to {number(data.edges[place + 1])}: {count:,} {css}"
            place_and_size = f'x="{left:.1f}" y="{bottom - height:.1f}" width="{width:.1f}" height="{height:.1f}"'
            parts.append(f'<rect class="{css}" {place_and_size}><title>{words}</title></rect>')
    for name, limit in data.limits:
        x = across(limit)
        anchor, shift = ("end", -3) if x > _WIDTH / 2 else ("start", 3)
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{bottom}"/>')
        label = f"{name} {number(limit)}"
        parts.append(
            f'<text class="limit-text" x="{x + shift:.1f}" y="{_TOP - 8}" text-anchor="{anchor}">{escape(label)}</text>'
        )
    ends = ((data.edges[0], _LEFT, "start"), (data.edges[-1], _WIDTH - _RIGHT, "end"))
    for value, x, anchor in ends:
        parts.append(f'<text class="tick" x="{x}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{number(value)}</text>')
    if data.log:
        parts.append(f'<text class="tick" x="{_WIDTH / 2}" y="{_HEIGHT - 8}" text-anchor="middle">logarithmic</text>')
    label = f"histogram of {data.column}: {sum(data.kept):,} kept, {sum(data.dropped):,} dropped by it"
    return _svg(parts, width=_WIDTH, height=_HEIGHT, label=label)


def _place(value: float, data: Histogram) -> float:
    return math.log1p(max(0.0, value)) if data.log else value


def curves(series: Mapping[str, Sequence[Sequence[Sequence[float]]]]) -> Markup:
    """Loss over tokens: a line a variant (the mean of its seeds) and a band from the lowest to the highest seed.

    `series[variant]` has one list of (tokens, loss) a seed. Points stand where every seed has one. The first tenth is
    left out: the losses of untrained models would squeeze the rest flat.
    """
    bands = {name: _band(seeds) for name, seeds in series.items()}
    most = max((point[0] for band in bands.values() for point in band), default=0.0) or 1.0
    bands = {name: [point for point in band if point[0] >= most / 10] for name, band in bands.items()}
    points = [point for band in bands.values() for point in band]
    if not points:
        return Markup("")
    low, high = min(point[1] for point in points), max(point[3] for point in points)
    span = (high - low) or 1.0
    left, right, top, bottom = 52, _CURVE_WIDTH - 12, 12, _CURVE_HEIGHT - 30

    def at(tokens: float, loss: float) -> str:
        y = bottom - (bottom - top) * (loss - low) / span
        return f"{left + (right - left) * tokens / most:.1f},{y:.1f}"

    parts = [
        f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>',
        f'<line class="axis" x1="{left}" x2="{left}" y1="{top}" y2="{bottom}"/>',
    ]
    for step in range(5):
        y = bottom - (bottom - top) * step / 4
        parts.append(
            f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{low + span * step / 4:.3f}</text>'
        )
        x, words = left + (right - left) * step / 4, number(round(most * step / 4))
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 18}" text-anchor="{_anchor(step)}">{words}</text>')
    for place, (name, band) in enumerate(bands.items()):
        css = f"series-{place % _SERIES}"
        outline = [at(point[0], point[3]) for point in band] + [at(point[0], point[1]) for point in reversed(band)]
        parts.append(f'<polygon class="band {css}" points="{" ".join(outline)}"/>')
        line = " ".join(at(point[0], point[2]) for point in band)
        parts.append(f'<polyline class="curve {css}" points="{line}"><title>{escape(name)}</title></polyline>')
    return _svg(parts, width=_CURVE_WIDTH, height=_CURVE_HEIGHT, label="training loss in nats per token over tokens")


def _anchor(step: int) -> str:
    return "start" if step == 0 else "end" if step == 4 else "middle"


def _band(seeds: Sequence[Sequence[Sequence[float]]]) -> list[tuple[float, float, float, float]]:
    """(tokens, lowest, mean, highest) where every seed has a finite loss."""
    by_tokens = [{tokens: loss for tokens, loss in curve if math.isfinite(loss)} for curve in seeds]
    common = sorted(set.intersection(*map(set, by_tokens))) if by_tokens else []
    rows = [(tokens, [curve[tokens] for curve in by_tokens]) for tokens in common]
    return [(tokens, min(losses), sum(losses) / len(losses), max(losses)) for tokens, losses in rows]


def interval(low: float, middle: float, high: float, *, reach: float) -> Markup:
    """One interval on an axis from -reach to +reach with a line at zero."""
    width, height = 180, 18

    def across(value: float) -> float:
        return width / 2 + (width / 2 - 4) * value / (reach or 1.0)

    parts = [
        f'<line class="axis" x1="{width / 2}" x2="{width / 2}" y1="0" y2="{height}"/>',
        f'<line class="interval" x1="{across(low):.1f}" x2="{across(high):.1f}" y1="9" y2="9"/>',
        f'<circle class="interval-dot" cx="{across(middle):.1f}" cy="9" r="3.5"/>',
    ]
    return _svg(parts, width=width, height=height, label=f"{middle:+.4f}, from {low:+.4f} to {high:+.4f}")


def _svg(parts: Sequence[str], *, width: int, height: int, label: str) -> Markup:
    head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
    return Markup(head + "".join(parts) + "</svg>")  # noqa: S704 (numbers, and text escaped above)
