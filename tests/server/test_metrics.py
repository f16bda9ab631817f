"""What a scrape of the real service shows."""

import gzip
import os
import platform
import random
import signal
import string
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

import app
from app.metrics import EXPECTED_SERIES
from tests.client import GET, connect, read_answer, request, send
from tests.scrape import DURATION, labels, parse, requests, scrape, value
from tests.servers import Gunicorn, eventually, gunicorn


def test_the_expected_series_exist_before_the_first_request() -> None:
    with gunicorn(workers=1) as server:
        samples = scrape(server)
    assert requests(samples) == dict.fromkeys(EXPECTED_SERIES, 0)
    assert ("GET", "/hello", "200") in EXPECTED_SERIES
    assert value(samples, "gunicorn_workers_spawned_total") == 1


def test_counts_are_exact_over_several_workers() -> None:
    def client(number: int) -> None:
        for method, target in [
            ("GET", "/hello"),
            ("HEAD", "/hello"),
            ("PUT", "/hello"),
            ("GET", f"/{number}"),
        ]:
            request(server.port, method, target)

    with gunicorn(workers=3) as server:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(client, range(100)))
        samples = scrape(server)
        slots = server.slots()
    assert requests(samples) == dict.fromkeys(EXPECTED_SERIES, 0) | {
        ("GET", "/hello", "200"): 100,
        ("HEAD", "/hello", "200"): 100,
        ("PUT", "/hello", "405"): 100,
        ("GET", "", "404"): 100,
    }
    assert slots == 4


def test_a_histogram_is_one_of_prometheus(service: Gunicorn) -> None:
    request(service.port, "GET", "/hello")
    samples = scrape(service)
    labels = {"http_request_method": "GET", "http_route": "/hello"}
    labels["http_response_status_code"] = "200"
    buckets = {
        dict(series.labels)["le"]: count
        for series, count in samples.items()
        if series.name == f"{DURATION}_bucket" and labels.items() <= dict(series.labels).items()
    }
    bounds = ["0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025"]
    bounds += ["0.05", "0.1", "0.25", "1.0", "+Inf"]
    assert list(buckets) == bounds
    assert list(buckets.values()) == sorted(buckets.values())
    assert buckets["+Inf"] == requests(samples)["GET", "/hello", "200"] > 0


def test_random_paths_and_methods_add_only_series_of_the_closed_set() -> None:
    rng = random.Random(0)
    paths = ["/" + "".join(rng.choices(string.ascii_letters + "%/;=.", k=9)) for _ in range(1000)]
    methods = [
        "".join(rng.choices(string.ascii_uppercase, k=rng.randint(3, 20))) for _ in range(300)
    ]
    lines = [f"GET {path}" for path in paths] + [f"{method} /hello" for method in methods]
    with gunicorn() as server:
        expected = requests(scrape(server))
        with connect(server.port) as connection:
            for line in lines:
                connection.sendall(f"{line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert read_answer(connection).status in (404, 405)
        counted = requests(scrape(server))
    assert counted == expected | {("GET", "", "404"): 1000, ("_OTHER", "/hello", "405"): 300}


def test_the_management_port_is_not_counted(service: Gunicorn) -> None:
    before = requests(scrape(service))
    for target in ("/livez", "/metrics", "/missing"):
        service.ask(target)
    assert requests(scrape(service)) == before


def test_what_is_not_http_is_not_counted(service: Gunicorn) -> None:
    before = requests(scrape(service))
    assert send(service.port, b"nonsense\r\n\r\n").status == 400
    assert requests(scrape(service)) == before


def test_the_version_and_the_runtime_are_known(service: Gunicorn) -> None:
    samples = scrape(service)
    target = labels(samples, "target_info")
    assert target["service_name"] == "hello-wsgi"
    assert target["service_version"] == app.__version__
    assert labels(samples, "python_info")["version"] == platform.python_version()


def test_an_image_says_of_what_it_was_built() -> None:
    with gunicorn(IMAGE_VERSION="1.2.3-rc.1", IMAGE_REVISION="4f5e6d") as server:
        target = labels(scrape(server), "target_info")
    assert target["service_version"] == "1.2.3-rc.1"
    assert target["vcs_ref_head_revision"] == "4f5e6d"


def test_a_pod_says_where_it_runs() -> None:
    with gunicorn(POD_NAME="hello-wsgi-6d5f7-x2x4z", NODE_NAME="node-1") as server:
        target = labels(scrape(server), "target_info")
    assert target["k8s_pod_name"] == "hello-wsgi-6d5f7-x2x4z"
    assert target["k8s_node_name"] == "node-1"


def test_the_process_is_the_arbiter(service: Gunicorn) -> None:
    samples = scrape(service)
    assert value(samples, "process_open_fds") == psutil.Process(service.pid).num_fds()


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/html", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
        ("application/openmetrics-text;q=0", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=x", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=\xff", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_format_is_the_one_accepted(service: Gunicorn, accept: str, content_type: str) -> None:
    answer = service.ask("/metrics", Accept=accept)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == content_type
    assert answer.body.endswith(b"# EOF\n") == content_type.startswith("application")


def test_metrics_are_gzipped_if_client_accepts_gzip(service: Gunicorn) -> None:
    answer = service.ask("/metrics", **{"Accept-Encoding": "deflate, gzip;q=0.1"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert requests(parse(gzip.decompress(answer.body).decode()))
    for refused in ("", "gzip;q=0", "deflate, gzip ; Q=0.000", "identity, gzip; q=0"):
        response = service.ask("/metrics", **{"Accept-Encoding": refused})
        assert "Content-Encoding" not in response.headers, refused


def test_metrics_vary_by_negotiated_fields_and_are_not_stored(service: Gunicorn) -> None:
    headers = service.ask("/metrics").headers
    assert (headers["Vary"], headers["Cache-Control"]) == ("Accept, Accept-Encoding", "no-store")
    assert service.ask("/livez").headers["Cache-Control"] == "no-store"


def test_gauges_show_connections_and_threads_and_their_limits() -> None:
    application = "tests.fixtureapps.behaviours:application"

    def gauges(listener: str = "public") -> dict[str, float]:
        return {
            series.name.removeprefix("gunicorn_"): sample
            for series, sample in scrape(server).items()
            if series.labels == (("listener", listener),)
        }

    with gunicorn(application, "--worker-connections", "50", THREADS="3") as server:
        limits = {"connections_max": 100, "threads_max": 6}
        eventually(lambda: gauges() == limits | {"connections_open": 0, "threads_busy": 0})
        assert gauges("management") == limits | {"connections_open": 1, "threads_busy": 1}
        with connect(server.port) as waiting, connect(server.port) as busy:
            busy.sendall(b"GET /sleep?100 HTTP/1.1\r\nHost: x\r\n\r\n")
            waiting.sendall(b"GET /")
            eventually(lambda: gauges() == limits | {"connections_open": 2, "threads_busy": 1})
            booted = len(server.messages("Booting worker"))
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
            server.wait_until_booted(booted + 2)
            eventually(lambda: gauges() == limits | {"connections_open": 0, "threads_busy": 0})
        server.signal(signal.SIGQUIT)


def test_new_worker_continues_counters_of_killed_worker() -> None:
    with gunicorn() as server:
        for _ in range(5):
            request(server.port, "GET", "/hello")
            booted = len(server.messages("Booting worker"))
            for pid in server.workers():
                os.kill(pid, signal.SIGKILL)
            server.wait_until_booted(booted + 2)
        assert server.ask("/readyz").status == 200
        samples = scrape(server)
        slots = server.slots()
    assert requests(samples)["GET", "/hello", "200"] == 5
    assert value(samples, "gunicorn_workers_spawned_total") == 12
    assert slots == 3


def test_a_request_that_raises_is_counted_as_500() -> None:
    with gunicorn("tests.fixtureapps.raising:application", workers=1) as server:
        assert request(server.port, "GET", "/hello").status == 500
        assert requests(scrape(server))["GET", "/hello", "500"] == 1


def test_an_answer_that_was_read_has_been_counted(service: Gunicorn) -> None:
    before = requests(scrape(service))["GET", "/hello", "200"]
    with connect(service.port) as connection:
        for number in range(1, 21):
            connection.sendall(GET)
            read_answer(connection)
            assert requests(scrape(service))["GET", "/hello", "200"] == before + number
