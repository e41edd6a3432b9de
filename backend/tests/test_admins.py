"""Admins: who may make and change whom."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from backend.app.domain.identity import Role
from backend.tests.api_client import serving
from backend.tests.conftest import Database
from backend.tests.factories import Owner, connect_owner, make_tenant
from backend.tests.fixtures import People, assert_problem, new_email

PASSWORD = "correct horse"


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


def admin_body(role: str = "viewer", **fields: Any) -> dict[str, Any]:
    return {"email": new_email(), "password": PASSWORD, "role": role, **fields}


async def test_owner_makes_admins_of_any_tenant_and_owners(people: People, owner: Owner, tenant_id: UUID) -> None:
    admin = await people.admin(Role.OWNER)
    for role in set(Role) - {Role.OWNER}:
        for caller, fields in ((admin, {"tenant_id": str(tenant_id)}), (admin.about(tenant_id), {})):
            made = await caller.post("/admins", admin_body(role.value, **fields))
            assert made.status_code == 201, made.text
            assert (made.json()["role"], made.json()["tenant_id"]) == (role.value, str(tenant_id))
    made = await admin.post("/admins", admin_body("owner"))
    assert (made.status_code, made.json()["tenant_id"]) == (201, None)
    rows = await owner.execute("SELECT tenant_id, action FROM audit_events WHERE object_id = %s", (made.json()["id"],))
    assert await rows.fetchall() == [(None, "admin.created")]


async def test_made_admin_signs_in(people: People, tenant_id: UUID) -> None:
    body = admin_body(email=new_email("MIXED"), password="pässwörd 1")
    made = await (await people.admin(Role.TENANT_ADMIN, tenant_id)).post("/admins", body)
    assert made.json()["email"] == body["email"].lower()
    assert "password" not in made.text
    # The same letters, composed as another keyboard does.
    decomposed = {"email": body["email"], "password": "pa\u0308sswo\u0308rd 1"}
    assert (await people.nobody().post("/auth/login", decomposed)).status_code == 200


async def test_owner_has_to_say_which_tenant(people: People, tenant_id: UUID) -> None:
    admin = await people.admin(Role.OWNER)
    assert_problem(await admin.post("/admins", admin_body()), 400, "TENANT_REQUIRED")
    assert_problem(await admin.post("/admins", admin_body(tenant_id=str(uuid4()))), 400, "INVALID_TENANT")
    assert_problem(await admin.post("/admins", admin_body("owner", tenant_id=str(tenant_id))), 422, "VALIDATION_ERROR")
    assert_problem(await admin.about(tenant_id).post("/admins", admin_body("owner")), 422, "VALIDATION_ERROR")
    elsewhere = admin_body(tenant_id=str(uuid4()))
    assert_problem(await admin.about(tenant_id).post("/admins", elsewhere), 404, "TENANT_NOT_FOUND")


async def test_tenant_admin_manages_their_own_tenant_only(people: People, owner: Owner, tenant_id: UUID) -> None:
    admin = await people.admin(Role.TENANT_ADMIN, tenant_id)
    colleague = await people.admin(Role.VIEWER, tenant_id)
    stranger = await people.admin(Role.VIEWER, await make_tenant(owner))
    platform_owner = await people.admin(Role.OWNER)
    assert (await admin.post("/admins", admin_body("finance"))).json()["tenant_id"] == str(tenant_id)
    assert (await admin.post("/admins", admin_body(tenant_id=str(tenant_id)))).status_code == 201
    foreign = admin_body(tenant_id=str(stranger.tenant_id))
    assert_problem(await admin.post("/admins", foreign), 404, "TENANT_NOT_FOUND")
    assert_problem(await admin.post("/admins", admin_body("owner")), 403, "FORBIDDEN")
    assert (await admin.patch(f"/admins/{colleague.id}", {"role": "finance"})).json()["role"] == "finance"
    assert_problem(await admin.patch(f"/admins/{colleague.id}", {"role": "owner"}), 403, "FORBIDDEN")
    for other in (stranger.id, platform_owner.id, uuid4(), "no-uuid"):
        assert_problem(await admin.patch(f"/admins/{other}", {"is_active": False}), 404, "ADMIN_NOT_FOUND")
    listed = (await admin.get("/admins")).json()
    assert {each["tenant_id"] for each in listed["items"]} == {str(tenant_id)}
    assert listed["meta"]["total"] == len(listed["items"]) == 4


async def test_others_manage_nobody(people: People, tenant_id: UUID) -> None:
    for role in (Role.FINANCE, Role.APPROVER, Role.RECON, Role.VIEWER):
        admin = await people.admin(role, tenant_id)
        assert_problem(await admin.get("/admins"), 403, "FORBIDDEN")
        assert_problem(await admin.post("/admins", admin_body()), 403, "FORBIDDEN")
        assert_problem(await admin.patch(f"/admins/{admin.id}", {"role": "tenant_admin"}), 403, "FORBIDDEN")


async def test_address_signs_in_to_one_account_only(people: People, tenant_id: UUID) -> None:
    admin, body = await people.admin(Role.OWNER), admin_body(tenant_id=str(tenant_id))
    answers = await asyncio.gather(*(admin.post("/admins", body) for _ in range(6)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 5}
    assert_problem(await admin.post("/admins", {**body, "email": body["email"].upper()}), 409, "ADMIN_EXISTS")
    other = await people.admin(Role.VIEWER, tenant_id)
    assert_problem(await admin.patch(f"/admins/{other.id}", {"email": body["email"]}), 409, "ADMIN_EXISTS")


@pytest.mark.parametrize(
    "fields",
    [
        {"email": "no address"},
        {"email": "nul\x00@example.com"},
        {"password": "short"},
        {"password": "x" * 129},
        {"role": "king"},
        {"role": None},
        {"is_active": "yes"},
        {"tenant_id": "no uuid"},
    ],
)
async def test_admin_that_cannot_be_is_refused(people: People, tenant_id: UUID, fields: dict[str, Any]) -> None:
    admin = await people.admin(Role.TENANT_ADMIN, tenant_id)
    assert_problem(await admin.post("/admins", {**admin_body(), **fields}), 422, "VALIDATION_ERROR")


async def test_change_is_audited_with_before_and_after(people: People, owner: Owner, tenant_id: UUID) -> None:
    admin = await people.admin(Role.TENANT_ADMIN, tenant_id)
    other = await people.admin(Role.VIEWER, tenant_id)
    change = {"role": "recon", "is_active": False, "password": PASSWORD}
    changed = await admin.patch(f"/admins/{other.id}", change)
    assert (changed.json()["role"], changed.json()["is_active"]) == ("recon", False)
    assert_problem(await other.get("/auth/me"), 401, "UNAUTHORIZED")
    rows = await owner.execute(
        "SELECT actor_id, state_before, state_after FROM audit_events WHERE object_id = %s", (str(other.id),)
    )
    assert await rows.fetchall() == [
        (
            admin.id,
            {"email": other.email, "role": "viewer", "is_active": True},
            {"email": other.email, "role": "recon", "is_active": False, "password_changed": True},
        )
    ]


async def test_role_never_moves_an_admin_between_platform_and_tenant(people: People, tenant_id: UUID) -> None:
    admin, viewer = await people.admin(Role.OWNER), await people.admin(Role.VIEWER, tenant_id)
    assert_problem(await admin.patch(f"/admins/{viewer.id}", {"role": "owner"}), 422, "VALIDATION_ERROR")
    assert_problem(await admin.patch(f"/admins/{admin.id}", {"role": "viewer"}), 422, "VALIDATION_ERROR")


async def test_one_active_owner_always_remains(new_database: Any) -> None:
    database: Database = new_database()
    async with connect_owner(database) as owner, serving(database) as http:
        people = People(http, owner)
        owners = [await people.admin(Role.OWNER) for _ in range(4)]
        answers = await asyncio.gather(*(each.patch(f"/admins/{each.id}", {"is_active": False}) for each in owners))
        assert Counter(answer.status_code for answer in answers) == {200: 3, 409: 1}
        for answer in answers:
            if answer.status_code == 409:
                assert_problem(answer, 409, "LAST_OWNER")
        rows = await owner.execute("SELECT count(*) FROM admins WHERE role = 'owner' AND is_active")
        assert await rows.fetchone() == (1,)


async def test_owner_of_the_environment_is_made_once(new_database: Any) -> None:
    database: Database = new_database()
    given: dict[str, Any] = {
        "bootstrap_owner_email": "Boss@Example.com",
        "bootstrap_owner_password": SecretStr(PASSWORD),
    }
    async with connect_owner(database) as owner, serving(database, **given) as http, serving(database, **given):
        signed_in = (
            await People(http, owner).nobody().post("/auth/login", {"email": "boss@example.com", "password": PASSWORD})
        )
        assert signed_in.json()["admin"]["is_platform_owner"] is True
        changed: dict[str, Any] = {
            "bootstrap_owner_email": "boss@example.com",
            "bootstrap_owner_password": SecretStr("another one"),
        }
        async with serving(database, **changed) as later:
            again = (
                await People(later, owner)
                .nobody()
                .post("/auth/login", {"email": "boss@example.com", "password": "another one"})
            )
            assert_problem(again, 401, "INVALID_CREDENTIALS")
        rows = await owner.execute("SELECT actor_kind, actor_label, action FROM audit_events")
        assert await rows.fetchall() == [("system", "bootstrap", "admin.created")]


async def test_processes_that_start_together_make_one_owner(new_database: Any) -> None:
    database: Database = new_database()
    given: dict[str, Any] = {
        "bootstrap_owner_email": "boss@example.com",
        "bootstrap_owner_password": SecretStr(PASSWORD),
    }

    async def start() -> None:
        async with serving(database, **given):
            pass

    async with connect_owner(database) as owner:
        await asyncio.gather(*(start() for _ in range(4)))
        rows = await owner.execute("SELECT count(*), (SELECT count(*) FROM audit_events) FROM admins")
        assert await rows.fetchone() == (1, 1)
