"""Signing in, tokens, throttling, registration and X-Tenant-ID."""

import asyncio
import base64
import hmac
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import psycopg
import pytest
from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST

from backend.app.api.tokens import ADMIN_LIFETIME, PLAYER_LIFETIME, TokenKind, Tokens
from backend.app.domain.identity import PlayerIdentity, Role
from backend.app.domain.people.sign_in import (
    ACCOUNT_FAILURES_MAX,
    ADDRESS_FAILURES_MAX,
    WINDOW,
    Realm,
    SignInCommand,
    network_of,
)
from backend.app.repositories.database import Database as Pools
from backend.app.services.people.passwords import Passwords
from backend.app.services.people.sign_in import SignIn
from backend.tests.api_client import JWT_SECRET
from backend.tests.factories import Owner, make_player, make_tenant, until_somebody_waits_for
from backend.tests.fixtures import People, assert_problem, new_email

PASSWORD = "correct horse"
# Hashes that are fast to make and to compare, for tests that are not about how they are made.
CHEAP = PasswordHasher.from_parameters(CHEAPEST)


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


async def make_admin(owner: Owner, role: Role = Role.OWNER, tenant_id: UUID | None = None, **columns: Any) -> str:
    """An admin with PASSWORD; the address."""
    email = new_email()
    await owner.execute(
        "INSERT INTO admins (tenant_id, email, password_hash, role, is_active) VALUES (%s, %s, %s, %s, %s)",
        (tenant_id, email, CHEAP.hash(PASSWORD), role.value, columns.get("is_active", True)),
    )
    return email


async def sign_in(people: People, email: str, password: str = PASSWORD) -> Any:
    return await people.nobody().post("/auth/login", {"email": email, "password": password})


async def test_admin_signs_in_and_sees_themselves(people: People, owner: Owner, tenant_id: UUID) -> None:
    email = await make_admin(owner, Role.FINANCE, tenant_id)
    answer = await sign_in(people, email.upper())
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["token_type"] == "bearer"
    assert document["admin"] == {
        "id": document["admin"]["id"],
        "email": email,
        "role": "finance",
        "tenant_id": str(tenant_id),
        "is_platform_owner": False,
    }
    me = await people.bearer(document["access_token"]).get("/auth/me")
    assert me.json() == document["admin"]


async def test_wrong_password_unknown_address_and_disabled_account_look_alike(people: People, owner: Owner) -> None:
    answers = [
        await sign_in(people, await make_admin(owner), "wrong password"),
        await sign_in(people, new_email()),
        await sign_in(people, "no address at all"),
        await sign_in(people, await make_admin(owner, is_active=False)),
    ]
    shown = []
    for answer in answers:
        document = assert_problem(answer, 401, "INVALID_CREDENTIALS")
        del document["request_id"]
        shown.append(document)
    assert all(document == shown[0] for document in shown)


async def test_outdated_hash_is_replaced_when_its_password_is_known(people: People, owner: Owner) -> None:
    email = await make_admin(owner)
    assert (await sign_in(people, email)).status_code == 200
    row = await (await owner.execute("SELECT password_hash FROM admins WHERE email = %s", (email,))).fetchone()
    assert row is not None
    assert not PasswordHasher().check_needs_rehash(row[0])
    assert (await sign_in(people, email)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "a@example.com"},
        {"email": "a\x00@example.com", "password": PASSWORD},
        {"email": "a@example.com", "password": "x" * 129},
        {"email": "a" * 255, "password": PASSWORD},
        {"email": 5, "password": PASSWORD},
        [],
    ],
)
async def test_malformed_sign_in_names_its_fields(people: People, body: Any) -> None:
    assert assert_problem(await people.nobody().post("/auth/login", body), 422, "VALIDATION_ERROR")["errors"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"email": "\\ud800", "password": "x"}', b"\xff\xfe", b"[" * 50_000])
async def test_unreadable_sign_in_is_a_bad_request(people: People, body: bytes) -> None:
    answer = await people.http.post("/api/v1/auth/login", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text


# --- throttling ------------------------------------------------------------------------------------------------------


async def test_right_password_is_refused_while_the_account_is_blocked(people: People, owner: Owner) -> None:
    email = await make_admin(owner)
    for _ in range(ACCOUNT_FAILURES_MAX):
        assert_problem(await sign_in(people, email, "wrong password"), 401, "INVALID_CREDENTIALS")
    blocked = await sign_in(people, email)
    document = assert_problem(blocked, 429, "RATE_LIMITED")
    assert 0 < int(blocked.headers["retry-after"]) <= WINDOW.total_seconds() + 1
    assert document["retry_after_seconds"] == int(blocked.headers["retry-after"])
    another = await make_admin(owner)
    assert (await sign_in(people, another)).status_code == 200


async def test_success_forgets_the_failures_of_the_account(people: People, owner: Owner) -> None:
    email = await make_admin(owner)
    for _ in range(ACCOUNT_FAILURES_MAX - 1):
        assert_problem(await sign_in(people, email, "wrong password"), 401, "INVALID_CREDENTIALS")
    assert await failures_of(owner, email) == [ACCOUNT_FAILURES_MAX - 1]
    assert (await sign_in(people, email)).status_code == 200
    assert await failures_of(owner, email) == []


async def failures_of(owner: Owner, email: str) -> list[int]:
    rows = await owner.execute(
        "SELECT failures FROM sign_in_failures WHERE subject = %s", (command_of(email).account.key,)
    )
    return [failures for (failures,) in await rows.fetchall()]


async def test_parallel_guesses_get_no_more_answers_than_serial_ones(people: People, owner: Owner) -> None:
    email = await make_admin(owner)
    answers = await asyncio.gather(*(sign_in(people, email, "wrong password") for _ in range(40)))
    assert Counter(answer.status_code for answer in answers) == {401: ACCOUNT_FAILURES_MAX, 429: 30}


async def test_signing_in_in_parallel_is_no_guessing(people: People, owner: Owner) -> None:
    email = await make_admin(owner)
    answers = await asyncio.gather(*(sign_in(people, email) for _ in range(ACCOUNT_FAILURES_MAX + 2)))
    assert {answer.status_code for answer in answers} == {200}


async def test_processes_count_together(pools: Pools, owner: Owner) -> None:
    email = await make_admin(owner)
    services = [SignIn(pools, Passwords()) for _ in range(3)]
    outcomes = await asyncio.gather(
        *(outcome_of(services[number % 3], command_of(email, "wrong password")) for number in range(30))
    )
    assert Counter(outcomes) == {"INVALID_CREDENTIALS": ACCOUNT_FAILURES_MAX, "RATE_LIMITED": 20}


async def test_block_ends_with_its_window_and_old_windows_are_swept(pools: Pools, owner: Owner) -> None:
    email, service, now = await make_admin(owner), SignIn(pools, Passwords()), datetime.now(UTC)
    for _ in range(ACCOUNT_FAILURES_MAX + 1):
        await outcome_of(service, command_of(email, "wrong password", now=now))
    assert await outcome_of(service, command_of(email, now=now + WINDOW - timedelta(seconds=1))) == "RATE_LIMITED"
    assert await outcome_of(service, command_of(email, now=now + WINDOW)) == "signed in"
    await outcome_of(service, command_of(new_email(), "wrong password", now=now))
    assert await service.sweep(now + WINDOW) > 0
    rows = await owner.execute(
        "SELECT count(*) FROM sign_in_failures WHERE window_started_at <= %s AND subject LIKE 'account:%%'", (now,)
    )
    row = await rows.fetchone()
    assert row == (0,)


async def test_address_with_far_too_many_failures_is_blocked_for_every_account(pools: Pools, owner: Owner) -> None:
    email, address, now = await make_admin(owner), "2001:db8:1:2::3", datetime.now(UTC)
    await owner.execute(
        "INSERT INTO sign_in_failures (subject, failures, window_started_at) VALUES (%s, %s, %s)",
        (f"address:{network_of(address)}", ADDRESS_FAILURES_MAX, now),
    )
    service = SignIn(pools, Passwords())
    neighbour = "2001:db8:1:2:ffff::1"
    assert await outcome_of(service, command_of(email, client_address=neighbour, now=now)) == "RATE_LIMITED"
    assert await outcome_of(service, command_of(email, client_address="2001:db8:1:3::3", now=now)) == "signed in"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_failures_count_against_what_one_subscriber_has(address: str, network: str) -> None:
    assert network_of(address) == network


def command_of(email: str, password: str = PASSWORD, **fields: Any) -> SignInCommand:
    return SignInCommand(
        realm=Realm.ADMIN,
        tenant_id=None,
        email=email,
        password=password,
        client_address=fields.get("client_address"),
        now=fields.get("now", datetime.now(UTC)),
    )


async def outcome_of(service: SignIn, command: SignInCommand) -> str:
    try:
        await service.sign_in(command)
    except Exception as error:
        return str(getattr(error, "error_code", error))
    return "signed in"


# --- players ---------------------------------------------------------------------------------------------------------


def registration(tenant_id: UUID, **fields: Any) -> dict[str, Any]:
    return {
        "tenant_id": str(tenant_id),
        "email": new_email(),
        "username": "Ayşe",
        "password": PASSWORD,
        **fields,
    }


async def test_registered_player_has_a_wallet_at_zero_and_signs_in(
    people: People, owner: Owner, tenant_id: UUID
) -> None:
    body = registration(tenant_id)
    registered = await people.nobody().post("/auth/player/register", body)
    assert registered.status_code == 201, registered.text
    player_id = registered.json()["player_id"]
    row = await (
        await owner.execute(
            "SELECT balance_real_available, balance_real_pending, opened_at IS NOT NULL FROM wallet_balances "
            "WHERE player_id = %s",
            (player_id,),
        )
    ).fetchone()
    assert row == (0, 0, True)
    signed_in = await people.nobody().post(
        "/auth/player/login", {key: body[key] for key in ("tenant_id", "email", "password")}
    )
    assert signed_in.status_code == 200, signed_in.text
    assert signed_in.json()["player"] == {"id": player_id, "username": "Ayşe", "tenant_id": str(tenant_id)}
    balance = await people.bearer(signed_in.json()["access_token"]).get("/player/wallet/balance")
    assert (balance.status_code, balance.json()["currency"]) == (200, "USD")


async def test_one_of_many_registrations_of_an_address_wins(people: People, owner: Owner, tenant_id: UUID) -> None:
    email = new_email("Çağ")
    bodies = [registration(tenant_id, email=email.upper() if number % 2 else email.lower()) for number in range(20)]
    answers = await asyncio.gather(*(people.nobody().post("/auth/player/register", body) for body in bodies))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 19}
    for answer in answers:
        if answer.status_code == 409:
            assert_problem(answer, 409, "PLAYER_EXISTS")
    rows = await owner.execute("SELECT count(*) FROM audit_events WHERE tenant_id = %s", (tenant_id,))
    assert await rows.fetchone() == (1,)


async def test_address_may_register_with_two_tenants(people: People, owner: Owner, tenant_id: UUID) -> None:
    other_id, email = await make_tenant(owner), new_email()
    for each in (tenant_id, other_id):
        answer = await people.nobody().post("/auth/player/register", registration(each, email=email))
        assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("fields", "status", "error_code"),
    [
        ({"tenant_id": str(uuid4())}, 400, "INVALID_TENANT"),
        ({"tenant_id": "no uuid"}, 422, "VALIDATION_ERROR"),
        ({"password": "seven77"}, 422, "VALIDATION_ERROR"),
        ({"password": "x" * 129}, 422, "VALIDATION_ERROR"),
        ({"email": "no address"}, 422, "VALIDATION_ERROR"),
        ({"email": "two@at@example.com"}, 422, "VALIDATION_ERROR"),
        ({"email": "nul\x00@example.com"}, 422, "VALIDATION_ERROR"),
        ({"email": "x" * 250 + "@example.com"}, 422, "VALIDATION_ERROR"),
        ({"username": ""}, 422, "VALIDATION_ERROR"),
        ({"username": "x" * 65}, 422, "VALIDATION_ERROR"),
        ({"username": "nul\x00"}, 422, "VALIDATION_ERROR"),
        ({"currency": "XXX"}, 422, "VALIDATION_ERROR"),
        ({"currency": "usd"}, 422, "VALIDATION_ERROR"),
    ],
)
async def test_registration_that_cannot_be_is_refused(
    people: People, tenant_id: UUID, fields: dict[str, Any], status: int, error_code: str
) -> None:
    answer = await people.nobody().post("/auth/player/register", {**registration(tenant_id), **fields})
    assert_problem(answer, status, error_code)


async def test_player_signs_in_to_their_own_tenant_only(people: People, owner: Owner, tenant_id: UUID) -> None:
    body = registration(tenant_id)
    await people.nobody().post("/auth/player/register", body)
    for elsewhere in (await make_tenant(owner), uuid4()):
        answer = await people.nobody().post(
            "/auth/player/login", {"tenant_id": str(elsewhere), "email": body["email"], "password": PASSWORD}
        )
        assert_problem(answer, 401, "INVALID_CREDENTIALS")
    # A player is no admin, whatever the password.
    assert_problem(await sign_in(people, body["email"]), 401, "INVALID_CREDENTIALS")


async def test_player_without_a_password_cannot_sign_in(people: People, owner: Owner, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id)
    answer = await people.nobody().post(
        "/auth/player/login",
        {"tenant_id": str(tenant_id), "email": f"{player.id.hex}@example.com", "password": PASSWORD},
    )
    assert_problem(answer, 401, "INVALID_CREDENTIALS")


# --- tokens ----------------------------------------------------------------------------------------------------------


def unsigned(claims: dict[str, Any]) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join((*encoded, ""))


def resigned(token: str, payload: bytes | None) -> str:
    """The token with another payload, or with one that is no Base64, and a signature that is right for it."""
    encoded = base64.urlsafe_b64encode(payload).rstrip(b"=") if payload is not None else b"A"
    signed = token.partition(".")[0].encode() + b"." + encoded
    signature = hmac.digest(JWT_SECRET.encode(), signed, "sha256")
    return b".".join((signed, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


def claims_of(admin_id: UUID, **changes: Any) -> dict[str, Any]:
    now = int(datetime.now(UTC).timestamp())
    return {"iss": "hakem", "kind": "admin", "sub": str(admin_id), "iat": now, "exp": now + 600, **changes}


async def test_only_a_good_token_of_an_admin_passes(people: People, owner: Owner, tenant_id: UUID) -> None:
    admin = await people.admin(Role.OWNER)
    player = await make_player(owner, tenant_id)
    assert admin.id is not None
    good = claims_of(admin.id)
    assert (await people.bearer(jwt.encode(good, JWT_SECRET, "HS256")).get("/auth/me")).status_code == 200
    expired = Tokens(JWT_SECRET).issue_admin(admin.id, now=datetime.now(UTC) - ADMIN_LIFETIME - timedelta(minutes=1))
    refused = {
        "expired": expired,
        "forged": jwt.encode(good, "another secret that is long enough for this", "HS256"),
        "unsigned": unsigned(good),
        "another algorithm": jwt.encode(good, JWT_SECRET, "HS512"),
        "another issuer": jwt.encode(claims_of(admin.id, iss="somebody"), JWT_SECRET, "HS256"),
        "without an end": jwt.encode({k: v for k, v in good.items() if k != "exp"}, JWT_SECRET, "HS256"),
        "an unknown kind": jwt.encode(claims_of(admin.id, kind="robot"), JWT_SECRET, "HS256"),
        "no uuid": jwt.encode(claims_of(admin.id, sub="1"), JWT_SECRET, "HS256"),
        "for somebody else": jwt.encode(claims_of(admin.id, aud="another service"), JWT_SECRET, "HS256"),
        "not yet": jwt.encode(claims_of(admin.id, iat=good["iat"] + 60), JWT_SECRET, "HS256"),
        "an end that no calendar has": jwt.encode(claims_of(admin.id, exp=10**18), JWT_SECRET, "HS256"),
        "a claim without its quotes": resigned(jwt.encode(good, JWT_SECRET, "HS256"), b'{"iss":hakem}'),
        "no Base64": resigned(jwt.encode(good, JWT_SECRET, "HS256"), None),
        "a signature with more behind it": jwt.encode(good, JWT_SECRET, "HS256") + "A",
        "nobody": jwt.encode(claims_of(uuid4()), JWT_SECRET, "HS256"),
        "a player's": Tokens(JWT_SECRET).issue_player(
            PlayerIdentity(tenant_id=tenant_id, player_id=player.id, currency="USD"), now=datetime.now(UTC)
        ),
        "garbage": "garbage",
        "too long": "x" * 5000,
    }
    for what, token in refused.items():
        answer = await people.bearer(token).get("/auth/me")
        assert answer.status_code == 401, what
        assert answer.headers["www-authenticate"] == "Bearer", what
        assert_problem(answer, 401, "UNAUTHORIZED")
    for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}):
        assert_problem(await people.nobody(**headers).get("/auth/me"), 401, "UNAUTHORIZED")
    binary = await people.http.get("/api/v1/auth/me", headers=[(b"authorization", b"Bearer \xff.\xfe.\x80")])
    assert_problem(binary, 401, "UNAUTHORIZED")


def test_tokens_are_what_others_understand() -> None:
    identity = PlayerIdentity(tenant_id=uuid4(), player_id=uuid4(), currency="USD")
    now = datetime.now(UTC).replace(microsecond=0)
    token = Tokens(JWT_SECRET).issue_player(identity, now=now)
    claims = Tokens(JWT_SECRET).read(token, kind=TokenKind.PLAYER, now=now)
    assert (claims.subject, claims.tenant_id, claims.currency) == (identity.player_id, identity.tenant_id, "USD")
    theirs = jwt.decode(token, JWT_SECRET, algorithms=["HS256"], issuer="hakem")
    assert theirs["sub"] == str(identity.player_id)
    assert theirs["exp"] == claims.expires_at.timestamp() == (now + PLAYER_LIFETIME).timestamp()


async def test_admin_token_is_not_good_for_a_wallet(people: People) -> None:
    assert_problem(await (await people.admin(Role.OWNER)).get("/player/wallet/balance"), 401, "UNAUTHORIZED")


async def test_disabling_demoting_and_promoting_take_effect_at_once(
    people: People, owner: Owner, tenant_id: UUID
) -> None:
    admin = await people.admin(Role.TENANT_ADMIN, tenant_id)
    assert (await admin.get("/admins")).status_code == 200
    await owner.execute("UPDATE admins SET role = 'viewer' WHERE id = %s", (admin.id,))
    assert_problem(await admin.get("/admins"), 403, "FORBIDDEN")
    assert (await admin.get("/auth/me")).json()["role"] == "viewer"
    await owner.execute("UPDATE admins SET is_active = FALSE WHERE id = %s", (admin.id,))
    assert_problem(await admin.get("/auth/me"), 401, "UNAUTHORIZED")


async def test_another_password_ends_tokens(people: People, owner: Owner, tenant_id: UUID) -> None:
    chief = await people.admin(Role.TENANT_ADMIN, tenant_id)
    admin = await people.admin(Role.FINANCE, tenant_id)
    assert (await admin.get("/auth/me")).status_code == 200
    changed = await chief.patch(f"/admins/{admin.id}", {"password": PASSWORD})
    assert changed.status_code == 200, changed.text
    assert_problem(await admin.get("/auth/me"), 401, "UNAUTHORIZED")
    token = (await sign_in(people, admin.email)).json()["access_token"]
    assert (await people.bearer(token).get("/auth/me")).status_code == 200


async def test_password_that_changes_while_it_is_looked_at_gives_no_token(people: People, owner: Owner) -> None:
    email = await make_admin(owner)
    async with await psycopg.AsyncConnection.connect(owner.info.dsn, password=owner.info.password) as holder:
        await holder.execute("SELECT FROM admins WHERE email = %s FOR UPDATE", (email,))
        # The old password is found right, and the sign-in waits to write that down.
        under_way = asyncio.create_task(sign_in(people, email))
        await until_somebody_waits_for(owner, holder)
        await holder.execute("UPDATE admins SET sessions_valid_from = clock_timestamp() WHERE email = %s", (email,))
        await holder.commit()
        assert_problem(await under_way, 401, "UNAUTHORIZED")


async def test_disabled_player_is_out_at_once(people: People, owner: Owner, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id, available=100_00)
    caller = people.player(player)
    assert (await caller.get("/player/wallet/transactions")).status_code == 200
    await owner.execute("UPDATE players SET is_active = FALSE WHERE id = %s", (player.id,))
    for path in ("balance", "transactions"):
        assert_problem(await caller.get(f"/player/wallet/{path}"), 401, "UNAUTHORIZED")
    money: dict[str, Any] = {"amount": "1.00", "method": "test"}
    for path, body in (("deposit", money), ("withdraw", {**money, "address": "TR00"})):
        answer = await caller.post(f"/player/wallet/{path}", body, **{"Idempotency-Key": new_email()})
        assert_problem(answer, 401, "UNAUTHORIZED")


# --- X-Tenant-ID -----------------------------------------------------------------------------------------------------


async def test_owner_chooses_a_tenant_by_header(people: People, owner: Owner, tenant_id: UUID) -> None:
    here = await make_player(owner, tenant_id)
    elsewhere = await make_player(owner, await make_tenant(owner))
    platform_owner = (await people.admin(Role.OWNER)).about(tenant_id)
    assert (await platform_owner.get("/auth/me")).json()["tenant_id"] is None
    listed = (await platform_owner.get("/players")).json()["items"]
    assert [each["id"] for each in listed] == [str(here.id)]
    assert_problem(await platform_owner.get(f"/players/{elsewhere.id}"), 404, "PLAYER_NOT_FOUND")


@pytest.mark.parametrize("header", ["", "no uuid", "00000000-0000-0000-0000-000000000000", "x" * 300])
async def test_header_that_names_no_tenant_is_refused(people: People, header: str) -> None:
    platform_owner = (await people.admin(Role.OWNER)).about(header)
    for path in ("/auth/me", "/tenants", "/admins", "/players", "/audit/events"):
        assert_problem(await platform_owner.get(path), 400, "INVALID_TENANT_HEADER")


async def test_nobody_but_an_owner_sends_the_header(people: People, tenant_id: UUID) -> None:
    for role in set(Role) - {Role.OWNER}:
        admin = await people.admin(role, tenant_id)
        for header in (tenant_id, uuid4(), "no uuid"):
            assert_problem(await admin.about(header).get("/auth/me"), 403, "TENANT_HEADER_FORBIDDEN")
