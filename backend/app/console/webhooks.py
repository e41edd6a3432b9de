"""Webhooks: what providers delivered, what became of it, and having it applied or asked about again."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import FromPath

from backend.app.console import render, visit
from backend.app.console.access import Page
from backend.app.console.list_filter import AGES, FieldReader, Fields, place_of, plain
from backend.app.console.live import live_of
from backend.app.console.visit import action, page
from backend.app.domain.desk.webhook_desk import (
    BODY_BYTES_MAX,
    COUNTED_MAX,
    LOOKED_AT_MAX,
    WebhookDetail,
    WebhookFilter,
)
from backend.app.domain.errors import AppError, FieldError
from backend.app.domain.ids import path_uuid
from backend.app.domain.payments.psp_delivery import EventState, PspEventNotFound
from backend.app.domain.payments.psp_event import Applied, Effect, PspEventType
from backend.app.services.desk.webhook_desk import WebhookDesk
from backend.app.services.payments.psp_inbox import PspInbox
from backend.app.services.people.console_sessions import ConsoleSessions

AnyRequest = Request[Any, Any, Any]
ROWS: Final = 50
FIELDS: Final = ("state", "provider", "type", "verdict", "effect", "age", "event", "tx")
VERDICTS: Final = ("valid", "unverified")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Fields):
    """What an address asks for."""

    filter: WebhookFilter
    before_id: UUID | None

    @property
    def is_refined(self) -> bool:
        """Whether anything was chosen that the queues above the list do not show."""
        return bool(self.fields.keys() - {"state"})


def read_filter(request: AnyRequest) -> Asked:
    """What the request's address asks for."""
    reader = FieldReader(request, FIELDS)
    read = reader.read
    age = read("age", AGES.__getitem__, "filter.problem.choice")
    asked = WebhookFilter(
        state=read("state", EventState, "filter.problem.choice"),
        provider=read("provider", plain, "filter.problem.text"),
        event_type=read("type", plain, "filter.problem.text"),
        effect=read("effect", Effect, "filter.problem.choice"),
        signature_status=read("verdict", lambda text: VERDICTS[VERDICTS.index(text)], "filter.problem.choice"),
        provider_event_id=read("event", plain, "filter.problem.text"),
        tx_id=read("tx", UUID, "filter.problem.id"),
        received_before=None if age is None else datetime.now(UTC) - age,
    )
    return Asked(filter=asked, before_id=place_of(request), fields=reader.fields, problems=reader.problems)


@page("/webhooks", of=Page.WEBHOOKS)
async def list_webhooks(request: AnyRequest, webhook_desk: NamedDependency[WebhookDesk]) -> Response[Any]:
    """What waits, and the deliveries that the address asks for."""
    scope = visit.admin_of(request).scope_tenant_id
    asked = read_filter(request)
    found = await webhook_desk.page(scope, asked=asked.filter, before_id=asked.before_id, limit=ROWS)
    return await render.show(
        request,
        "webhooks/list.html",
        asked=asked,
        page=found,
        is_full=len(found.events) == ROWS,
        looked_at_max=LOOKED_AT_MAX,
        queues=found.queues,
        counted_max=COUNTED_MAX,
        live=live_of(request),
        current_state=asked.filter.state,
        states=tuple(EventState),
        types=tuple(PspEventType),
        effects=tuple(Effect),
        verdicts=VERDICTS,
        ages=tuple(AGES),
        is_everywhere=scope is None,
    )


@page("/webhooks/queues", of=Page.WEBHOOKS, is_live=True)
async def get_queues(request: AnyRequest, webhook_desk: NamedDependency[WebhookDesk]) -> Response[Any]:
    """What waits alone, for the page that refreshes it."""
    return render.part(
        request,
        "webhooks/queues.html",
        queues=await webhook_desk.queues(visit.admin_of(request).scope_tenant_id),
        counted_max=COUNTED_MAX,
        live=live_of(request),
        current_state=read_filter(request).filter.state,
    )


@page("/webhooks/{event_id:str}", of=Page.WEBHOOKS)
async def get_webhook(
    request: AnyRequest, event_id: FromPath[str], webhook_desk: NamedDependency[WebhookDesk]
) -> Response[Any]:
    """One delivery with all that is kept of it. Raises PspEventNotFound."""
    return await _show(request, webhook_desk, event_id=_event_id(event_id))


@page("/webhooks/{event_id:str}/live", of=Page.WEBHOOKS, is_live=True)
async def get_live(
    request: AnyRequest, event_id: FromPath[str], webhook_desk: NamedDependency[WebhookDesk]
) -> Response[Any]:
    """What became of it alone, while it is due."""
    detail = await webhook_desk.get(visit.admin_of(request).scope_tenant_id, event_id=_event_id(event_id))
    return render.part(request, "webhooks/outcome.html", **_outcome(request, detail))


@action("/webhooks/{event_id:str}/deed", of=Page.WEBHOOK_DEEDS)
async def post_deed(
    request: AnyRequest,
    event_id: FromPath[str],
    webhook_desk: NamedDependency[WebhookDesk],
    inbox: NamedDependency[PspInbox],
    console_sessions: NamedDependency[ConsoleSessions],
) -> Response[Any]:
    """Makes it due again, or asks the provider about its payment; a refusal shows it as it is now."""
    found_id = _event_id(event_id)
    scope, actor = visit.admin_of(request).scope_tenant_id, visit.actor_of(request)
    wanted = str((await request.form()).get("action", ""))
    try:
        if wanted == "reprocess":
            await inbox.reprocess(scope, event_id=found_id, actor=actor)
            said = "webhook.reprocessed"
        elif wanted == "pull":
            said = _said_of(await inbox.pull(scope, event_id=found_id, actor=actor))
        else:
            raise FieldError("action", "is none that can be done here")
    except PspEventNotFound:
        raise
    except AppError as refusal:
        return await _show(request, webhook_desk, event_id=found_id, refusal=refusal)
    await console_sessions.say(visit.own_session(request), {"kind": "success", "code": said})
    return render.redirect(request, f"/console/webhooks/{found_id}")


def _said_of(applied: Any) -> str:
    """What the answers did: the one that changed something speaks for all."""
    effects = [each.effect for each in applied if isinstance(each, Applied)]
    if not effects:
        return "pull.silence"
    order = (Effect.FINDING, Effect.APPLIED, Effect.NOTHING_NEW, Effect.ORPHAN)
    return f"pull.{min(effects, key=order.index)}"


async def _show(
    request: AnyRequest, desk: WebhookDesk, *, event_id: UUID, refusal: AppError | None = None
) -> Response[Any]:
    scope = visit.admin_of(request).scope_tenant_id
    detail = await desk.get(scope, event_id=event_id)
    return await render.show(
        request,
        "webhooks/page.html",
        status=200 if refusal is None else refusal.status,
        **_outcome(request, detail),
        refusal=refusal,
        body_bytes_max=BODY_BYTES_MAX,
        is_everywhere=scope is None,
    )


def _outcome(request: AnyRequest, detail: WebhookDetail) -> dict[str, Any]:
    return {
        "detail": detail,
        "event": detail.event,
        "kept": detail.kept,
        "is_due": detail.event.state == EventState.PENDING,
        "live": live_of(request),
    }


def _event_id(text: str) -> UUID:
    return path_uuid(text, missing=PspEventNotFound())


HANDLERS: Final = (list_webhooks, get_queues, get_webhook, get_live, post_deed)
