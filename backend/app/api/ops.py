"""Is it alive, is it ready, what does it measure."""

import asyncio
import os
from typing import Any, Final

import msgspec
import prometheus_client
from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from prometheus_client.multiprocess import MultiProcessCollector

from backend.app.services.readiness import Readiness

METRICS_MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Health(msgspec.Struct, kw_only=True):
    """The process answers."""

    status: str = "ok"


class ReadyOut(msgspec.Struct, kw_only=True):
    """Whether the service can do its work, what is in the way, and what somebody should look at."""

    status: str
    problems: list[str]
    warnings: list[str]


@get(["/healthz", "/api/v1/health"], summary="The process is alive", tags=["operations"])
async def get_health() -> Health:
    """Alive; says nothing about the database."""
    return Health()


@get(["/readyz", "/api/v1/ready"], summary="The service can do its work", tags=["operations"])
async def get_ready(readiness: NamedDependency[Readiness]) -> Response[ReadyOut]:
    """200 when the database answers and its schema is of this release; 503 with the reasons otherwise."""
    problems = await readiness.problems()
    return Response(
        ReadyOut(
            status="not ready" if problems else "ready", problems=list(problems), warnings=list(readiness.warnings())
        ),
        status_code=503 if problems else 200,
    )


@get("/metrics", media_type=MediaType.TEXT, summary="Prometheus", tags=["operations"])
async def get_metrics() -> Response[bytes]:
    """All metrics of this service; of all its worker processes when there are several."""
    registry: Any = prometheus_client.REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = prometheus_client.CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has no types
    body = await asyncio.to_thread(prometheus_client.generate_latest, registry)
    return Response(body, media_type=METRICS_MEDIA_TYPE)
