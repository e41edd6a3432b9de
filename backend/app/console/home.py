"""The first page: what needs somebody's attention now. And the search that every page offers."""

from typing import Any, Final

from litestar import Request, Response

from backend.app.console import render
from backend.app.console.access import Page
from backend.app.console.visit import page

AnyRequest = Request[Any, Any, Any]


@page("/", of=Page.HOME)
async def get_home(request: AnyRequest) -> Response[Any]:
    """What waits, the longest waiting first."""
    return await render.show(request, "home/page.html")


HANDLERS: Final = (get_home,)
