"""Everything under /console, as one router."""

from typing import Final

from litestar import Router

from backend.app.console import (
    adjustments,
    admin_page,
    admins,
    audit,
    backfill,
    finding_page,
    flags,
    home,
    players,
    reconciliation,
    reconciliation_runs,
    rollout,
    rollout_notes,
    rollout_page,
    search,
    sign_in,
    tenants,
    webhooks,
    withdrawal_bulk,
    withdrawal_page,
    withdrawals,
)

router: Final = Router(
    "/console",
    route_handlers=[
        *sign_in.HANDLERS,
        *home.HANDLERS,
        *search.HANDLERS,
        *withdrawals.HANDLERS,
        *withdrawal_page.HANDLERS,
        *withdrawal_bulk.HANDLERS,
        *reconciliation.HANDLERS,
        *finding_page.HANDLERS,
        *reconciliation_runs.HANDLERS,
        *adjustments.HANDLERS,
        *webhooks.HANDLERS,
        *players.HANDLERS,
        *rollout.HANDLERS,
        *rollout_notes.HANDLERS,
        *rollout_page.HANDLERS,
        *backfill.HANDLERS,
        *audit.HANDLERS,
        *admins.HANDLERS,
        *admin_page.HANDLERS,
        *tenants.HANDLERS,
        *flags.HANDLERS,
    ],
    include_in_schema=False,
)
