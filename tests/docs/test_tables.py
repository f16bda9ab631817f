"""Do the tables of README.md say what the code says?"""

import ast
import json
import re
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.application import ROUTES
from app.management import ROUTES as MANAGEMENT_ROUTES
from app.settings import LOG_LEVELS, Settings
from tests.client import request
from tests.markdown import README, fences, links, table
from tests.promql import selectors
from tests.scrape import scrape
from tests.servers import ROOT, Gunicorn

PUBLIC = table(README, "`GET /hello`")
MANAGEMENT = table(README, "`GET /metrics`")
SETTINGS = table(README, "`HOST`")
METRICS = table(README, "`http_server_request_duration_seconds`")
FILES = table(README, "`app/application.py`")
FIGURES = table(README, "hello-wsgi")
RESULTS = ROOT / "tests/bench/RESULTS.md"


def code(cell: str) -> list[str]:
    """Return what stands in a cell as code."""
    return re.findall(r"`([^`]*)`", cell)


def requests_of(rows: list[list[str]]) -> list[tuple[str, str, str, str]]:
    """Return method, target, status and body of the rows that name a request."""
    found = []
    for cell, status, body in rows:
        if named := re.fullmatch(r"`(\S+) (\S+)`", cell):
            found.append((named[1], named[2], status, (code(body) or [""])[0]))
    return found


@pytest.mark.parametrize(("method", "target", "status", "body"), requests_of(PUBLIC))
def test_a_public_request_is_answered_so(
    method: str, target: str, status: str, body: str, service: Gunicorn
) -> None:
    answer = request(service.port, method, target)
    assert (str(answer.status), answer.body.decode()) == (status, body)


@pytest.mark.parametrize(("method", "target", "status", "body"), requests_of(MANAGEMENT))
def test_a_request_on_the_management_port_is_answered_so(
    method: str, target: str, status: str, body: str, service: Gunicorn
) -> None:
    answer = service.ask(target, method)
    assert str(answer.status) == status
    assert answer.body.decode().startswith(body)


@pytest.mark.parametrize(
    ("rows", "routes"),
    [(PUBLIC, ROUTES), (MANAGEMENT, MANAGEMENT_ROUTES)],
    ids=["public", "management"],
)
def test_each_route_is_listed(rows: list[list[str]], routes: dict[str, object]) -> None:
    assert {target.partition("?")[0] for _, target, _, _ in requests_of(rows)} == set(routes)


def test_an_error_has_the_body_of_its_status() -> None:
    errors = [
        (status, code(body)[0]) for _, status, body in PUBLIC if status in ("404", "405", "500")
    ]
    assert len(errors) == 3
    for status, body in errors:
        assert json.loads(body) == {"error": HTTPStatus(int(status)).phrase}


def test_each_setting_is_listed_in_its_order() -> None:
    assert [code(row[0])[0].lower() for row in SETTINGS] == list(Settings._fields)


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: code(row[0])[0])
def test_a_default_is_that_of_the_table(row: list[str]) -> None:
    name, default = code(row[0])[0], row[1]
    if default.startswith("`"):
        assert str(getattr(Settings.from_environ({}), name.lower())) == code(default)[0]


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: code(row[0])[0])
def test_what_the_table_allows_is_allowed_and_no_more(row: list[str]) -> None:
    name, allowed = code(row[0])[0], row[2]
    if name == "LOG_LEVEL":
        assert tuple(code(allowed)) == LOG_LEVELS
    elif limits := re.fullmatch(r"(\d+) to (\d+)", allowed):
        lowest, highest = int(limits[1]), int(limits[2])
        for value in (lowest, highest):
            assert getattr(Settings.from_environ({name: str(value)}), name.lower()) == value
        for value in (lowest - 1, highest + 1):
            with pytest.raises(ValueError, match=name):
                Settings.from_environ({name: str(value)})
    else:
        with pytest.raises(ValueError, match=f"it must be {allowed}"):
            Settings.from_environ({name: ""})


def test_each_metric_is_listed_with_its_type_and_its_labels(service: Gunicorn) -> None:
    exported = set()
    for family in text_string_to_metric_families(service.ask("/metrics").body.decode()):
        if family.name.startswith("process_"):
            exported.add(("process_*", "", frozenset[str]()))
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        exported.add((name, family.type, frozenset(labels)))
    listed = {(code(row[0])[0], row[1], frozenset(code(row[2]))) for row in METRICS}
    assert listed == exported


def test_a_line_of_the_log_has_these_fields(service: Gunicorn) -> None:
    [shown] = fences(README, "json")
    request(service.port, "GET", "/hello")
    service.wait_until(service.access_log)
    logged = service.access_log()[-1]
    assert {name: type(value) for name, value in json.loads(shown.text).items()} == {
        name: type(value) for name, value in logged.items()
    } | {"user_agent": str}


def test_source_table_shows_first_sentence_of_docstrings() -> None:
    sentences = {}
    for path in (*(ROOT / "app").glob("*.py"), ROOT / "app/worker/__init__.py"):
        name = str(path.relative_to(ROOT)).removesuffix("__init__.py")
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        sentences[name] = re.split(r"(?<=[?.])\s", docstring)[0]
    del sentences["app/"]
    assert {code(file)[0]: sentence for file, sentence in FILES} == sentences


def test_the_figures_are_those_of_the_results() -> None:
    text = RESULTS.read_text()
    at_32 = text[text.index("### 32 connections") : text.index("### 256 connections")]
    measured = [
        [cells[0], cells[1], cells[2], cells[4], cells[5]]
        for line in at_32.splitlines()[4:]
        if (cells := [cell.strip() for cell in line.split("|")[1:-1]])
    ]
    assert [row[1:] for row in FIGURES] == [row[1:] for row in measured]
    for (shown, *_), (name, *_) in zip(FIGURES, measured, strict=True):
        assert shown.startswith(name)


def test_graph_in_readme_has_legend(service: Gunicorn) -> None:
    [link] = [link for link in links(README) if "g0.expr" in link]
    [expression] = parse_qs(urlsplit(link).query)["g0.expr"]
    [name] = {selector.name for selector in selectors(expression).values()}
    [label] = re.findall(r"by \((\w+)\)", expression)
    values = [dict(series.labels)[label] for series in scrape(service) if series.name == name]
    assert values
    assert all(values)
