"""Tenants: made, renamed and listed by platform owners, each with its account at MockPSP."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.app.domain.identity import Role
from backend.tests.factories import Owner, make_tenant, set_enforce
from backend.tests.fixtures import People, assert_problem


def new_slug() -> str:
    return f"t-{uuid4().hex}"


async def test_new_tenant_has_its_account_and_an_audit_row(people: People, owner: Owner) -> None:
    admin, slug = await people.admin(Role.OWNER), new_slug()
    created = await admin.post("/tenants", {"name": "Çınar Oyun", "slug": slug, "base_currency": "TRY"})
    assert created.status_code == 201, created.text
    tenant = created.json()
    tenant_id = UUID(tenant["id"])
    assert {key: tenant[key] for key in ("name", "slug", "base_currency", "flags", "psp_accounts")} == {
        "name": "Çınar Oyun",
        "slug": slug,
        "base_currency": "TRY",
        "flags": {"ledger_enforce_override": None},
        "psp_accounts": [{"provider": "mockpsp", "account_id": f"mock_{tenant_id.hex}"}],
    }
    rows = await owner.execute("SELECT provider, account_id FROM psp_accounts WHERE tenant_id = %s", (tenant_id,))
    assert await rows.fetchall() == [("mockpsp", f"mock_{tenant_id.hex}")]
    audited = await owner.execute(
        "SELECT action, actor_id, object_id, state_after ->> 'slug' FROM audit_events WHERE tenant_id = %s",
        (tenant_id,),
    )
    assert await audited.fetchall() == [("tenant.created", admin.id, str(tenant_id), slug)]


async def test_base_currency_is_dollars_unless_it_is_said(people: People) -> None:
    created = await (await people.admin(Role.OWNER)).post("/tenants", {"name": "A", "slug": new_slug()})
    assert created.json()["base_currency"] == "USD"


async def test_slug_belongs_to_one_tenant(people: People, owner: Owner) -> None:
    admin, slug = await people.admin(Role.OWNER), new_slug()
    answers = await asyncio.gather(*(admin.post("/tenants", {"name": "A", "slug": slug}) for _ in range(10)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 9}
    for answer in answers:
        if answer.status_code == 409:
            assert_problem(answer, 409, "TENANT_EXISTS")
    rows = await owner.execute("SELECT count(*) FROM audit_events WHERE state_after ->> 'slug' = %s", (slug,))
    assert await rows.fetchone() == (1,)


@pytest.mark.parametrize(
    "fields",
    [
        {"slug": ""},
        {"slug": "-a"},
        {"slug": "a-"},
        {"slug": "Ab"},
        {"slug": "a\n"},
        {"slug": "a" * 64},
        {"name": ""},
        {"name": "x" * 201},
        {"name": "a\x00"},
        {"base_currency": "XXX"},
        {"base_currency": "usd"},
        {"base_currency": None},
    ],
)
async def test_tenant_that_cannot_be_is_refused(people: People, fields: dict[str, Any]) -> None:
    body = {"name": "A", "slug": new_slug(), **fields}
    assert_problem(await (await people.admin(Role.OWNER)).post("/tenants", body), 422, "VALIDATION_ERROR")


async def test_tenant_is_renamed_and_the_audit_knows_both_names(people: People, owner: Owner) -> None:
    admin, tenant_id = await people.admin(Role.OWNER), await make_tenant(owner)
    renamed = await admin.patch(f"/tenants/{tenant_id}", {"name": "Another"})
    assert (renamed.status_code, renamed.json()["name"]) == (200, "Another")
    rows = await owner.execute(
        "SELECT action, state_before, state_after FROM audit_events WHERE tenant_id = %s", (tenant_id,)
    )
    assert await rows.fetchall() == [("tenant.renamed", {"name": "A tenant"}, {"name": "Another"})]
    unchanged = await admin.patch(f"/tenants/{tenant_id}", {})
    assert (unchanged.status_code, unchanged.json()["name"]) == (200, "Another")


async def test_unknown_tenant_is_not_found(people: People, owner: Owner) -> None:
    admin = await people.admin(Role.OWNER)
    for tenant_id in (uuid4(), "no-uuid", "%00"):
        assert_problem(await admin.patch(f"/tenants/{tenant_id}", {"name": "A"}), 404, "TENANT_NOT_FOUND")
        assert_problem(await admin.patch(f"/tenants/{tenant_id}", {}), 404, "TENANT_NOT_FOUND")
    one, other = await make_tenant(owner), await make_tenant(owner)
    assert_problem(await admin.about(one).patch(f"/tenants/{other}", {"name": "A"}), 404, "TENANT_NOT_FOUND")


async def test_list_is_of_all_or_of_the_one_that_is_asked_about(people: People, owner: Owner) -> None:
    admin, tenant_id = await people.admin(Role.OWNER), await make_tenant(owner)
    await set_enforce(owner, tenant_id, True)
    everything = (await admin.get("/tenants", limit=1)).json()
    assert (len(everything["items"]), everything["meta"]["limit"]) == (1, 1)
    assert everything["meta"]["total"] >= 1
    (tenant,) = (await admin.about(tenant_id).get("/tenants")).json()["items"]
    assert (tenant["id"], tenant["flags"]) == (str(tenant_id), {"ledger_enforce_override": True})


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 201}, {"limit": "9" * 40}, {"offset": -1}, {"offset": "x"}])
async def test_page_that_cannot_be_is_refused(people: People, query: dict[str, Any]) -> None:
    admin = await people.admin(Role.OWNER)
    for path in ("/tenants", "/admins", "/players", "/audit/events"):
        assert_problem(await admin.get(path, **query), 422, "VALIDATION_ERROR")


async def test_tenants_are_the_business_of_owners(people: People, owner: Owner) -> None:
    tenant_id = await make_tenant(owner)
    for role in set(Role) - {Role.OWNER}:
        admin = await people.admin(role, tenant_id)
        assert_problem(await admin.get("/tenants"), 403, "FORBIDDEN")
        assert_problem(await admin.post("/tenants", {"name": "A", "slug": new_slug()}), 403, "FORBIDDEN")
        assert_problem(await admin.patch(f"/tenants/{tenant_id}", {"name": "A"}), 403, "FORBIDDEN")
