"""Signing in to the console: the cookie, what ends a session, and which forms are believed."""

import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from backend.app.domain.identity import AdminIdentity, Role
from backend.app.domain.people.admin import ChangeAdmin, CreateAdmin
from backend.app.domain.people.console_session import form_token, hash_token
from backend.app.repositories.database import Database as Pools
from backend.app.services.people.admins import Admins, system_actor
from backend.app.services.people.passwords import Passwords
from backend.tests import api_client, console_browser
from backend.tests.conftest import Database
from backend.tests.console_browser import ORIGIN, SESSION_COOKIE, Browser, nobody, words
from backend.tests.factories import Owner, make_tenant
from backend.tests.fixtures import new_email

PASSWORD = "a password that is long enough"
SIGN_IN = "/sign-in"


@pytest.fixture(scope="module")
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A client that keeps no cookies of its own between tests."""
    async with api_client.serving(database) as served:
        yield served


@pytest.fixture(autouse=True)
def forget_cookies(client: httpx.AsyncClient) -> None:
    client.cookies.clear()


async def make_admin(pools: Pools, tenant_id: UUID) -> tuple[UUID, str]:
    """An admin with a password; (id, address)."""
    email = new_email("console")
    admin = await Admins(pools, Passwords()).create(
        CreateAdmin(tenant_id=tenant_id, email=email, password=PASSWORD, role=Role.FINANCE),
        actor=system_actor("test"),
    )
    return admin.id, email


async def enter(client: httpx.AsyncClient, email: str, password: str = PASSWORD, **fields: str) -> httpx.Response:
    """Fill in the form as a browser does: load it, keep its cookie, send it."""
    page = await client.get(f"{ORIGIN}/console{SIGN_IN}")
    token = re.search(r'name="form_token" value="([0-9a-f]+)"', page.text)
    assert token is not None
    return await client.post(
        f"{ORIGIN}/console{SIGN_IN}",
        data={"email": email, "password": password, "form_token": token[1], **fields},
        headers={"Origin": ORIGIN},
    )


async def test_signing_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use(
    client: httpx.AsyncClient, owner: Owner, pools: Pools
) -> None:
    _, email = await make_admin(pools, await make_tenant(owner))
    answer = await enter(client, email.upper())
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")
    cookie = next(value for value in answer.headers.get_list("set-cookie") if value.startswith(SESSION_COOKIE))
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
    assert not [attribute for attribute in attributes if attribute.startswith(("domain", "max-age", "expires"))]
    home = await client.get(f"{ORIGIN}/console")
    assert home.status_code == 200
    assert email in home.text


async def test_database_keeps_no_token(client: httpx.AsyncClient, owner: Owner, pools: Pools) -> None:
    admin_id, email = await make_admin(pools, await make_tenant(owner))
    await enter(client, email)
    token = client.cookies[SESSION_COOKIE]
    cursor = await owner.execute("SELECT token_hash FROM console_sessions WHERE admin_id = %s", (admin_id,))
    assert await cursor.fetchall() == [(hash_token(token),)]


async def test_wrong_password_and_unknown_address_read_alike(
    client: httpx.AsyncClient, owner: Owner, pools: Pools
) -> None:
    _, email = await make_admin(pools, await make_tenant(owner))
    wrong = await enter(client, email, "not the password at all")
    unknown = await enter(client, new_email("nobody"), PASSWORD)
    assert wrong.status_code == unknown.status_code == 401
    assert "The e-mail address or the password is not right." in words(wrong)
    assert SESSION_COOKIE not in client.cookies
    strip = re.compile(r'value="[^"]*"')
    assert strip.sub("", wrong.text) == strip.sub("", unknown.text)


async def test_repeated_failures_are_throttled(client: httpx.AsyncClient, owner: Owner, pools: Pools) -> None:
    _, email = await make_admin(pools, await make_tenant(owner))
    for _ in range(10):
        assert (await enter(client, email, "not the password at all")).status_code == 401
    refused = await enter(client, email)
    assert refused.status_code == 429
    assert "Too many failed tries" in words(refused)


@pytest.mark.parametrize(
    ("onward", "expected"),
    [
        ("/console/withdrawals?state=failed", "/console/withdrawals?state=failed"),
        ("https://evil.example/console", "/console"),
        ("//evil.example/console", "/console"),
        ("/console/\\evil.example", "/console"),
        ("/console.evil.example", "/console"),
        ("/docs", "/console"),
    ],
)
async def test_sign_in_goes_on_only_within_the_console(
    client: httpx.AsyncClient, owner: Owner, pools: Pools, onward: str, expected: str
) -> None:
    _, email = await make_admin(pools, await make_tenant(owner))
    assert (await enter(client, email, next=onward)).headers["location"] == expected


async def test_sign_in_form_is_refused_without_its_own_token(
    client: httpx.AsyncClient, owner: Owner, pools: Pools
) -> None:
    _, email = await make_admin(pools, await make_tenant(owner))
    fields = {"email": email, "password": PASSWORD}
    for data in (fields, {**fields, "form_token": form_token("somebody else's secret")}):
        await client.get(f"{ORIGIN}/console{SIGN_IN}")
        answer = await client.post(f"{ORIGIN}/console{SIGN_IN}", data=data, headers={"Origin": ORIGIN})
        assert answer.status_code == 403
        assert SESSION_COOKIE not in client.cookies


async def test_password_is_not_taken_over_an_open_network(client: httpx.AsyncClient) -> None:
    page = await client.get(f"http://hakem.test/console{SIGN_IN}")
    assert "not encrypted" in words(page)
    assert "Secure" in page.headers["set-cookie"], "a browser then does not even keep the form's secret"


async def test_loopback_needs_no_tls(client: httpx.AsyncClient) -> None:
    page = await client.get(f"http://127.0.0.1:8001/console{SIGN_IN}")
    assert "not encrypted" not in words(page)
    cookie = page.headers["set-cookie"]
    assert cookie.startswith("hakem-form=")
    assert "Secure" not in cookie


# ---------------------------------------------------------------------------------------------------------------------
# What ends a session
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def finance(client: httpx.AsyncClient, owner: Owner) -> Browser:
    return await console_browser.sign_in(client, owner, Role.FINANCE, await make_tenant(owner))


async def is_signed_in(browser: Browser) -> bool:
    answer = await browser.get("")
    assert answer.status_code in (200, 303)
    if answer.status_code == 303:
        assert answer.headers["location"].startswith("/console/sign-in")
    return answer.status_code == 200


async def age(owner: Owner, browser: Browser, **times: str) -> None:
    """Move a session's times back."""
    for column, interval in times.items():
        await owner.execute(
            f"UPDATE console_sessions SET {column} = clock_timestamp() - %s::INTERVAL WHERE token_hash = %s",
            (interval, hash_token(browser.token)),
        )


async def test_session_ends_half_an_hour_after_the_last_deed(owner: Owner, finance: Browser) -> None:
    await age(owner, finance, seen_at="29 minutes")
    assert await is_signed_in(finance)
    # That was a deed: half an hour begins again.
    await owner.execute(
        "UPDATE console_sessions SET seen_at = seen_at - INTERVAL '29 minutes' WHERE token_hash = %s",
        (hash_token(finance.token),),
    )
    assert await is_signed_in(finance)
    await age(owner, finance, seen_at="31 minutes")
    assert not await is_signed_in(finance)


async def test_session_ends_after_twelve_hours_whatever_happens(owner: Owner, finance: Browser) -> None:
    admin = (finance.admin_id,)
    await owner.execute("UPDATE admins SET sessions_valid_from = now() - INTERVAL '1 day' WHERE id = %s", admin)
    await age(owner, finance, opened_at="11 hours 59 minutes")
    assert await is_signed_in(finance)
    await age(owner, finance, opened_at="12 hours 1 minute")
    assert not await is_signed_in(finance)


async def test_signing_out_ends_the_session_on_the_server(finance: Browser) -> None:
    assert await is_signed_in(finance)
    answer = await finance.send("/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in")
    assert not await is_signed_in(finance)


def change(browser: Browser, **fields: Any) -> dict[str, Any]:
    assert browser.admin_id is not None
    return {
        "admin_id": browser.admin_id,
        "change": ChangeAdmin(**fields),
        "by": AdminIdentity(admin_id=uuid4(), email="", role=Role.OWNER, tenant_id=None, scope_tenant_id=None),
        "actor": system_actor("test"),
    }


async def test_another_password_ends_every_session(pools: Pools, finance: Browser) -> None:
    assert await is_signed_in(finance)
    await Admins(pools, Passwords()).change(None, **change(finance, password=PASSWORD))
    assert not await is_signed_in(finance)


async def test_disabled_account_is_signed_out_for_good(pools: Pools, finance: Browser) -> None:
    admins = Admins(pools, Passwords())
    await admins.change(None, **change(finance, is_active=False))
    assert not await is_signed_in(finance)
    await admins.change(None, **change(finance, is_active=True))
    assert not await is_signed_in(finance), "what was ended does not come back"


async def test_another_role_is_what_counts_at_once(pools: Pools, finance: Browser) -> None:
    await Admins(pools, Passwords()).change(None, **change(finance, role=Role.VIEWER))
    assert (await finance.get("/tenant")).status_code == 403
    assert "Viewer" in words(await finance.get(""))


async def test_unknown_and_absurd_tokens_are_nobody(client: httpx.AsyncClient) -> None:
    for token in ("x", "x" * 43, "x" * 5000, "a b", '"'):
        assert not await is_signed_in(Browser(http=client, token=token))


async def test_part_of_a_page_sends_the_whole_page_to_sign_in(client: httpx.AsyncClient) -> None:
    answer = await nobody(client).get(
        "", headers={"HX-Request": "true", "HX-Current-URL": f"{ORIGIN}/console/withdrawals?state=failed"}
    )
    assert answer.status_code == 204
    assert answer.headers["hx-redirect"] == "/console/sign-in?next=%2Fconsole%2Fwithdrawals%3Fstate%3Dfailed"


# ---------------------------------------------------------------------------------------------------------------------
# Choices
# ---------------------------------------------------------------------------------------------------------------------


async def test_language_and_theme_are_remembered(client: httpx.AsyncClient) -> None:
    page = await client.get(f"{ORIGIN}/console{SIGN_IN}", headers={"Accept-Language": "tr-TR,tr;q=0.9"})
    assert 'lang="tr"' in page.text
    token = re.search(r'name="form_token" value="([0-9a-f]+)"', page.text)
    assert token is not None
    for choice in ({"language": "en"}, {"theme": "dark"}):
        answer = await client.post(
            f"{ORIGIN}/console/preferences",
            data={**choice, "form_token": token[1], "back": "/console/sign-in"},
            headers={"Origin": ORIGIN},
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in")
    page = await client.get(f"{ORIGIN}/console{SIGN_IN}", headers={"Accept-Language": "tr-TR,tr;q=0.9"})
    assert '<html lang="en" data-bs-theme="dark" data-theme="dark">' in page.text


async def test_owner_chooses_a_tenant_and_nobody_else_does(client: httpx.AsyncClient, owner: Owner) -> None:
    tenant_id = await make_tenant(owner)
    await owner.execute("UPDATE tenants SET name = 'Chosen one' WHERE id = %s", (tenant_id,))
    boss = await console_browser.sign_in(client, owner, Role.OWNER)
    assert "All tenants" in words(await boss.get(""))
    assert (await boss.send("/tenant", {"tenant_id": tenant_id})).status_code == 303
    assert "Chosen one" in words(await boss.get(""))
    for wrong in ("nonsense", str(boss.admin_id)):
        assert (await boss.send("/tenant", {"tenant_id": wrong})).status_code == 404
    assert "Chosen one" in words(await boss.get(""))
    assert (await boss.send("/tenant", {"tenant_id": ""})).status_code == 303
    assert "All tenants" in words(await boss.get(""))
    finance = await console_browser.sign_in(client, owner, Role.FINANCE, await make_tenant(owner))
    assert (await finance.get("/tenant")).status_code == 403
    assert (await finance.send("/tenant", {"tenant_id": tenant_id})).status_code == 403
