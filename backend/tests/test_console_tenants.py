"""Tenants in the console: what owners see of them, and making and renaming them."""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from backend.app.domain.identity import Role
from backend.tests import api_client, console_browser
from backend.tests.conftest import Database
from backend.tests.console_browser import words
from backend.tests.factories import Owner, make_player, make_tenant


@pytest.fixture(autouse=True)
def forget_cookies(http: httpx.AsyncClient) -> None:
    http.cookies.clear()


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


async def deeds(owner: Owner, tenant_id: object) -> list[tuple[object, ...]]:
    rows = await owner.execute(
        "SELECT action, state_after FROM audit_events WHERE object_kind = 'tenant' AND object_id = %s ORDER BY id",
        (str(tenant_id),),
    )
    return [tuple(row) for row in await rows.fetchall()]


async def test_list_shows_who_decides_and_how_many_there_are(
    http: httpx.AsyncClient, owner: Owner, tenant_id: UUID
) -> None:
    for _ in range(3):
        await make_player(owner, tenant_id)
    await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id)
    name = f"Tenant {uuid4()}"
    await owner.execute("UPDATE tenants SET name = %s WHERE id = %s", (name, tenant_id))
    browser = await console_browser.sign_in(http, owner, Role.OWNER)
    said = words(await browser.get("/tenants")).split(name)[1]
    assert "USD 3 1 Legacy" in said[:200]
    await browser.send("/tenant", {"tenant_id": tenant_id})
    alone = await browser.get("/tenants")
    assert alone.text.count("data-row") == 1


async def test_page_tells_flags_with_where_they_come_from(
    http: httpx.AsyncClient, owner: Owner, tenant_id: UUID
) -> None:
    await owner.execute(
        "INSERT INTO flag_settings (flag, scope, holder, value, reason, set_by) "
        "VALUES ('ledger_balance_mismatch_log', 'tenant', %s, FALSE, 'too loud', 'ada@example.com')",
        (str(tenant_id),),
    )
    browser = await console_browser.sign_in(http, owner, Role.OWNER)
    page = words(await browser.get(f"/tenants/{tenant_id}"))
    assert "ledger_balance_mismatch_log Off Set for this tenant too loud ada@example.com" in page
    assert "ledger_enforce_balance Off" in page
    assert "mockpsp" in page or "No account at any provider" in page


async def test_limits_are_told_in_the_tenants_currency(database: Database, owner: Owner) -> None:
    limits: dict[str, Any] = {
        "four_eyes_threshold": Decimal("1000.5"),
        "kyc_unverified_daily_deposit_cap": Decimal(250),
    }
    async with api_client.serving(database, **limits) as http:
        browser = await console_browser.sign_in(http, owner, Role.OWNER)
        for currency, threshold, cap in (("USD", "1,000.50 USD", "250.00 USD"), ("JPY", "1,001 JPY", "250 JPY")):
            made = await browser.send("/tenants", {"name": "T", "slug": f"t-{uuid4()}", "base_currency": currency})
            page = words(await browser.get(made.headers["location"].removeprefix("/console")))
            assert f"from {threshold}" in page
            assert cap in page
            assert "MockPSP" in page or "mockpsp" in page


async def test_tenant_is_made_and_renamed(http: httpx.AsyncClient, owner: Owner) -> None:
    browser = await console_browser.sign_in(http, owner, Role.OWNER)
    slug = f"t-{uuid4()}"
    made = await browser.send("/tenants", {"name": "  North \n Sea ", "slug": slug, "base_currency": "eur"})
    assert made.status_code == 303
    path = made.headers["location"].removeprefix("/console")
    page = await browser.get(path)
    assert "North Sea" in words(page)
    assert f"{slug} · EUR" in words(page)
    assert "Created, with an account of its own at MockPSP." in words(page)
    assert (await browser.send(f"{path}/name", {"name": "South Sea"})).status_code == 303
    assert "South Sea" in words(await browser.get(path))
    assert [action for action, _ in await deeds(owner, path.rpartition("/")[2])] == [
        "tenant.created",
        "tenant.renamed",
    ]
    for name in ("", " ", "x" * 201):
        refused = await browser.send(f"{path}/name", {"name": name})
        assert refused.status_code == 422
        assert "The name is missing, too long" in words(refused)
    assert len(await deeds(owner, path.rpartition("/")[2])) == 2


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"name": ""}, 422, "The name is missing"),
        ({"slug": "No Slug"}, 422, "The short name has small letters"),
        ({"slug": "-"}, 422, "The short name has small letters"),
        ({"base_currency": "XXQ"}, 422, "This is no currency"),
    ],
)
async def test_tenant_that_cannot_be_is_refused_and_the_form_is_kept(
    http: httpx.AsyncClient, owner: Owner, fields: dict[str, object], status: int, said: str
) -> None:
    browser = await console_browser.sign_in(http, owner, Role.OWNER)
    given: dict[str, object] = {"name": "Kept name", "slug": f"t-{uuid4()}", "base_currency": "USD", **fields}
    answer = await browser.send("/tenants", given)
    assert answer.status_code == status
    assert said in words(answer)
    assert f'value="{given["name"]}"' in answer.text


async def test_slug_that_is_taken_is_refused(http: httpx.AsyncClient, owner: Owner) -> None:
    browser = await console_browser.sign_in(http, owner, Role.OWNER)
    fields: dict[str, object] = {"name": "T", "slug": f"t-{uuid4()}", "base_currency": "USD"}
    assert (await browser.send("/tenants", fields)).status_code == 303
    again = await browser.send("/tenants", fields)
    assert again.status_code == 409
    assert "exists already" in words(again)


async def test_new_tenant_is_shown_to_an_owner_who_looks_at_another(
    http: httpx.AsyncClient, owner: Owner, tenant_id: UUID
) -> None:
    browser = await console_browser.sign_in(http, owner, Role.OWNER)
    await browser.send("/tenant", {"tenant_id": tenant_id})
    made = await browser.send("/tenants", {"name": "T", "slug": f"t-{uuid4()}", "base_currency": "USD"})
    assert (await browser.get(made.headers["location"].removeprefix("/console"))).status_code == 200
    assert "All tenants" in words(await browser.get(""))
