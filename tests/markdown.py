"""The documents, parsed: their code, tables, headings and links."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.servers import ROOT

README = ROOT / "README.md"
DOCUMENTS = [
    README,
    *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
    ROOT / "deploy/README.md",
    ROOT / "tests/bench/RESULTS.md",
]
PARSER = MarkdownIt("commonmark").enable("table")


class Fence(NamedTuple):
    """A block of code; `line` is where it begins in the document."""

    language: str
    text: str
    line: int


def parse(document: Path) -> list[Token]:
    return PARSER.parse(document.read_text())


def fences(document: Path, language: str) -> list[Fence]:
    return [
        Fence(token.info, token.content, (token.map or [0])[0] + 1)
        for token in parse(document)
        if token.type == "fence" and token.info == language
    ]


def tables(document: Path) -> Iterator[list[list[str]]]:
    """Return the rows of each table, without its head; the cells as they are written."""
    rows: list[list[str]] = []
    inside = False
    for token in parse(document):
        if token.type in ("tbody_open", "tbody_close"):
            inside = token.type == "tbody_open"
            if not inside:
                yield rows
                rows = []
        elif inside and token.type == "tr_open":
            rows.append([])
        elif inside and token.type == "inline":
            rows[-1].append(token.content)


def table(document: Path, first: str) -> list[list[str]]:
    """Return the table whose first cell begins like that."""
    [found] = [rows for rows in tables(document) if rows[0][0].startswith(first)]
    return found


def inline(document: Path, kind: str) -> list[Token]:
    """Return what is of that kind in the text."""
    return [
        child for token in parse(document) for child in token.children or () if child.type == kind
    ]


def links(document: Path) -> list[str]:
    targets = [token.attrs["href"] for token in inline(document, "link_open")]
    targets += [token.attrs["src"] for token in inline(document, "image")]
    return list(map(str, targets))


def anchors(document: Path) -> set[str]:
    """Return what GitHub calls the headings of a document in a link."""
    tokens = parse(document)
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}
