"""Withdrawals as a list: queues with count, sum and age, a filter that stands in the address, and the whole as CSV."""

from typing import Any, Final

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.response import Stream

from backend.app.console import render, visit
from backend.app.console.access import Page
from backend.app.console.live import live_of
from backend.app.console.visit import page
from backend.app.console.withdrawal_filter import read_filter
from backend.app.domain.csv_cells import write_pages
from backend.app.domain.desk.withdrawal_csv import csv_header, csv_row
from backend.app.domain.desk.withdrawal_desk import COUNTED_MAX
from backend.app.domain.payments.finance import Sort
from backend.app.domain.payments.finance_cursor import format_cursor
from backend.app.domain.payments.withdrawal_lifecycle import Action
from backend.app.domain.withdrawal import WithdrawalState
from backend.app.services.desk.withdrawal_desk import WithdrawalDesk
from backend.app.services.payments.finance import Finance

AnyRequest = Request[Any, Any, Any]
ROWS: Final = 50
# What can be done to many; the manual rail needs evidence for each.
BULK_ACTIONS: Final = (Action.APPROVE, Action.REJECT, Action.DISPATCH, Action.RETRY, Action.CANCEL)


@page("/withdrawals", of=Page.WITHDRAWALS)
async def list_withdrawals(request: AnyRequest, withdrawal_desk: NamedDependency[WithdrawalDesk]) -> Response[Any]:
    """The queues, and the withdrawals that the address asks for."""
    scope = visit.admin_of(request).scope_tenant_id
    asked = read_filter(request, is_everywhere=scope is None)
    found = await withdrawal_desk.page(scope, asked=asked.filter, sort=asked.sort, after=asked.after, limit=ROWS)
    return await render.show(
        request,
        "withdrawals/list.html",
        asked=asked,
        page=found,
        counted_max=COUNTED_MAX,
        next_cursor=format_cursor(found.withdrawals[-1], asked.sort) if found.has_more else None,
        queues=found.queues,
        live=live_of(request),
        current_state=asked.filter.state,
        states=tuple(WithdrawalState),
        sorts=[sort for sort in Sort if scope is not None or not sort.is_by_amount],
        bulk_actions=BULK_ACTIONS,
        is_everywhere=scope is None,
    )


@page("/withdrawals/queues", of=Page.WITHDRAWALS, is_live=True)
async def get_queues(request: AnyRequest, withdrawal_desk: NamedDependency[WithdrawalDesk]) -> Response[Any]:
    """The queues alone, for the page that refreshes them."""
    scope = visit.admin_of(request).scope_tenant_id
    asked = read_filter(request, is_everywhere=scope is None)
    return render.part(
        request,
        "withdrawals/queues.html",
        queues=await withdrawal_desk.queues(scope),
        live=live_of(request),
        current_state=asked.filter.state,
    )


@page("/withdrawals.csv", of=Page.WITHDRAWAL_EXPORT)
async def export_withdrawals(request: AnyRequest, finance: NamedDependency[Finance]) -> Stream:
    """The whole of what the address asks for, streamed as it is at one moment; the export is audited."""
    scope = visit.admin_of(request).scope_tenant_id
    asked = read_filter(request, is_everywhere=scope is None)
    asked.refuse_problems()
    pages = await finance.export(scope, asked=asked.filter, sort=asked.sort, actor=visit.actor_of(request))
    return render.download("withdrawals", write_pages(csv_header(), pages, csv_row))


HANDLERS: Final = (list_withdrawals, get_queues, export_withdrawals)
