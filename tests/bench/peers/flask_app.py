"""GET /hello in Flask, with the metrics of prometheus_flask_exporter."""

from flask import Flask
from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics

app = Flask(__name__)
GunicornInternalPrometheusMetrics(app)


@app.get("/hello")
def hello() -> dict[str, str]:
    return {"message": "hello"}
