"""Rules, configuration and dashboard, compared with the exported metrics and each other."""

import re
import tomllib
from itertools import product
from typing import Any

import pytest
from promql_parser import MatchOp, VectorSelector

from app.metrics import KNOWN_METHODS
from tests.client import request
from tests.markdown import anchors
from tests.promql import (
    ALERTING,
    ALERTS,
    ANSWERED,
    DASHBOARD,
    PROMETHEUS,
    RECORDING_RULES,
    Rule,
    load,
    selectors,
)
from tests.scrape import Scrape, Series, scrape
from tests.servers import ROOT, Gunicorn

EXPRESSIONS = ANSWERED | ALERTING
RECORDED = {rule["record"] for rule in RECORDING_RULES}
PROMETHEUS_OWN = {"up", "ALERTS"}
TARGET_LABELS = {"job", "instance"}

by_expression = pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
Panel = dict[str, Any]

by_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])


@pytest.fixture(scope="module")
def exported(service: Gunicorn) -> Scrape:
    """Return what the service exports after every method has been tried on every route."""
    for method, target in product((*KNOWN_METHODS, "BREW"), ("/hello", "/")):
        if method != "CONNECT":  # its target has another form
            request(service.port, method, target)
    return scrape(service)


def selects(selector: VectorSelector, series: Series) -> bool:
    labels = dict(series.labels)
    for matcher in selector.matchers.matchers:
        if matcher.name in TARGET_LABELS:
            continue
        if matcher.op == MatchOp.Equal:
            fits = labels.get(matcher.name) == matcher.value
        else:
            assert matcher.op == MatchOp.Re
            fits = bool(re.fullmatch(matcher.value, labels.get(matcher.name, "")))
        if not fits:
            return False
    return series.name == selector.name


@by_expression
def test_what_is_asked_for_is_exported_or_recorded(expression: str, exported: Scrape) -> None:
    for text, selector in selectors(expression).items():
        known = selector.name in RECORDED | PROMETHEUS_OWN
        assert known or any(selects(selector, series) for series in exported), text


@by_expression
def test_only_labels_that_exist_are_grouped_by(expression: str, exported: Scrape) -> None:
    names = {name for series in exported for name, _ in series.labels} | TARGET_LABELS
    groups = re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", expression)
    assert {label for group in groups for label in group.split(", ")} <= names


@pytest.mark.parametrize("rule", RECORDING_RULES, ids=lambda rule: rule["record"])
def test_name_of_recorded_series_ends_with_window(rule: Rule) -> None:
    [window] = set(re.findall(r"\[(\w+)\]", rule["expr"])) or {"5m"}
    assert rule["record"].endswith((f"rate{window}", f"histogram_quantile{window}"))


@by_alert
def test_alert_has_severity_and_annotations(alert: Rule) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}


@by_alert
def test_runbook_url_leads_to_section_about_alert(alert: Rule) -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    document, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert document == urls["Runbooks"]
    assert document.endswith("/deploy/README.md")
    assert anchor == alert["alert"].lower()
    assert anchor in anchors(ROOT / "deploy/README.md")


TESTS = [
    (test["name"], case)
    for file in sorted(PROMETHEUS.glob("tests/*.yml"))
    for test in load(f"tests/{file.name}")["tests"]
    for case in test["promql_expr_test"]
]


@by_alert
def test_an_alert_is_tested_to_fire_and_not_to_fire(alert: Rule) -> None:
    name = alert["alert"]
    cases = [(test, case) for test, case in TESTS if f'alertname="{name}"' in case["expr"]]
    fires = [
        'alertstate="firing"' in str(case["exp_samples"])
        for test, case in cases
        if test.startswith(f"{name} fires when ")
    ]
    does_not = [
        case["exp_samples"] == []
        for test, case in cases
        if test.startswith(f"{name} does not fire ")
    ]
    assert any(fires)
    assert does_not
    assert all(does_not)


def test_a_scrape_stays_within_the_limits(exported: Scrape, service: Gunicorn) -> None:
    limits = load("prometheus.yml")["global"]
    names = [name for series in exported for name, _ in series.labels]
    values = [value for series in exported for _, value in series.labels]
    assert len(exported) < limits["sample_limit"] / 2
    # With the name of the metric, the job and the instance.
    assert max(len(series.labels) for series in exported) + 3 <= limits["label_limit"]
    assert max(map(len, names)) <= limits["label_name_length_limit"]
    assert max(map(len, values)) <= limits["label_value_length_limit"]
    assert limits["body_size_limit"] == "1MB"
    assert len(service.ask("/metrics").body) < 1_000_000


def test_the_rules_select_a_job_that_is_scraped() -> None:
    jobs = {config["job_name"] for config in load("prometheus.yml")["scrape_configs"]}
    selected = {
        matcher.value
        for rule in (*RECORDING_RULES, *ALERTS)
        for selector in selectors(rule["expr"]).values()
        for matcher in selector.matchers.matchers
        if matcher.name == "job"
    }
    assert selected == {"hello-wsgi"} <= jobs


PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "text"]


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_panel_has_title_description_and_unit(panel: Panel) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["type"] == "text" or panel["fieldConfig"]["defaults"]["unit"]


def test_dashboard_can_be_imported_anywhere() -> None:
    variables = DASHBOARD["templating"]["list"]
    assert [variable["name"] for variable in variables] == ["datasource", "job", "instance"]
    targets = [target for panel in PANELS for target in panel["targets"]]
    used = [*PANELS, *targets, *variables[1:], *DASHBOARD["annotations"]["list"]]
    assert {each["datasource"]["uid"] for each in used} == {"${datasource}"}
    assert "id" not in DASHBOARD
    assert DASHBOARD["editable"] is True
    # Grafana 12 and 13 migrate dashboards of version 39.
    assert DASHBOARD["schemaVersion"] == 39


def test_instance_that_is_down_can_be_selected() -> None:
    _, job, instance = DASHBOARD["templating"]["list"]
    for variable in (job, instance):
        assert re.match(r"label_values\(up[,{]", variable["query"]["query"])
    assert instance["allValue"] == ".+"


def test_instance_that_is_down_is_in_table() -> None:
    [table] = [panel for panel in PANELS if panel["type"] == "table"]
    [up] = [target for target in table["targets"] if target["expr"].startswith("up{")]
    assert (up["instant"], up["format"]) == (True, "table")
    names = table["transformations"][-1]["options"]["renameByName"].values()
    assert {"Instance", "State", "Version", "Revision", "Uptime", "Last failed scrape"} <= {*names}


@pytest.mark.parametrize(
    "panel",
    [panel for panel in PANELS if panel["type"] == "timeseries"],
    ids=lambda panel: panel["title"],
)
def test_axis_of_time_series_has_bounds(panel: Panel) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["min"] == 0
    if defaults["unit"] == "percentunit":
        # Without it, the axis of a ratio that is always 0 ends at 10,000 %.
        assert defaults["custom"]["axisSoftMax"] <= 0.01


def test_status_classes_have_fixed_colors() -> None:
    [requests] = [panel for panel in PANELS if panel["title"] == "Requests"]
    colors = {
        override["matcher"]["options"]: override["properties"][0]["value"]["fixedColor"]
        for override in requests["fieldConfig"]["overrides"]
    }
    assert colors == {"/^2/": "green", "/^4/": "yellow", "/^5/": "red"}


def test_titles_of_panels_are_unique() -> None:
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert sorted(titles) == sorted({*titles})


def test_annotations_mark_restarts_releases_and_alerts() -> None:
    queried = {
        annotation["name"]: {
            each.name for each in selectors(ANSWERED[f"annotation {annotation['name']}"]).values()
        }
        for annotation in DASHBOARD["annotations"]["list"]
    }
    assert queried == {
        "Restarts": {"process_start_time_seconds"},
        "Releases": {"target_info"},
        "Firing alerts": {"ALERTS"},
    }


def test_no_two_panels_overlap() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
