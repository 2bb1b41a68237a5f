"""What the pages say is there: files and headings behind links, commands and options, keys of ``mlpipeline.yaml``."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from mlpipeline.cli import make_parser
from mlpipeline.config.load import load
from mlpipeline.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[3]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
FENCED = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
PRINTING = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^ {4}\S.*\n)+", re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s]+)\)")
OPERATORS = "();<>|&"

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text("utf-8"))


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in FENCED.findall(page.read_text("utf-8")) if language in languages]


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    found: dict[str, int] = {}
    made = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = found.get(slug, 0)
        found[slug] = number + 1
        made.add(f"{slug}-{number}" if number else slug)
    return made


def broken_links(page: Path) -> Iterator[str]:
    for target in LINK.findall(re.sub(r"`[^`]*`", "", prose(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            yield target


def commands(page: Path) -> Iterator[list[str]]:
    """The arguments of each ``mlpipeline`` that a reader is told to type."""
    text = page.read_text("utf-8")
    shell = [*blocks(page, "sh", "bash", "console"), *(INDENTED.findall(FENCED.sub("", text)))]
    for line in "\n".join(shell).replace("\\\n", " ").splitlines():
        if "mlpipeline" not in line:
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=OPERATORS)
        lexer.commenters, lexer.whitespace_split = "#", True
        try:
            words = list(lexer)
        except ValueError:
            continue  # the first or last line of a text over several lines
        begins = [0, *(number + 1 for number, word in enumerate(words) if set(word) <= set(OPERATORS))]
        for begin in begins:
            if words[begin : begin + 1] == ["mlpipeline"]:
                yield list(takewhile(lambda word: not set(word) <= set(OPERATORS), words[begin + 1 :]))


def configurations(page: Path) -> list[str]:
    return [text for text in blocks(page, "yaml") if re.search(r"^service:", text, re.MULTILINE)]


@pages
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


@pages
def test_every_command_is_one_the_worker_knows(page: Path) -> None:
    refused = {}
    for arguments in commands(page):
        try:
            make_parser(arguments).parse_args(arguments)
        except ConfigurationError as error:
            refused[shlex.join(arguments)] = error.what
    assert refused == {}


@pages
def test_every_configuration_is_accepted(page: Path, tmp_path: Path) -> None:
    refused = []
    for text in configurations(page):
        (tmp_path / "mlpipeline.yaml").write_text(text, "utf-8")
        try:
            load(tmp_path)
        except ConfigurationError as error:
            refused.append(error.render())
    assert refused == []


@pages
def test_every_python_example_prints_what_the_page_shows(page: Path) -> None:
    for code, shown in PRINTING.findall(page.read_text("utf-8")):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(page), "exec"), {"__name__": "__main__"})
        assert printed.getvalue() == shown


def test_the_pages_are_read_at_all() -> None:
    """Guards the four tests above: a reader that finds nothing would pass them all."""
    assert len([line for page in PAGES for line in commands(page)]) > 30
    assert len([text for page in PAGES for text in configurations(page)]) > 8
    assert len([target for page in PAGES for target in LINK.findall(prose(page))]) > 30
    assert len([code for page in PAGES for code in PRINTING.findall(page.read_text("utf-8"))]) > 2


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One thing\n\n[a](page.md#one-thing) [b](none.md) [c](#two)\n\n```sh\nA=1 x | mlpipeline run --json && y\n```\n"
    )
    assert list(broken_links(page)) == ["none.md", "#two"]
    assert list(commands(page)) == [["run", "--json"]]
