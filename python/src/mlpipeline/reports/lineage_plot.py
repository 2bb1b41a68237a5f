"""What came of what as a picture: one column per kind, a line for each step. No script, no style element."""

from __future__ import annotations

from mlpipeline.core.lineage import Graph, Key, Node, layers
from mlpipeline.reports.markup import Markup, element, join
from mlpipeline.reports.plots import CANDIDATE, CHAMPION, FAINT, FONT, GRID, INK

_WIDTH, _HEIGHT, _ACROSS, _DOWN, _MARGIN = 196, 46, 44, 14, 12
_MOST = 12
_LETTERS = 25


def lineage_plot(graph: Graph, marked: Key, title: str) -> Markup:
    """An SVG document.

    Args:
        marked: The node that the picture is about.
    """
    columns = [layer[:_MOST] for layer in layers(graph)]
    places: dict[Key, tuple[float, float]] = {}
    tallest = max((len(column) for column in columns), default=1)
    height = 2 * _MARGIN + tallest * (_HEIGHT + _DOWN) - _DOWN
    for number, column in enumerate(columns):
        free = height - 2 * _MARGIN - (len(column) * (_HEIGHT + _DOWN) - _DOWN)
        for row, node in enumerate(column):
            places[node.kind, node.name] = (
                _MARGIN + number * (_WIDTH + _ACROSS),
                _MARGIN + free / 2 + row * (_HEIGHT + _DOWN),
            )
    width = 2 * _MARGIN + len(columns) * (_WIDTH + _ACROSS) - _ACROSS
    lines = [_line(places[edge.source], places[edge.target]) for edge in graph.edges if {edge.source, edge.target} <= set(places)]
    boxes = [_box(node, places[node.kind, node.name], marked) for column in columns for node in column]
    more = sum(len(layer) for layer in layers(graph)) - len(boxes)
    told = f"{title}; {more} more are not drawn" if more else title
    ground = element("rect", x=0, y=0, width=width, height=height, fill="#ffffff")
    size = f'viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}"'
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        f"{join([element('title', told), ground, *lines, *boxes])}</svg>\n"
    )


def _line(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    x1, y1, x2, y2 = start[0] + _WIDTH, start[1] + _HEIGHT / 2, end[0], end[1] + _HEIGHT / 2
    middle = (x1 + x2) / 2
    return element(
        "path",
        d=f"M {x1:g} {y1:g} C {middle:g} {y1:g}, {middle:g} {y2:g}, {x2:g} {y2:g}",
        fill="none",
        stroke=FAINT,
        stroke_width=1.2,
    )


def _box(node: Node, place: tuple[float, float], marked: Key) -> Markup:
    x, y = place
    own = (node.kind, node.name) == marked
    edge = CANDIDATE if own else CHAMPION if node.kind == "live" else GRID
    return element(
        "g",
        element("title", node.words),
        element(
            "rect",
            x=f"{x:g}",
            y=f"{y:g}",
            width=_WIDTH,
            height=_HEIGHT,
            rx=6,
            fill="#fbfcfd",
            stroke=edge,
            stroke_width=2 if own else 1.2,
        ),
        _words(x + 10, y + 18, _title(node), FAINT, 11),
        _words(x + 10, y + 35, _short(node), INK, 12),
    )


def _title(node: Node) -> str:
    if node.kind in {"data", "live", "decision", "answers"} and node.detail:
        return f"{node.kind}: {node.detail}"
    return node.kind


def _words(x: float, y: float, words: str, fill: str, size: int) -> Markup:
    cut = words if len(words) <= _LETTERS else f"{words[: _LETTERS - 1]}…"
    return element("text", cut, x=f"{x:g}", y=f"{y:g}", fill=fill, font_size=size, font_family=FONT)


def _short(node: Node) -> str:
    digits = node.name.split(":", 1)[-1]
    if node.kind in {"data", "model", "package", "image", "commit", "answers"} and len(digits) > 12:
        return digits[:12]
    if node.kind == "live":
        return node.name.rpartition(", ")[2]
    return node.name.partition(", ")[0]
