"""PromQL expressions of the rules and the dashboard, and the series that they select."""

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import yaml

from tests.servers import ROOT

PROMETHEUS = ROOT / "deploy/prometheus"
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/hello-wsgi.json").read_text())

# Values of the variables of the dashboard.
VARIABLES = {
    "$job": "hello-wsgi",
    "$instance": ".+",
    "$__rate_interval": "1m",
    "$__interval": "5s",
    "$__range": "30m",
}
# Queries that return no data while the service is healthy and its version has not changed.
NO_DATA_IF_HEALTHY = {
    "Firing alerts A",
    "Instances D",
    "annotation Firing alerts",
    "annotation Releases",
}

Rule = dict[str, Any]


def load(name: str) -> Any:
    """Read a YAML file of Prometheus's configuration."""
    return yaml.safe_load((PROMETHEUS / name).read_text())


def _rules(name: str) -> list[Rule]:
    return [rule for group in load(f"rules/{name}.yml")["groups"] for rule in group["rules"]]


RECORDING_RULES = _rules("recording")
ALERTS = _rules("alerts")


def _chosen(expression: str) -> str:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def _dashboard() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']} {target['refId']}", _chosen(target["expr"])
    for annotation in DASHBOARD["annotations"]["list"]:
        yield f"annotation {annotation['name']}", _chosen(annotation["expr"])
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            # Grafana's function, not Prometheus's: the values of a label in what a selector finds.
            values = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"]["query"])
            assert values, variable
            yield f"variable {variable['name']}", _chosen(values[1])


# Expressions that return data while there is traffic, by the recorded series or the panel.
ANSWERED = {f"{rule['record']} {rule.get('labels', '')}": rule["expr"] for rule in RECORDING_RULES}
ANSWERED |= dict(_dashboard())
# Expressions that return data only if the alert fires, by the name of the alert.
ALERTING = {rule["alert"]: rule["expr"] for rule in ALERTS}


def selectors(expression: str) -> dict[str, promql_parser.VectorSelector]:
    """Return the selectors of an expression by their text."""
    found = {}

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql_parser.VectorSelector):
            found[str(node)] = node

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found
