"""The first page: what needs somebody's attention now."""

from datetime import UTC, datetime
from typing import Any, Final

from litestar import Request, Response
from litestar.di import NamedDependency

from backend.app.console import render, visit
from backend.app.console.access import Page, may
from backend.app.console.live import live_of
from backend.app.console.visit import page
from backend.app.domain.desk.attention import ATTENTION_MAX, Attention
from backend.app.services.desk.attention import AttentionDesk

AnyRequest = Request[Any, Any, Any]
# What is told even when there is none of it, worst first; the other kinds appear when there are some.
KINDS: Final = (
    "finding_critical",
    "finding_high",
    "finding_medium",
    "finding_low",
    "payout_unknown",
    "deposit_waiting",
    "event_dead",
    "event_quarantined",
    "mismatch",
)


@page("/", of=Page.HOME)
async def get_home(request: AnyRequest, attention_desk: NamedDependency[AttentionDesk]) -> Response[Any]:
    """What waits, with the oldest of each."""
    return await render.show(request, "home/page.html", **await _values(request, attention_desk))


@page("/attention", of=Page.HOME, is_live=True)
async def get_attention(request: AnyRequest, attention_desk: NamedDependency[AttentionDesk]) -> Response[Any]:
    """The same without its frame, for the page that refreshes it."""
    return render.part(request, "home/attention.html", **await _values(request, attention_desk))


async def _values(request: AnyRequest, desk: AttentionDesk) -> dict[str, Any]:
    admin = visit.admin_of(request)
    attention = await desk.look(
        admin.scope_tenant_id, now=datetime.now(UTC), with_queues=may(admin.role, Page.WITHDRAWALS)
    )
    return {
        "attention": attention,
        "open_counts": open_counts(attention),
        "counted_max": ATTENTION_MAX,
        "live": live_of(request),
        "queues": attention.queues,
        "is_everywhere": admin.scope_tenant_id is None,
    }


def open_counts(attention: Attention) -> list[tuple[str, int, datetime | None]]:
    """(kind, how many, since when) of every kind, in order."""
    by_kind = {each.kind: each for each in attention.counts}
    kinds = (*KINDS, *(kind for kind in by_kind if kind not in KINDS))
    return [
        (kind, by_kind[kind].open_count, by_kind[kind].oldest_at) if kind in by_kind else (kind, 0, None)
        for kind in kinds
    ]


HANDLERS: Final = (get_home, get_attention)
