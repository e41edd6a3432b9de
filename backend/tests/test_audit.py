"""The audit: written with the deed or not at all, never changed, read by tenant."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from backend.app.api.lists import parse_from, parse_to
from backend.app.domain.audit import Actor, ActorKind, AuditEntry
from backend.app.domain.errors import FieldError
from backend.app.domain.identity import Role
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Database as Pools
from backend.tests.factories import Owner, make_player, make_tenant
from backend.tests.fixtures import People, assert_problem, new_email


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


async def write(pools: Pools, tenant_id: UUID | None, action: str = "thing.done", **fields: Any) -> None:
    actor = Actor(kind=ActorKind.OPERATOR, actor_id=None, label=fields.pop("label", "somebody"))
    async with pools.transaction() as conn:
        entry = AuditEntry(
            actor=actor,
            action=action,
            object_kind=fields.pop("object_kind", "thing"),
            object_id=fields.pop("object_id", "1"),
            **fields,
        )
        await audit_repo.insert(conn, tenant_id, entry)


async def test_deed_that_is_rolled_back_leaves_no_audit(people: People, owner: Owner, tenant_id: UUID) -> None:
    """A trigger refuses the audit row of one deed: the deed itself must then not have happened either."""
    admin, player = await people.admin(Role.FINANCE, tenant_id), await make_player(owner, tenant_id)
    await owner.execute(
        "CREATE FUNCTION refuse_audit() RETURNS TRIGGER LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no audit today' USING ERRCODE = 'check_violation'; END $$"
    )
    await owner.execute(
        "CREATE TRIGGER refuse_audit BEFORE INSERT ON audit_events FOR EACH ROW "
        f"WHEN (NEW.object_id = '{player.id}') EXECUTE FUNCTION refuse_audit()"
    )
    try:
        answer = await admin.post(f"/players/{player.id}/kyc", {"status": "rejected"})
    finally:
        await owner.execute("DROP TRIGGER refuse_audit ON audit_events")
        await owner.execute("DROP FUNCTION refuse_audit")
    assert_problem(answer, 500, "INTERNAL_ERROR")
    rows = await owner.execute("SELECT kyc_status FROM players WHERE id = %s", (player.id,))
    assert await rows.fetchone() == ("verified",)
    rows = await owner.execute("SELECT count(*) FROM audit_events WHERE object_id = %s", (str(player.id),))
    assert await rows.fetchone() == (0,)


async def test_audit_row_goes_with_a_transaction_that_fails(pools: Pools, owner: Owner, tenant_id: UUID) -> None:
    entry = AuditEntry(
        actor=Actor(kind=ActorKind.SYSTEM, actor_id=None, label="test"),
        action="thing.done",
        object_kind="thing",
        object_id="1",
    )

    async def half_a_deed() -> None:
        async with pools.transaction() as conn:
            await audit_repo.insert(conn, tenant_id, entry)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await half_a_deed()
    rows = await owner.execute("SELECT count(*) FROM audit_events WHERE tenant_id = %s", (tenant_id,))
    assert await rows.fetchone() == (0,)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_events SET reason = 'x'", "DELETE FROM audit_events", "TRUNCATE audit_events"],
)
async def test_audit_is_never_changed(pools: Pools, owner: Owner, tenant_id: UUID, statement: Any) -> None:
    await write(pools, tenant_id)
    async with pools.connection() as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await conn.execute(statement)
    with pytest.raises(psycopg.errors.RestrictViolation):
        await owner.execute(statement)


async def test_events_are_listed_newest_first_and_by_cursor(people: People, pools: Pools, tenant_id: UUID) -> None:
    for number in range(5):
        await write(pools, tenant_id, object_id=str(number), before={"n": number}, after={"n": number + 1})
    admin = await people.admin(Role.VIEWER, tenant_id)
    first = (await admin.get("/audit/events", limit=3)).json()
    assert [each["object_id"] for each in first["items"]] == ["4", "3", "2"]
    assert first["meta"]["total"] == 5
    await write(pools, tenant_id, object_id="later")
    rest = (await admin.get("/audit/events", limit=3, cursor=first["meta"]["next_cursor"])).json()
    assert [each["object_id"] for each in rest["items"]] == ["1", "0"]
    assert rest["meta"]["next_cursor"] is None
    event = rest["items"][-1]
    assert (event["before"], event["after"], event["actor_kind"], event["actor_label"]) == (
        {"n": 0},
        {"n": 1},
        "operator",
        "somebody",
    )


async def test_events_are_narrowed_by_every_filter(people: People, pools: Pools, tenant_id: UUID) -> None:
    await write(pools, tenant_id, "thing.made", object_id="a")
    await write(pools, tenant_id, "thing.broken", object_id="b", label="the cat")
    await write(pools, tenant_id, "box.made", object_kind="box", object_id="a")
    admin = await people.admin(Role.VIEWER, tenant_id)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()

    async def listed(**query: Any) -> list[str]:
        answer = await admin.get("/audit/events", **query)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert document["meta"]["total"] == len(document["items"])
        return [each["action"] for each in document["items"]]

    everything = ["box.made", "thing.broken", "thing.made"]
    assert await listed(action="thing.made") == ["thing.made"]
    assert await listed(actor="the cat") == ["thing.broken"]
    assert await listed(object_kind="box") == ["box.made"]
    assert await listed(object_id="a") == ["box.made", "thing.made"]
    assert await listed(object_id="a", object_kind="thing") == ["thing.made"]
    assert await listed(tenant_id=str(tenant_id)) == everything
    assert await listed(tenant_id=str(uuid4())) == []
    assert await listed(date_from="2020-01-01", date_to=tomorrow) == everything
    assert await listed(date_from=tomorrow) == []
    assert await listed(date_to="2020-01-01T00:00:00Z") == []
    assert await listed(date_from="0001-01-01T00:00:00+14:00", date_to="9999-12-31T23:59:59-14:00") == everything


async def test_actor_is_found_by_id(people: People, owner: Owner, tenant_id: UUID) -> None:
    admin, player = await people.admin(Role.FINANCE, tenant_id), await make_player(owner, tenant_id)
    await admin.post(f"/players/{player.id}/kyc", {"status": "rejected"})
    for actor in (str(admin.id), admin.email):
        (event,) = (await admin.get("/audit/events", actor=actor)).json()["items"]
        assert (event["actor_id"], event["actor_label"]) == (str(admin.id), admin.email)


@pytest.mark.parametrize(
    "query",
    [
        {"action": "\x00"},
        {"actor": ""},
        {"object_id": "x" * 255},
        {"date_from": "yesterday"},
        {"date_from": "2026-02-30"},
        {"date_to": "9999-12-31"},
        {"date_to": "2026-07-01T25:00:00Z"},
        {"cursor": "x"},
        {"tenant_id": "x"},
    ],
)
async def test_filter_that_cannot_be_is_refused(people: People, query: dict[str, Any]) -> None:
    assert_problem(await (await people.admin(Role.OWNER)).get("/audit/events", **query), 422, "VALIDATION_ERROR")


async def test_tenants_see_their_own_deeds_and_owners_all(
    people: People, owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    other_id, mark = await make_tenant(owner), new_email()
    for each in (tenant_id, other_id, None):
        await write(pools, each, object_id=mark)

    async def seen(role: Role, *, about: UUID | None = None) -> list[str | None]:
        admin = await people.admin(role, None if role is Role.OWNER else tenant_id)
        if about is not None:
            admin = admin.about(about)
        items = (await admin.get("/audit/events", object_id=mark)).json()["items"]
        return [each["tenant_id"] for each in items]

    assert await seen(Role.TENANT_ADMIN) == [str(tenant_id)]
    assert await seen(Role.OWNER) == [None, str(other_id), str(tenant_id)]
    assert await seen(Role.OWNER, about=other_id) == [str(other_id)]


def test_day_means_all_of_it() -> None:
    assert parse_from("2026-07-01", field="date_from") == datetime(2026, 7, 1, tzinfo=UTC)
    assert parse_to("2026-07-01", field="date_to") == datetime(2026, 7, 2, tzinfo=UTC)
    assert parse_to("2026-07-01T10:00:00", field="date_to") == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert parse_from(None, field="date_from") is None
    with pytest.raises(FieldError, match="date_to"):
        parse_to("9999-12-31", field="date_to")
