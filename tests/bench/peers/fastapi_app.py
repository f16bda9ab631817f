"""GET /hello in FastAPI, with the metrics of prometheus-fastapi-instrumentator."""

from fastapi import FastAPI
from prometheus_fastapi_instrumentator import Instrumentator

app = FastAPI()
Instrumentator().instrument(app).expose(app)


@app.get("/hello")
async def hello() -> dict[str, str]:
    return {"message": "hello"}
