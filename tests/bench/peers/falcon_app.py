"""GET /hello in Falcon, with a middleware that counts as its users write it."""

from time import perf_counter

from falcon import App, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

DURATION = Histogram(
    "http_request_duration_seconds", "Time to answer a request.", ("method", "route", "status")
)


class Metrics:
    def process_request(self, req: Request, _resp: Response) -> None:
        req.context.started = perf_counter()

    def process_response(
        self, req: Request, resp: Response, _resource: object, _succeeded: object
    ) -> None:
        series = DURATION.labels(req.method, req.uri_template or "", resp.status[:3])
        series.observe(perf_counter() - req.context.started)


class Hello:
    def on_get(self, _req: Request, resp: Response) -> None:
        resp.media = {"message": "hello"}


class Exposition:
    def on_get(self, _req: Request, resp: Response) -> None:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        resp.data = generate_latest(registry)
        resp.content_type = CONTENT_TYPE_LATEST


app = App(middleware=[Metrics()])
app.add_route("/hello", Hello())
app.add_route("/metrics", Exposition())
