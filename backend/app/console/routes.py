"""Everything under /console, as one router."""

from typing import Final

from litestar import Router

from backend.app.console import (
    admin_page,
    admins,
    audit,
    home,
    players,
    sign_in,
    tenants,
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
        *audit.HANDLERS,
        *admins.HANDLERS,
        *admin_page.HANDLERS,
        *tenants.HANDLERS,
    ],
    include_in_schema=False,
)
