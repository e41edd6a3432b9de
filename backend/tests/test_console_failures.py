"""What goes wrong under the console: pages that say what helps, in the same look, and nothing of the inside."""

import re

import httpx
import pytest

from backend.app.console import home
from backend.app.domain.identity import Role
from backend.tests import api_client, console_browser
from backend.tests.conftest import Server
from backend.tests.console_browser import nobody, words
from backend.tests.factories import Owner, connect_owner, make_tenant


async def test_database_that_is_away_is_said_on_a_page(server: Server) -> None:
    database = server.create()
    async with api_client.serving(database, database_connect_timeout_seconds=1.0) as http:
        async with connect_owner(database) as owner:
            browser = await console_browser.sign_in(http, owner, Role.FINANCE, await make_tenant(owner))
        assert (await browser.get("")).status_code == 200
        server.drop(database)
        answer = await browser.get("/withdrawals")
        assert answer.status_code == 503
        assert answer.headers["content-type"].startswith("text/html")
        assert "The database does not answer" in words(answer)
        assert (await nobody(http).get("/sign-in")).status_code == 200, "what needs no database goes on"


async def test_bug_is_a_page_with_the_request_and_nothing_else(
    http: httpx.AsyncClient, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: object) -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(home, "open_counts", crash)
    browser = await console_browser.sign_in(http, owner, Role.VIEWER, await make_tenant(owner))
    answer = await browser.get("")
    assert answer.status_code == 500
    assert "Something went wrong" in words(answer)
    assert answer.headers["x-request-id"] in answer.text
    assert "secret" not in answer.text
    assert "Sign out" in words(answer), "the frame is still there"


@pytest.mark.parametrize(
    ("came_from", "way"),
    [
        ("/console/players?q=ada", "/console/players?q=ada"),
        ("//elsewhere.example/console/players", None),
        ("/api/v1/players", None),
        ("", None),
    ],
)
async def test_form_that_is_too_old_leads_back_to_its_page(
    http: httpx.AsyncClient, owner: Owner, came_from: str, way: str | None
) -> None:
    browser = await console_browser.sign_in(http, owner, Role.FINANCE, await make_tenant(owner))
    headers = {"Referer": f"{console_browser.ORIGIN}{came_from}"}
    answer = await browser.raw("/preferences", {"theme": "dark", "form_token": "old"}, headers=headers)
    assert answer.status_code == 403
    links = re.findall(r'<a class="btn[^"]*" href="([^"]+)"', answer.text)
    assert links == ([way, "/console"] if way else ["/console"])


async def test_failure_that_may_pass_offers_the_page_again(
    http: httpx.AsyncClient, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await console_browser.sign_in(http, owner, Role.VIEWER, await make_tenant(owner))
    assert "Open the page again" not in words(await browser.get("/withdrawals")), "it is as forbidden as before"

    def crash(_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(home, "open_counts", crash)
    assert "Open the page again" in words(await browser.get(""))
