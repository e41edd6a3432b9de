"""Everything under /console, as one router."""

from typing import Final

from litestar import Router

from backend.app.console import home, sign_in

router: Final = Router(
    "/console",
    route_handlers=[*sign_in.HANDLERS, *home.HANDLERS],
    include_in_schema=False,
)
