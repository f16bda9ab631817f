"""Does what the documents point to exist?"""

import re
from pathlib import Path

import pytest

from tests.markdown import DOCUMENTS, anchors, fences, inline, links
from tests.servers import ROOT
from tests.shell import run, tracked

by_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)

MAKEFILE = (ROOT / "Makefile").read_text()


def test_each_document_is_checked() -> None:
    assert {ROOT / name for name in tracked("*.md")} == set(DOCUMENTS)


@by_document
def test_each_link_leads_somewhere(document: Path) -> None:
    for link in links(document):
        if re.match(r"https?://", link):
            continue  # `make links` asks these
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@by_document
def test_each_command_of_make_that_is_named_exists(document: Path) -> None:
    code = [token.content for token in inline(document, "code_inline")]
    code += [fence.text for fence in fences(document, "console")]
    named = {name for text in code for name in re.findall(r"\bmake ([a-z][a-z0-9-]*)", text)}
    assert named <= set(re.findall(r"^([a-z0-9-]+):.*##", MAKEFILE, re.MULTILINE))


def test_each_command_of_make_is_described() -> None:
    listed = run("make").splitlines()
    phony = re.findall(r"^\.PHONY:((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    names = set(phony[0].replace("\\\n", " ").split())
    assert {line.split()[1] for line in listed} == names
