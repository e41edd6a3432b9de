"""Every address of the console, with the page that guards it: one table for tests and for measuring."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from backend.app.console.access import Page
from backend.tests.console_load import Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One address of the console; the path's gaps are filled with what exists.

    is_of_all: about all tenants, so not there while one of them is chosen.
    """

    path: str
    page: Page
    is_form: bool = False
    is_of_all: bool = False


PLACES: Final = (
    Place(path="", page=Page.HOME),
    Place(path="/attention", page=Page.HOME),
    Place(path="/search?q=someone", page=Page.SEARCH),
    Place(path="/search?q={withdrawal}", page=Page.SEARCH),
    Place(path="/search?q={finding}", page=Page.SEARCH),
    Place(path="/search?q={run}", page=Page.SEARCH),
    Place(path="/search?q={backfill}", page=Page.SEARCH),
    Place(path="/search?q=wd_{withdrawal}_1", page=Page.SEARCH),
    Place(path="/search?q=ref-{withdrawal}", page=Page.SEARCH),
    Place(path="/tenant", page=Page.TENANT_CHOICE),
    Place(path="/tenant", page=Page.TENANT_CHOICE, is_form=True),
    Place(path="/sign-out", page=Page.SIGN_OUT, is_form=True),
    Place(path="/withdrawals", page=Page.WITHDRAWALS),
    Place(path="/withdrawals?state=requested&sort=created_at", page=Page.WITHDRAWALS),
    Place(path="/withdrawals?min_amount=1.50&method=bank&date_from=2026-01-01&sort=-amount", page=Page.WITHDRAWALS),
    Place(path="/withdrawals?state=paid&currency=TRY&max_amount=1", page=Page.WITHDRAWALS),
    Place(path="/withdrawals?currency=GBP", page=Page.WITHDRAWALS),
    Place(path="/withdrawals/queues", page=Page.WITHDRAWALS),
    Place(path="/withdrawals.csv?state=failed", page=Page.WITHDRAWAL_EXPORT),
    Place(path="/withdrawals/{withdrawal}", page=Page.WITHDRAWALS),
    Place(path="/withdrawals/{withdrawal}/live?seen=1", page=Page.WITHDRAWALS),
    Place(path="/withdrawals/{withdrawal}/deed", page=Page.WITHDRAWAL_DEEDS, is_form=True),
    Place(path="/withdrawals/bulk", page=Page.WITHDRAWAL_DEEDS, is_form=True),
    Place(path="/reconciliation", page=Page.RECONCILIATION),
    Place(path="/reconciliation?severity=high&type=amount_mismatch&assigned=nobody&age=1d", page=Page.RECONCILIATION),
    Place(path="/reconciliation?status=any&provider=mockpsp&assigned=me", page=Page.RECONCILIATION),
    Place(path="/reconciliation?status=RESOLVED&type=feed_anomaly", page=Page.RECONCILIATION),
    Place(path="/reconciliation/board", page=Page.RECONCILIATION),
    Place(path="/reconciliation.csv?severity=high", page=Page.RECONCILIATION_EXPORT),
    Place(path="/reconciliation/findings/{finding}", page=Page.RECONCILIATION),
    Place(path="/reconciliation/findings/{finding}/live?seen=1", page=Page.RECONCILIATION),
    Place(path="/reconciliation/findings/{finding}/deed", page=Page.RECONCILIATION_DEEDS, is_form=True),
    Place(path="/reconciliation/runs", page=Page.RECONCILIATION),
    Place(path="/reconciliation/runs", page=Page.RECONCILIATION_DEEDS, is_form=True),
    Place(path="/reconciliation/runs/live", page=Page.RECONCILIATION),
    Place(path="/reconciliation/runs/{run}", page=Page.RECONCILIATION),
    Place(path="/reconciliation/runs/{run}/live", page=Page.RECONCILIATION),
    Place(path="/adjustments", page=Page.ADJUSTMENTS),
    Place(path="/adjustments?status=proposed", page=Page.ADJUSTMENTS),
    Place(path="/adjustments/{adjustment}", page=Page.ADJUSTMENTS),
    Place(path="/adjustments/{adjustment}/decision", page=Page.ADJUSTMENT_DECISIONS, is_form=True),
    Place(path="/webhooks", page=Page.WEBHOOKS),
    Place(path="/webhooks?state=dead&age=1d", page=Page.WEBHOOKS),
    Place(path="/webhooks?type=payout.returned&verdict=unverified&provider=nobody&effect=orphan", page=Page.WEBHOOKS),
    Place(path="/webhooks?tx={withdrawal}&event=e1", page=Page.WEBHOOKS),
    Place(path="/webhooks/queues", page=Page.WEBHOOKS),
    Place(path="/webhooks/{event}", page=Page.WEBHOOKS),
    Place(path="/webhooks/{event}/live", page=Page.WEBHOOKS),
    Place(path="/webhooks/{event}/deed", page=Page.WEBHOOK_DEEDS, is_form=True),
    Place(path="/players", page=Page.PLAYERS),
    Place(path="/players?q=p1", page=Page.PLAYERS),
    Place(path="/players?q=Player", page=Page.PLAYERS),
    Place(path="/players/{player}", page=Page.PLAYERS),
    Place(path="/players/{player}?before=3", page=Page.PLAYERS),
    Place(path="/players/{player}/explain", page=Page.PLAYERS),
    Place(path="/players/{busiest}", page=Page.PLAYERS),
    Place(path="/players/{busiest}/explain", page=Page.PLAYERS),
    Place(path="/players/{player}/kyc", page=Page.PLAYER_KYC, is_form=True),
    Place(path="/rollout", page=Page.ROLLOUT),
    Place(path="/rollout/fleet?after=0", page=Page.ROLLOUT),
    Place(path="/rollout/{tenant}", page=Page.ROLLOUT),
    Place(path="/rollout/{tenant}/standing?seen=0", page=Page.ROLLOUT),
    Place(path="/rollout/{tenant}/past", page=Page.ROLLOUT),
    Place(path="/rollout/{tenant}/deed", page=Page.ROLLOUT_DEEDS, is_form=True),
    Place(path="/rollout/verdicts/tenant/{tenant}/T3", page=Page.ROLLOUT_DEEDS),
    Place(path="/rollout/verdicts/tenant/{tenant}/T3/acknowledge", page=Page.ROLLOUT_DEEDS, is_form=True),
    Place(path="/rollout/holds/{hold}", page=Page.ROLLOUT_DEEDS),
    Place(path="/rollout/holds/{hold}/lift", page=Page.ROLLOUT_DEEDS, is_form=True),
    Place(path="/backfill", page=Page.BACKFILL),
    Place(path="/backfill/runs?beat=1", page=Page.BACKFILL),
    Place(path="/backfill/ask", page=Page.BACKFILL_DEEDS, is_form=True),
    Place(path="/audit", page=Page.AUDIT),
    Place(path="/audit?action=withdrawal.approved&date_from=2026-01-01", page=Page.AUDIT),
    Place(path="/audit?actor=somebody@example.com", page=Page.AUDIT),
    Place(path="/audit?actor={no_approver}&action=withdrawal.approved", page=Page.AUDIT),
    Place(path="/audit?object_id={withdrawal}", page=Page.AUDIT),
    Place(path="/audit.csv?object_id={withdrawal}", page=Page.AUDIT_EXPORT),
    Place(path="/admins", page=Page.ADMINS),
    Place(path="/admins", page=Page.ADMIN_DEEDS, is_form=True),
    Place(path="/admins/{admin}", page=Page.ADMINS),
    Place(path="/admins/{admin}/role", page=Page.ADMIN_DEEDS, is_form=True),
    Place(path="/admins/{admin}/active", page=Page.ADMIN_DEEDS, is_form=True),
    Place(path="/admins/{admin}/password", page=Page.ADMIN_DEEDS, is_form=True),
    Place(path="/admins/{admin}/end-sessions", page=Page.ADMIN_DEEDS, is_form=True),
    Place(path="/tenants", page=Page.TENANTS),
    Place(path="/tenants", page=Page.TENANT_DEEDS, is_form=True),
    Place(path="/tenants/{tenant}", page=Page.TENANTS),
    Place(path="/tenants/{tenant}/name", page=Page.TENANT_DEEDS, is_form=True),
    Place(path="/tenants/{tenant}/flags/{flag}", page=Page.FLAGS),
    Place(path="/tenants/{tenant}/flags/{flag}", page=Page.FLAG_DEEDS, is_form=True),
    Place(path="/tenants/flags", page=Page.FLAGS, is_of_all=True),
    Place(path="/tenants/flags/{flag}", page=Page.FLAGS, is_of_all=True),
    Place(path="/tenants/flags/{flag}", page=Page.FLAG_DEEDS, is_form=True),
)
PAGES: Final = tuple(place for place in PLACES if not place.is_form)
FORMS: Final = tuple(place for place in PLACES if place.is_form)


def name_of(value: object) -> str:
    if isinstance(value, Place):
        return f"{'POST ' if value.is_form else ''}{value.path or '/'}"
    return str(value)


def address_of(place: Place, here: Load, *, admin_id: UUID) -> str:
    """The place's address under /console in a loaded tenant, with one of its admins."""
    return place.path.format(
        withdrawal=here.withdrawal_id,
        player=here.player_id,
        busiest=here.busiest_player_id,
        finding=here.finding_id,
        run=here.run_id,
        adjustment=here.adjustment_id,
        event=here.event_id,
        tenant=here.tenant_id,
        admin=admin_id,
        no_approver=here.no_approver,
        hold=here.hold_id,
        backfill=here.backfill_id,
        flag="ledger_shadow_write",
    )
