"""Everything under /console, as one router."""

from typing import Final

from litestar import Router

from backend.app.console import (
    backfill,
    home,
    players,
    rollout,
    rollout_page,
    sign_in,
    withdrawal_bulk,
    withdrawal_page,
    withdrawals,
)

router: Final = Router(
    "/console",
    route_handlers=[
        *sign_in.HANDLERS,
        *home.HANDLERS,
        *withdrawals.HANDLERS,
        *withdrawal_page.HANDLERS,
        *withdrawal_bulk.HANDLERS,
        *players.HANDLERS,
        *rollout.HANDLERS,
        *rollout_page.HANDLERS,
        *backfill.HANDLERS,
    ],
    include_in_schema=False,
)
