"""What came of what: commits and data, runs, models, packages, images, versions, decisions, and who was live when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise

import msgspec

KINDS = ("data", "commit", "run", "model", "package", "image", "version", "decision", "answers", "live", "event")
"""In the order in which they come of each other."""
_COLUMNS = (
    ("commit", "data"),
    ("run",),
    ("model",),
    ("package",),
    ("decision", "image", "version"),
    ("answers", "event", "live"),
)
_SHORTEST = 4
Key = tuple[str, str]
"""Kind and name of a node."""


class Node(msgspec.Struct, frozen=True, order=True):
    """One thing. ``name`` tells it from others of its kind; ``detail`` is for people."""

    kind: str
    name: str
    detail: str = ""

    @property
    def words(self) -> str:
        return f"{self.kind} {self.name}" + (f" ({self.detail})" if self.detail else "")


class Edge(msgspec.Struct, frozen=True, order=True):
    """``target`` came of ``source``; both are keys of nodes."""

    source: Key
    target: Key


class Graph(msgspec.Struct, frozen=True):
    nodes: Mapping[Key, Node] = {}
    edges: tuple[Edge, ...] = ()

    def before(self, key: Key) -> list[Key]:
        """What it came of directly, in a fixed order."""
        return sorted({edge.source for edge in self.edges if edge.target == key}, key=_rank)

    def after(self, key: Key) -> list[Key]:
        """What came of it directly."""
        return sorted({edge.target for edge in self.edges if edge.source == key}, key=_rank)

    def around(self, keys: Iterable[Key]) -> Graph:
        """These nodes with all they came of and all that came of them."""
        kept = set(keys)
        for step in (self.before, self.after):
            seen, todo = set(keys), list(keys)
            while todo:
                for key in step(todo.pop()):
                    if key not in seen:
                        seen.add(key)
                        todo.append(key)
            kept |= seen
        edges = tuple(edge for edge in self.edges if edge.source in kept and edge.target in kept)
        return Graph({key: node for key, node in self.nodes.items() if key in kept}, edges)


class Made(msgspec.Struct, frozen=True):
    """What one run made of what.

    Args:
        data: Path to ``md5:...`` or ``sha256:...``.
        model, package: ``sha256:...``.
        images: Name to ``sha256:...``.
        version: Of the registry.
        decisions: Person and decision.
        verdict: How the run stands, in a word.
    """

    run: str
    commit: str = ""
    dirty: bool = False
    data: Mapping[str, str] = {}
    model: str = ""
    package: str = ""
    images: Mapping[str, str] = {}
    version: str = ""
    decisions: tuple[tuple[str, str], ...] = ()
    reason: str = ""


class Happened(msgspec.Struct, frozen=True):
    """What the ledger tells of a package.

    Args:
        event: ``live``, ``settled``, ``rolled-back`` or ``quarantined``.
        number: Of the entry.
        version: That the entry names; users were on the version, as far as it is known.
        detail: In words.
    """

    event: str
    number: int
    at: str
    package: str
    version: str = ""
    detail: str = ""


class Answered(msgspec.Struct, frozen=True):
    """A batch that was scored, as the ledger tells.

    Args:
        input, output: ``sha256:...``.
        named: The input and the output, as they were called.
    """

    package: str
    input: str
    output: str
    named: tuple[str, str] = ("", "")
    version: str = ""


def graph(made: Iterable[Made], happened: Iterable[Happened] = (), answered: Iterable[Answered] = ()) -> Graph:
    """Everything that is known, in one picture."""
    nodes: dict[Key, Node] = {}
    edges: set[Edge] = set()

    def node(kind: str, name: str, detail: str = "") -> Key:
        key = (kind, name)
        if key not in nodes or (detail and not nodes[key].detail):
            nodes[key] = Node(kind, name, detail)
        return key

    def chain(*keys: Key) -> None:
        edges.update(Edge(source, target) for source, target in pairwise(keys))

    for one in made:
        run = node("run", one.run, one.reason)
        if one.commit:
            chain(node("commit", one.commit, "with uncommitted changes" if one.dirty else ""), run)
        for path, version in one.data.items():
            chain(node("data", version, path), run)
        last = run
        for kind, name in (("model", one.model), ("package", one.package)):
            if name:
                chain(last, node(kind, name))
                last = (kind, name)
        if not one.package:
            continue
        for name, digest in one.images.items():
            chain(last, node("image", digest, name))
        if one.version:
            chain(last, node("version", one.version))
        for person, decision in one.decisions:
            chain(last, node("decision", f"{person}, run {one.run}", decision))
    for event in happened:
        if event.package:
            kind = "live" if event.event == "live" else "event"
            words = f"entry {event.number}, {event.at}" if kind == "live" else f"{event.event}, entry {event.number}, {event.at}"
            package = node("package", event.package)
            of = node("version", event.version) if event.version else package
            chain(*dict.fromkeys((package, of)), node(kind, words, event.detail))
    for batch in answered:
        answers = node("answers", batch.output, batch.named[1])
        package = node("package", batch.package)
        of = node("version", batch.version) if batch.version else package
        chain(*dict.fromkeys((package, of)), answers)
        chain(node("data", batch.input, batch.named[0]), answers)
    return Graph(nodes, tuple(sorted(edges)))


def matching(graph: Graph, text: str) -> list[Key]:
    """Keys of what somebody means: a whole name, the first 4 digits or more of a digest, commit or data hash, or a version."""
    wanted = text.strip().lower()
    bare = wanted.split(":", 1)[-1] if wanted.startswith(("sha256:", "md5:", "sha1:")) else wanted
    exact = [key for key in graph.nodes if bare in {key[1].lower(), key[1].lower().split(":", 1)[-1]}]
    if exact or len(bare) < _SHORTEST:
        return sorted(exact, key=_rank)
    found = [key for key in graph.nodes if key[0] not in {"live", "event", "decision"} and _begins(key[1].lower(), bare)]
    return sorted(found, key=_rank)


def told(graph: Graph, key: Key) -> Iterator[str]:
    """Both directions as indented lines."""
    yield graph.nodes[key].words
    for title, step in (("comes from", graph.before), ("leads to", graph.after)):
        lines = list(_branches(graph, key, step, 1, {key}))
        yield f"  {title}" if lines else f"  {title}: nothing that is known"
        yield from lines


def layers(graph: Graph) -> list[list[Node]]:
    """Nodes by column of a picture, in the order in which they come of each other; empty columns are left out."""
    found = [sorted(node for node in graph.nodes.values() if node.kind in kinds) for kinds in _COLUMNS]
    return [layer for layer in found if layer]


def _branches(graph: Graph, key: Key, step: Callable[[Key], list[Key]], depth: int, seen: set[Key]) -> Iterator[str]:
    for other in step(key):
        again = other in seen
        yield f"{'  ' * (depth + 1)}{graph.nodes[other].words}{' (as above)' if again else ''}"
        if not again:
            seen.add(other)
            yield from _branches(graph, other, step, depth + 1, seen)


def _begins(name: str, text: str) -> bool:
    return name.startswith(text) or name.split(":", 1)[-1].startswith(text)


def _rank(key: Key) -> tuple[int, str]:
    return (KINDS.index(key[0]), key[1])
