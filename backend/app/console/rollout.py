"""The fleet at a glance: a row per tenant, with where it stands and what speaks for and against it."""

from typing import Any, Final

from litestar import Request, Response
from litestar.di import NamedDependency

from backend.app.console import render, visit
from backend.app.console.access import Page
from backend.app.console.live import live_of
from backend.app.console.rollout_charts import SPARK_HEIGHT, SPARK_STEP, spark_path
from backend.app.console.visit import page
from backend.app.domain.desk.rollout_desk import SPARK_HOURS
from backend.app.domain.monitor.bucket import Trigger
from backend.app.services.desk.rollout_desk import RolloutDesk

AnyRequest = Request[Any, Any, Any]
ROWS: Final = 20
NUMBER_DIGITS_MAX: Final = 9


@page("/rollout", of=Page.ROLLOUT)
async def list_fleet(request: AnyRequest, rollout_desk: NamedDependency[RolloutDesk]) -> Response[Any]:
    """Every tenant in view, some at a time."""
    return await render.show(request, "rollout/fleet.html", **await _values(request, rollout_desk))


@page("/rollout/fleet", of=Page.ROLLOUT, is_live=True)
async def get_fleet(request: AnyRequest, rollout_desk: NamedDependency[RolloutDesk]) -> Response[Any]:
    """The rows alone, for the page that refreshes them."""
    return render.part(request, "rollout/rows.html", **await _values(request, rollout_desk))


async def _values(request: AnyRequest, desk: RolloutDesk) -> dict[str, Any]:
    after = _number(request.query_params.get("after", "0"))
    admin = visit.admin_of(request)
    return {
        "fleet": await desk.fleet(admin.scope_tenant_id, after_number=after, limit=ROWS),
        "after": after,
        "live": live_of(request),
        "triggers": tuple(Trigger),
        "spark_path": spark_path,
        "spark_width": SPARK_HOURS * SPARK_STEP,
        "spark_height": SPARK_HEIGHT,
    }


def _number(given: str) -> int:
    """A tenant's number in an address; 0 for what is none."""
    return int(given) if given.isascii() and given.isdecimal() and len(given) <= NUMBER_DIGITS_MAX else 0


HANDLERS: Final = (list_fleet, get_fleet)
