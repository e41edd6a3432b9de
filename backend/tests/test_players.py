"""Players as admins see them: both balances, verification, the ledger, and the walls between tenants."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.app.domain.errors import FieldError
from backend.app.domain.identity import Role
from backend.app.domain.money import parse_json_balance
from backend.app.repositories import ledger_repo
from backend.app.repositories.database import Database as Pools
from backend.tests.api_client import WalletClient
from backend.tests.factories import Owner, Player, deposit, make_player, make_tenant, set_enforce, set_legacy
from backend.tests.fixtures import Caller, People, assert_problem, new_email

PASSWORD = "correct horse"
READERS = tuple(Role)


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


def player_body(**fields: Any) -> dict[str, Any]:
    return {"email": new_email(), "username": "someone", **fields}


async def made(caller: Caller, **fields: Any) -> dict[str, Any]:
    answer = await caller.post("/players", player_body(**fields))
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_player_without_balances_has_a_wallet_at_zero(people: People, tenant_id: UUID) -> None:
    player = await made(await people.admin(Role.TENANT_ADMIN, tenant_id), email="Mixed-" + new_email())
    assert player["email"] == player["email"].lower()
    wallet = player.pop("wallet")
    assert wallet.pop("opened_at") is not None
    assert wallet == {"balance_real_available": "0.00", "balance_real_pending": "0.00", "version": 0}
    assert {key: player[key] for key in ("tenant_id", "currency", "kyc_status", "is_active", "arbiter")} == {
        "tenant_id": str(tenant_id),
        "currency": "USD",
        "kyc_status": "pending",
        "is_active": True,
        "arbiter": "legacy",
    }


@pytest.mark.parametrize(
    ("balances", "currency", "available", "held"),
    [
        ({"balance_real_available": "12.50", "balance_real_held": "2.5"}, "USD", "12.50", "2.50"),
        ({"balance_real_available": 12.5}, "USD", "12.50", "0.00"),
        ({"balance_real_held": "7"}, "JPY", "0", "7"),
        ({"balance_real_available": "0.001"}, "KWD", "0.001", "0.000"),
        ({"balance_real_available": "0"}, "USD", "0.00", "0.00"),
    ],
)
async def test_player_with_balances_keeps_them_on_the_legacy_side(
    people: People, tenant_id: UUID, balances: dict[str, Any], currency: str, available: str, held: str
) -> None:
    player = await made(await people.admin(Role.TENANT_ADMIN, tenant_id), currency=currency, **balances)
    assert (player["balance_real_available"], player["balance_real_held"]) == (available, held)
    assert player["wallet"] is None


async def test_null_balances_are_left_out_balances(people: People, tenant_id: UUID) -> None:
    nothing = {"balance_real_available": None, "balance_real_held": None}
    assert (await made(await people.admin(Role.TENANT_ADMIN, tenant_id), **nothing))["wallet"] is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"balance_real_available": "-1"},
        {"balance_real_available": "0.001"},
        {"balance_real_available": 0.125},
        {"balance_real_available": "1e3"},
        {"balance_real_available": "9" * 19},
        {"balance_real_available": True},
        {"balance_real_available": {}},
        {"balance_real_held": "ten"},
        {"currency": "XXX"},
        {"kyc_status": "maybe"},
        {"username": "a\x00"},
        {"email": "@"},
        {"password": "short"},
    ],
)
async def test_player_that_cannot_be_is_refused(
    people: People, owner: Owner, tenant_id: UUID, fields: dict[str, Any]
) -> None:
    admin, body = await people.admin(Role.TENANT_ADMIN, tenant_id), player_body(**fields)
    answer = await admin.post("/players", body)
    assert_problem(answer, 422, "VALIDATION_ERROR")
    rows = await owner.execute("SELECT count(*) FROM players WHERE tenant_id = %s", (tenant_id,))
    assert await rows.fetchone() == (0,)


@pytest.mark.parametrize(("raw", "minor"), [(b"0", 0), (b'"0.00"', 0), (b"12.50", 1250), (b"1.25e1", 1250)])
def test_json_balance_is_read_by_its_digits(raw: bytes, minor: int) -> None:
    assert parse_json_balance(raw, currency="USD", field="balance") == minor


@pytest.mark.parametrize(
    "raw", [b"-1", b'" 1"', b"0.125", b"null", b"[]", b'"\xff"', b"1e99", b"0.1000000000000000055"]
)
def test_json_balance_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(FieldError):
        parse_json_balance(raw, currency="USD", field="balance")


async def test_owner_names_the_tenant_by_header_or_body(people: People, tenant_id: UUID) -> None:
    admin = await people.admin(Role.OWNER)
    assert_problem(await admin.post("/players", player_body()), 400, "TENANT_REQUIRED")
    assert_problem(await admin.post("/players", player_body(tenant_id=str(uuid4()))), 400, "INVALID_TENANT")
    assert (await made(admin, tenant_id=str(tenant_id)))["tenant_id"] == str(tenant_id)
    assert (await made(admin.about(tenant_id)))["tenant_id"] == str(tenant_id)
    elsewhere = player_body(tenant_id=str(uuid4()))
    assert_problem(await admin.about(tenant_id).post("/players", elsewhere), 404, "TENANT_NOT_FOUND")


async def test_address_belongs_to_one_player_of_a_tenant(people: People, tenant_id: UUID) -> None:
    admin, body = await people.admin(Role.TENANT_ADMIN, tenant_id), player_body()
    answers = await asyncio.gather(*(admin.post("/players", body) for _ in range(10)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 9}
    assert_problem(await admin.post("/players", {**body, "email": body["email"].upper()}), 409, "PLAYER_EXISTS")


async def test_roles_and_what_they_may_do(people: People, owner: Owner, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id)
    may_create = {Role.OWNER, Role.TENANT_ADMIN}
    may_verify = {Role.OWNER, Role.TENANT_ADMIN, Role.FINANCE}
    for role in Role:
        admin = await people.admin(role, None if role is Role.OWNER else tenant_id)
        for path in ("/players", f"/players/{player.id}", f"/players/{player.id}/ledger", "/audit/events"):
            assert (await admin.get(path)).status_code == 200, (role, path)
        created = await admin.post("/players", player_body(tenant_id=str(tenant_id)))
        assert created.status_code == (201 if role in may_create else 403), role
        verified = await admin.post(f"/players/{player.id}/kyc", {"status": "verified"})
        assert verified.status_code == (200 if role in may_verify else 403), role


async def test_players_of_another_tenant_do_not_exist(people: People, owner: Owner, tenant_id: UUID) -> None:
    stranger = await make_player(owner, await make_tenant(owner))
    for role in set(Role) - {Role.OWNER}:
        admin = await people.admin(role, tenant_id)
        for player_id in (stranger.id, uuid4(), "no-uuid", "%00", "%F0%9F%92%A9"):
            assert_problem(await admin.get(f"/players/{player_id}"), 404, "PLAYER_NOT_FOUND")
            assert_problem(await admin.get(f"/players/{player_id}/ledger"), 404, "PLAYER_NOT_FOUND")
        assert (await admin.get("/players", tenant_id=str(stranger.tenant_id))).json()["items"] == []
    admin = await people.admin(Role.FINANCE, tenant_id)
    refused = await admin.post(f"/players/{stranger.id}/kyc", {"status": "rejected"})
    assert_problem(refused, 404, "PLAYER_NOT_FOUND")
    rows = await owner.execute("SELECT kyc_status FROM players WHERE id = %s", (stranger.id,))
    assert await rows.fetchone() == ("verified",)


async def test_nobody_without_an_admin_token_sees_players(people: People, owner: Owner, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id)
    for caller in (people.nobody(), people.player(player)):
        assert_problem(await caller.get("/players"), 401, "UNAUTHORIZED")
        assert_problem(await caller.get(f"/players/{player.id}"), 401, "UNAUTHORIZED")
        assert_problem(await caller.post("/players", player_body()), 401, "UNAUTHORIZED")


async def test_both_balances_stand_side_by_side(people: People, owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=100_00)
    admin = await people.admin(Role.VIEWER, tenant_id)
    assert (await admin.get(f"/players/{player.id}")).json()["wallet"] is None
    async with pools.connection() as conn:
        await ledger_repo.append_event(conn, deposit(player, 5_00))
    await set_legacy(owner, player, available=90_00, held=1_00)
    await set_enforce(owner, tenant_id, True)
    shown = (await admin.get(f"/players/{player.id}")).json()
    assert (shown["balance_real_available"], shown["balance_real_held"], shown["arbiter"]) == (
        "90.00",
        "1.00",
        "ledger",
    )
    assert {key: shown["wallet"][key] for key in ("balance_real_available", "balance_real_pending", "version")} == {
        "balance_real_available": "105.00",
        "balance_real_pending": "0.00",
        "version": 2,
    }
    (listed,) = (await admin.get("/players")).json()["items"]
    assert listed == shown


# --- verification ----------------------------------------------------------------------------------------------------


async def test_verified_player_may_withdraw_and_the_audit_knows_why(
    people: People, owner: Owner, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id, available=100_00, kyc_status="pending")
    wallet = WalletClient(http=people.http, player=player)
    assert (await wallet.withdraw("10.00")).status_code == 403
    admin = await people.admin(Role.FINANCE, tenant_id)
    verified = await admin.post(f"/players/{player.id}/kyc", {"status": "verified", "reason": "passport seen"})
    assert (verified.status_code, verified.json()["kyc_status"]) == (200, "verified")
    assert (await wallet.withdraw("10.00")).status_code == 201
    await admin.post(f"/players/{player.id}/kyc", {"status": "rejected"})
    assert (await wallet.withdraw("10.00")).status_code == 403
    rows = await owner.execute(
        "SELECT action, actor_kind, actor_id, actor_label, reason, state_before, state_after, request_id "
        "FROM audit_events WHERE object_kind = 'player' AND object_id = %s ORDER BY id",
        (str(player.id),),
    )
    first, second = await rows.fetchall()
    assert first == (
        "player.kyc_changed",
        "admin",
        admin.id,
        admin.email,
        "passport seen",
        {"kyc_status": "pending"},
        {"kyc_status": "verified"},
        verified.headers["x-request-id"],
    )
    assert second[4:7] == (None, {"kyc_status": "verified"}, {"kyc_status": "rejected"})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"status": "maybe"},
        {"status": None},
        {"status": "verified", "reason": ""},
        {"status": "verified", "reason": "a\x00"},
        {"status": "verified", "reason": "x" * 1001},
        [],
        "verified",
    ],
)
async def test_verification_that_says_nothing_is_refused(
    people: People, owner: Owner, tenant_id: UUID, body: Any
) -> None:
    player = await make_player(owner, tenant_id)
    admin = await people.admin(Role.FINANCE, tenant_id)
    assert_problem(await admin.post(f"/players/{player.id}/kyc", body), 422, "VALIDATION_ERROR")


# --- lists -----------------------------------------------------------------------------------------------------------


async def test_list_goes_on_where_its_cursor_stands(people: People, tenant_id: UUID) -> None:
    admin = await people.admin(Role.TENANT_ADMIN, tenant_id)
    ids = [(await made(admin, balance_real_available="1"))["id"] for _ in range(5)]
    first = (await admin.get("/players", limit=2)).json()
    await made(admin, balance_real_available="1")
    second = (await admin.get("/players", limit=2, cursor=first["meta"]["next_cursor"])).json()
    third = (await admin.get("/players", limit=2, cursor=second["meta"]["next_cursor"])).json()
    pages = [each["id"] for page in (first, second, third) for each in page["items"]]
    assert pages == ids[::-1]
    assert (first["meta"]["total"], third["meta"]["total"], third["meta"]["next_cursor"]) == (5, 6, None)
    by_offset = (await admin.get("/players", limit=2, offset=1)).json()
    assert [each["id"] for each in by_offset["items"]] == ids[:-3:-1]


async def test_list_is_narrowed_by_its_filters(people: People, owner: Owner, tenant_id: UUID) -> None:
    admin = await people.admin(Role.OWNER)
    pending = await make_player(owner, tenant_id, kyc_status="pending")
    verified = await make_player(owner, tenant_id)
    elsewhere = await make_player(owner, await make_tenant(owner))

    async def listed(**query: Any) -> set[str]:
        answer = await admin.get("/players", **query)
        assert answer.status_code == 200, answer.text
        return {each["id"] for each in answer.json()["items"]}

    assert await listed(tenant_id=str(tenant_id)) == {str(pending.id), str(verified.id)}
    assert await listed(tenant_id=str(tenant_id), kyc_status="pending") == {str(pending.id)}
    assert await listed(email=f"{elsewhere.id.hex}@EXAMPLE.com") == {str(elsewhere.id)}
    for query in ({"email": "\x00"}, {"kyc_status": "maybe"}, {"cursor": "x"}, {"tenant_id": "x"}):
        assert_problem(await admin.get("/players", **query), 422, "VALIDATION_ERROR")


async def test_ledger_is_told_in_order_by_cursor_and_by_offset(
    people: People, owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id, available=10_00)
    async with pools.connection() as conn:
        for amount in (1_00, 2_00, 3_00):
            await ledger_repo.append_event(conn, deposit(player, amount))
    admin = await people.admin(Role.RECON, tenant_id)
    path = f"/players/{player.id}/ledger"
    everything = (await admin.get(path)).json()
    told = [(row["wallet_version"], row["type"], row["amount"], row["available_after"]) for row in everything["items"]]
    assert told == [
        (1, "opening_balance", "10.00", "10.00"),
        (2, "deposit_captured", "1.00", "11.00"),
        (3, "deposit_captured", "2.00", "13.00"),
        (4, "deposit_captured", "3.00", "16.00"),
    ]
    assert everything["meta"] == {"total": 4, "limit": 50, "offset": 0, "next_cursor": None}
    first = (await admin.get(path, limit=3)).json()
    assert first["meta"]["next_cursor"] == "3"
    rest = (await admin.get(path, limit=3, cursor=first["meta"]["next_cursor"])).json()
    assert [row["wallet_version"] for row in rest["items"]] == [4]
    assert [row["wallet_version"] for row in (await admin.get(path, limit=2, offset=1)).json()["items"]] == [2, 3]
    for query in ({"cursor": -1}, {"cursor": 2**63}, {"cursor": "x"}, {"limit": 0}, {"offset": 10**30}):
        assert_problem(await admin.get(path, **query), 422, "VALIDATION_ERROR")


async def test_ledger_of_an_unopened_wallet_is_empty(people: People, owner: Owner, tenant_id: UUID) -> None:
    player: Player = await make_player(owner, tenant_id, available=10_00)
    answer = await (await people.admin(Role.VIEWER, tenant_id)).get(f"/players/{player.id}/ledger")
    assert answer.json() == {"items": [], "meta": {"total": 0, "limit": 50, "offset": 0, "next_cursor": None}}
