"""Curves of a cost against a size: medians, spread, the exponent of growth, and how they are shown."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from measure import median, nanoseconds

END_POINTS = 3
"""Of the points with the largest sizes, how many make the exponent at the end."""

COLOURS = ("#0b6e99", "#c4561a", "#4a7d2c", "#7a4a9e")


@dataclass
class Point:
    """A size, and what each round found there."""

    x: float
    values: list[float]

    @property
    def middle(self) -> float:
        return median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """Between which eight of ten rounds lie."""
        low, high = np.quantile(self.values, (0.1, 0.9))
        return float(low), float(high)


@dataclass
class Series:
    """One line of a curve."""

    name: str
    points: list[Point] = field(default_factory=list)

    @property
    def exponent(self) -> float:
        """Of growth over all sizes: 0 is flat, 1 is linear."""
        return slope([point for point in self.points if point.x > 0])

    @property
    def end_exponent(self) -> float:
        """The same at the largest sizes, where what does not grow counts least."""
        return slope([point for point in self.points if point.x > 0][-END_POINTS:])

    @property
    def shape(self) -> str:
        """The exponent at the end, in a word."""
        return shape(self.end_exponent)


@dataclass
class Curve:
    """Some lines over the same sizes; `unit` is ``"ns"`` or the name of what is counted."""

    key: str
    title: str
    x: str
    y: str
    unit: str
    series: list[Series]
    note: str = ""
    machine: dict[str, str] = field(default_factory=dict)

    def said(self, value: float) -> str:
        """A value for people."""
        return nanoseconds(value) if self.unit == "ns" else f"{value:.3g}"

    def as_json(self) -> dict[str, Any]:
        """Everything for machines, each round included."""
        lines = [
            {
                "name": line.name,
                "exponent": _or_none(line.exponent),
                "end_exponent": _or_none(line.end_exponent),
                "shape": line.shape,
                "points": [
                    {"x": point.x, "median": point.middle, "spread": point.spread, "rounds": point.values}
                    for point in line.points
                ],
            }
            for line in self.series
        ]
        return {**{name: getattr(self, name) for name in FIELDS}, "series": lines}

    def markdown(self) -> str:
        """A table with a row a size, and the exponents below."""
        sizes = sorted({point.x for line in self.series for point in line.points})
        rows = [[self.x, *(line.name for line in self.series)], ["---:"] * (1 + len(self.series))]
        for size in sizes:
            rows.append([f"{size:,.10g}", *(self._cell(line, size) for line in self.series)])
        rows.append(["exponent", *(f"{line.exponent:.2f}" for line in self.series)])
        rows.append([f"of the last {END_POINTS}", *(f"{line.end_exponent:.2f}: {line.shape}" for line in self.series)])
        return "".join(f"| {' | '.join(row)} |\n" for row in rows)

    def _cell(self, line: Series, size: float) -> str:
        for point in line.points:
            if point.x == size:
                low, high = point.spread
                return f"{self.said(point.middle)} ({self.said(low)} – {self.said(high)})"
        return ""


FIELDS = ("key", "title", "x", "y", "unit", "note", "machine")


def curve_of(content: dict[str, Any]) -> Curve:
    """A curve again, from what :meth:`Curve.as_json` made of it."""
    lines = [
        Series(line["name"], [Point(point["x"], point["rounds"]) for point in line["points"]])
        for line in content["series"]
    ]
    return Curve(series=lines, **{name: content[name] for name in FIELDS})


def slope(points: list[Point]) -> float:
    """Of the line through the points, least squares, both axes logarithmic; not a number for fewer than two."""
    if len(points) < 2:
        return math.nan
    sizes, costs = (np.log([getattr(point, name) for point in points]) for name in ("x", "middle"))
    return float(np.polyfit(sizes, costs, 1)[0])


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else number


def shape(exponent: float) -> str:
    """What an exponent means; within 0.15 it is taken for a whole one."""
    if math.isnan(exponent):
        return "one point"
    for limit, name in ((-0.15, "falls"), (0.15, "flat"), (0.85, "less than linear"), (1.15, "linear")):
        if exponent <= limit:
            return name
    return "more than linear"


def draw(curve: Curve, path: Path) -> None:
    """The curve as an SVG of some kilobytes: text stays text, and the same figures give the same bytes.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": curve.key, "font.size": 9}):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for line, colour in zip(curve.series, COLOURS, strict=False):
            _draw_line(axes, curve, line, colour)
        zero = any(point.x == 0 for line in curve.series for point in line.points)
        axes.set_xscale("symlog" if zero else "log", **({"linthresh": 1, "base": 2} if zero else {}))
        if zero:
            sizes = sorted({point.x for line in curve.series for point in line.points})
            axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: curve.said(value))
        axes.set(title=curve.title, xlabel=curve.x, ylabel=curve.y)
        _make_room(axes, curve)
        axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
        axes.legend(frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    path.write_text("".join(f"{line.rstrip()}\n" for line in path.read_text().splitlines()))


def _draw_line(axes: Any, curve: Curve, line: Series, colour: str) -> None:
    middles = [point.middle for point in line.points]
    below, above = zip(
        *((point.middle - point.spread[0], point.spread[1] - point.middle) for point in line.points), strict=True
    )
    errors = np.clip([below, above], 0, None)
    name = line.name.replace("`", "")  # set as code in the table
    label = f"{name}: exponent {line.end_exponent:.2f} at the end"
    sizes = [point.x for point in line.points]
    axes.errorbar(sizes, middles, errors, label=label, color=colour, marker="o", markersize=3, capsize=2, linewidth=1.2)


def _make_room(axes: Any, curve: Curve) -> None:
    """At least two decades of costs, so that a flat line looks flat, and a third above for the legend."""
    costs = [point.middle for line in curve.series for point in line.points]
    least, most = min(costs), max(costs)
    missing = max(0.0, 2 - math.log10(most / least)) / 2
    axes.set_ylim(least / 10**missing / 1.5, most * 10**missing * 6)


def write_docs(curves: list[Curve], folder: Path) -> None:
    """Each curve's image, and its table in the page, between its markers.

    Raises
    ------
    ValueError
        The page has no place for a curve.
    """
    page = folder / "explanations" / "how-cost-grows.md"
    text = page.read_text()
    images = folder / "images"
    images.mkdir(exist_ok=True)
    for curve in curves:
        draw(curve, images / f"growth-{curve.key}.svg")
        text = _placed(text, curve)
    page.write_text(text)


def _placed(text: str, curve: Curve) -> str:
    begin, end = f"<!-- growth: {curve.key} -->", "<!-- end -->"
    pattern = re.compile(rf"{begin}\n.*?{end}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the page has no line {begin}")
    machine = curve.machine
    where = f"{machine['processor']}, Python {machine['Python']}, {machine['date'].partition('T')[0]}"
    measured = f"*{curve.note} {where}.*"
    image = f"![{curve.title}](../images/growth-{curve.key}.svg)"
    block = f"{begin}\n{image}\n\n{curve.markdown()}\n{measured}\n{end}"
    return pattern.sub(lambda _: block, text)
