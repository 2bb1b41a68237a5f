"""Plots as SVG files, written by hand: no script, no style element, readable in print and by screen readers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlpipeline.reports.markup import Markup, element, join

CANDIDATE = "#0b6e8f"
CHAMPION = "#8a6d1d"
GOOD = "#2b7a3f"
BAD = "#b3261e"
UNSURE = "#8a5a00"
INK = "#1f2933"
FAINT = "#64707d"
GRID = "#e3e8ed"
BAND = "#f3f6f9"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Line:
    """One line of a plot over time: (Unix seconds, value) points; a value that is no number leaves a gap."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Stage:
    """A stage of the rollout, in Unix seconds."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class TimePlot:
    """What a plot over the time of a release shows.

    Args:
        unit: Of the values, as written beside the axis.
        scale: What values are multiplied with (1000 for milliseconds of seconds).
        decided: When the decision fell (Unix seconds), how it is called, and its colour.
        limit: A horizontal line and its name.
    """

    title: str
    unit: str
    lines: Sequence[Line]
    stages: Sequence[Stage] = ()
    scale: float = 1.0
    decided: tuple[float, str, str] | None = None
    limit: tuple[float, str] | None = None
    size: tuple[int, int] = (1000, 300)
    margins: tuple[int, int, int, int] = field(default=(64, 16, 44, 62))
    """Top, right, bottom, left; pixels."""


def _document(width: int, height: int, title: str, *children: object) -> Markup:
    body = join([element("title", title), *children])
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        f"{body}</svg>\n"
    )


def _words(
    x: float, y: float, words: str, *, anchor: str = "start", fill: str = INK, size: int = 14, weight: str = "400"
) -> Markup:
    return element(
        "text", words, x=_px(x), y=_px(y), fill=fill, text_anchor=anchor, font_size=size, font_family=FONT, font_weight=weight
    )


def _stroke(
    start: tuple[float, float], end: tuple[float, float], colour: str, width: float = 1, dash: str | None = None
) -> Markup:
    return element(
        "line",
        x1=_px(start[0]),
        y1=_px(start[1]),
        x2=_px(end[0]),
        y2=_px(end[1]),
        stroke=colour,
        stroke_width=width,
        stroke_dasharray=dash,
    )


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def interval_plot(difference: float, low: float, high: float, *, margin: float | None, colour: str, title: str) -> Markup:
    """A difference with its bounds around zero; the allowed loss, if any, is a dashed line."""
    width, height, pad = 240, 44, 10
    reach = max(abs(low), abs(high), abs(difference), (margin or 0.0) * 1.3, 1e-12) * 1.08

    def place(value: float) -> float:
        return width / 2 + value / reach * (width / 2 - pad)

    middle = height / 2
    parts = [
        element("rect", x=0, y=0, width=width, height=height, fill="#ffffff"),
        _stroke((pad, middle), (width - pad, middle), "#c5ced6"),
        _stroke((place(0), 4), (place(0), height - 4), FAINT),
    ]
    if margin:
        parts.append(_stroke((place(-margin), 4), (place(-margin), height - 4), BAD, 1.5, "4 3"))
    parts.extend(
        [
            _stroke((place(low), middle), (place(high), middle), colour, 5),
            _stroke((place(low), middle - 7), (place(low), middle + 7), colour, 2),
            _stroke((place(high), middle - 7), (place(high), middle + 7), colour, 2),
            element("circle", cx=_px(place(difference)), cy=_px(middle), r=6, fill="#ffffff", stroke=colour, stroke_width=3),
        ]
    )
    return _document(width, height, title, *parts)


def range_plot(estimate: float, low: float, high: float, *, limit: float | None, colour: str, title: str) -> Markup:
    """A number with its bounds on its own scale; the limit, if any, is a dashed line."""
    width, height, pad = 240, 44, 12
    seen = [low, high, estimate, *([limit] if limit is not None else []), 0.0]
    least, most = min(seen), max(seen)
    room = (most - least) * 0.08 or 1e-12
    least, most = least - room, most + room

    def place(value: float) -> float:
        return pad + (value - least) / (most - least) * (width - 2 * pad)

    middle = height / 2
    parts = [
        element("rect", x=0, y=0, width=width, height=height, fill="#ffffff"),
        _stroke((pad, middle), (width - pad, middle), "#c5ced6"),
        _stroke((place(0), 4), (place(0), height - 4), FAINT),
    ]
    if limit is not None:
        parts.append(_stroke((place(limit), 4), (place(limit), height - 4), BAD, 1.5, "4 3"))
    parts.extend(
        [
            _stroke((place(low), middle), (place(high), middle), colour, 5),
            _stroke((place(low), middle - 7), (place(low), middle + 7), colour, 2),
            _stroke((place(high), middle - 7), (place(high), middle + 7), colour, 2),
            element("circle", cx=_px(place(estimate)), cy=_px(middle), r=6, fill="#ffffff", stroke=colour, stroke_width=3),
        ]
    )
    return _document(width, height, title, *parts)


def bar_plot(shares: Sequence[tuple[str, float]], *, title: str) -> Markup:
    """Horizontal bars of shares from 0 to 1, named on the left."""
    width, line, left = 720, 24, 200
    height = line * len(shares) + 8
    parts = [element("rect", x=0, y=0, width=width, height=height, fill="#ffffff")]
    most = max((share for _, share in shares), default=0.0) or 1.0
    for number, (name, share) in enumerate(shares):
        top = 4 + number * line
        length = (width - left - 70) * share / most
        words = {"font_size": 13, "font_family": "system-ui, DejaVu Sans, sans-serif"}
        shown = name if len(name) <= 22 else f"{name[:21]}…"
        parts.append(element("text", shown, x=left - 10, y=top + 16, text_anchor="end", fill="#1f2933", **words))
        parts.append(element("rect", x=left, y=top + 4, width=_px(max(length, 1.0)), height=line - 8, fill=CANDIDATE))
        parts.append(element("text", f"{100 * share:.0f} %", x=_px(left + length + 8), y=top + 16, fill="#5b6874", **words))
    return _document(width, height, title, *parts)


def time_plot(plot: TimePlot) -> Markup:
    """Lines over the time of the release, with its stages as bands and the decision as a vertical line."""
    return _Drawing(plot).svg()


class _Drawing:
    def __init__(self, plot: TimePlot) -> None:
        self.plot = plot
        self.width, self.height = plot.size
        self.top, self.right, self.bottom, self.left = plot.margins
        times = [at for line in plot.lines for at, _ in line.points]
        times += [at for stage in plot.stages for at in (stage.start, stage.end)]
        times += [plot.decided[0]] if plot.decided else []
        self.start, self.end = (min(times), max(times)) if times else (0.0, 1.0)
        self.end = max(self.end, self.start + 1.0)
        values = [value * plot.scale for line in plot.lines for _, value in line.points if math.isfinite(value)]
        self.limit_shown = plot.limit is not None and max(values, default=0.0) * 4 >= plot.limit[0] * plot.scale
        if plot.limit is not None and self.limit_shown:
            values.append(plot.limit[0] * plot.scale)
        self.step = nice_step(max(values, default=1.0) or 1.0, 4)
        self.most = self.step * max(1, math.ceil((max(values, default=1.0) or 1.0) / self.step - 1e-9))

    def x(self, at: float) -> float:
        return self.left + (at - self.start) / (self.end - self.start) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        return self.height - self.bottom - value / self.most * (self.height - self.top - self.bottom)

    def svg(self) -> Markup:
        parts = [
            element("rect", x=0, y=0, width=self.width, height=self.height, fill="#ffffff"),
            *self._stages(),
            *self._grid(),
            *self._legend(),
            *(self._line(line) for line in self.plot.lines),
            *self._limit(),
            *self._decision(),
        ]
        return _document(self.width, self.height, self._description(), *parts)

    def _description(self) -> str:
        stages = ", ".join(stage.name for stage in self.plot.stages)
        return f"{self.plot.title}, {self.plot.unit}" + (f"; stages: {stages}" if stages else "")

    def _stages(self) -> list[Markup]:
        """Bands from edge to edge. A name that does not fit stands one row higher than its neighbour's."""
        parts = []
        floor = self.height - self.bottom
        free = [self.left - 4.0, self.left - 4.0]
        for index, stage in enumerate(self.plot.stages):
            left, right = self.x(stage.start), self.x(stage.end)
            if index % 2 == 0:
                parts.append(
                    element("rect", x=_px(left), y=self.top, width=_px(right - left), height=floor - self.top, fill=BAND)
                )
            parts.append(_stroke((left, self.top), (left, floor), "#c5ced6"))
            needed = 7.2 * len(stage.name)
            row = 0 if left + 5 >= free[0] else 1
            if left + 5 >= free[row]:
                parts.append(_words(left + 5, self.top - 6 - 17 * row, stage.name, fill=FAINT, size=13))
                free[row] = left + 5 + needed + 6
        return parts

    def _grid(self) -> list[Markup]:
        parts = []
        floor = self.height - self.bottom
        for index in range(round(self.most / self.step) + 1):
            value = index * self.step
            parts.append(_stroke((self.left, self.y(value)), (self.width - self.right, self.y(value)), GRID if index else FAINT))
            parts.append(_words(self.left - 8, self.y(value) + 5, f"{value:g}", anchor="end", fill=FAINT, size=13))
        seconds = self.end - self.start
        step = nice_seconds(seconds, 8)
        for index in range(int(seconds / step + 1e-9) + 1):
            at = self.x(self.start + index * step)
            parts.append(_stroke((at, floor), (at, floor + 5), FAINT))
            parts.append(_words(at, floor + 20, clock(index * step), anchor="middle", fill=FAINT, size=13))
        parts.append(
            _words(self.width - self.right, floor + 38, "minutes:seconds since the first look", anchor="end", fill=FAINT, size=12)
        )
        return parts

    def _legend(self) -> list[Markup]:
        parts = [_words(self.left, 18, self.plot.title, weight="600", size=15)]
        parts.append(_words(self.left + 9.2 * len(self.plot.title) + 12, 18, self.plot.unit, fill=FAINT, size=13))
        x = float(self.width - self.right)
        for line in reversed(self.plot.lines):
            x -= 7.4 * len(line.name)
            parts.append(_words(x, 18, line.name, size=13))
            parts.append(_stroke((x - 30, 13), (x - 6, 13), line.colour, 3, "6 4" if line.dashed else None))
            x -= 46
        return parts

    def _line(self, line: Line) -> Markup:
        """A polyline per unbroken stretch; a single point is drawn as a dot."""
        stretches: list[list[tuple[float, float]]] = [[]]
        for at, value in line.points:
            if math.isfinite(value):
                stretches[-1].append((self.x(at), self.y(value * self.plot.scale)))
            elif stretches[-1]:
                stretches.append([])
        parts = []
        for stretch in stretches:
            if len(stretch) == 1:
                parts.append(element("circle", cx=_px(stretch[0][0]), cy=_px(stretch[0][1]), r=3, fill=line.colour))
            elif stretch:
                parts.append(
                    element(
                        "polyline",
                        points=" ".join(f"{_px(x)},{_px(y)}" for x, y in stretch),
                        fill="none",
                        stroke=line.colour,
                        stroke_width=1.8 if line.dashed else 2.4,
                        stroke_dasharray="6 4" if line.dashed else None,
                        stroke_linejoin="round",
                    )
                )
        return join(parts)

    def _limit(self) -> list[Markup]:
        """A limit far above everything is told in words: to scale, it would press the lines flat."""
        if self.plot.limit is None:
            return []
        value, name = self.plot.limit
        if not self.limit_shown:
            return [_words(self.width - self.right - 8, self.top + 17, f"{name} is far above", anchor="end", fill=FAINT, size=12)]
        level = self.y(value * self.plot.scale)
        return [
            _stroke((self.left, level), (self.width - self.right, level), BAD, 1.2, "2 3"),
            _words(self.left + 6, level - 5, name, fill=BAD, size=12),
        ]

    def _decision(self) -> list[Markup]:
        if self.plot.decided is None:
            return []
        at, name, colour = self.plot.decided
        x = self.x(at)
        near_end = x > self.width - self.right - 8 * len(name) - 12
        place, anchor = (x - 9, "end") if near_end else (x + 9, "start")
        return [
            _stroke((x, self.top - 28), (x, self.height - self.bottom), colour, 2.4),
            element("circle", cx=_px(x), cy=self.top - 28, r=5, fill=colour),
            _words(place, self.top - 24, name, anchor=anchor, fill=colour, weight="600", size=13),
        ]


def nice_step(span: float, parts: int) -> float:
    """A round step (1, 2, 2.5 or 5 times a power of ten) that divides the span into at most about ``parts``."""
    raw = span / parts
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= raw * (1 - 1e-9))


def nice_seconds(span: float, parts: int) -> float:
    """A step of seconds, minutes or hours that divides the span into at most about ``parts``."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)
    return next((float(step) for step in steps if step >= span / parts), 86400.0 * math.ceil(span / parts / 86400))


def clock(seconds: float) -> str:
    """``1:05`` minutes and seconds; ``2:00:00`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
