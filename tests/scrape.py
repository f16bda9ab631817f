"""A scrape, parsed: what Prometheus would see."""

from typing import NamedTuple, Protocol

from prometheus_client.parser import text_string_to_metric_families

from tests.client import Answer

DURATION = "http_server_request_duration_seconds"


class Series(NamedTuple):
    name: str
    labels: tuple[tuple[str, str], ...]


Scrape = dict[Series, float]


def parse(text: str) -> Scrape:
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return {Series(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}


class Service(Protocol):
    """What runs the service, as a process or in a container."""

    def ask(self, target: str) -> Answer: ...


def scrape(server: Service) -> Scrape:
    answer = server.ask("/metrics")
    assert answer.status == 200, answer
    return parse(answer.body.decode())


def requests(samples: Scrape) -> dict[tuple[str, str, str], int]:
    """Return the number of requests by method, route and status."""
    counts = {}
    for series, value in samples.items():
        if series.name == f"{DURATION}_count":
            labels = dict(series.labels)
            key = (
                labels["http_request_method"],
                labels["http_route"],
                labels["http_response_status_code"],
            )
            counts[key] = int(value)
    return counts


def value(samples: Scrape, name: str) -> float:
    """Return the value of a metric that has one series."""
    [found] = [value for series, value in samples.items() if series.name == name]
    return found


def labels(samples: Scrape, name: str) -> dict[str, str]:
    """Return the labels of a metric that has one series."""
    [found] = [dict(series.labels) for series in samples if series.name == name]
    return found
