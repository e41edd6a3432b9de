"""Admins in the console: who there is, how they are signed in, and what may be done to whose account by whom."""

import secrets
from uuid import UUID, uuid4

import httpx
import pytest

from backend.app.domain.identity import Role
from backend.app.domain.people.console_session import hash_token
from backend.tests import api_client, console_browser
from backend.tests.conftest import Database
from backend.tests.console_browser import Browser, words
from backend.tests.factories import Owner, connect_owner, make_tenant
from backend.tests.fixtures import People, assert_problem, new_email

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def forget_cookies(http: httpx.AsyncClient) -> None:
    http.cookies.clear()


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


async def row_of(owner: Owner, admin_id: object) -> tuple[object, ...]:
    rows = await owner.execute("SELECT role, is_active, tenant_id FROM admins WHERE id = %s", (admin_id,))
    row = await rows.fetchone()
    assert row is not None
    return tuple(row)


async def seen_at(owner: Owner, admin_id: object) -> str:
    """What a form about the account carries."""
    rows = await owner.execute("SELECT updated_at FROM admins WHERE id = %s", (admin_id,))
    row = await rows.fetchone()
    assert row is not None
    return str(row[0].isoformat())


async def last_deed(owner: Owner, admin_id: object) -> tuple[object, ...]:
    rows = await owner.execute(
        "SELECT action, actor_label, reason, state_before, state_after FROM audit_events "
        "WHERE object_kind = 'admin' AND object_id = %s ORDER BY id DESC LIMIT 1",
        (str(admin_id),),
    )
    row = await rows.fetchone()
    assert row is not None
    return tuple(row)


async def test_list_shows_the_people_of_ones_own_tenant(http: httpx.AsyncClient, owner: Owner, tenant_id: UUID) -> None:
    admin = await console_browser.sign_in(http, owner, Role.TENANT_ADMIN, tenant_id)
    colleague = await console_browser.sign_in(http, owner, Role.RECON, tenant_id)
    stranger = await console_browser.sign_in(http, owner, Role.VIEWER, await make_tenant(owner))
    platform = await console_browser.sign_in(http, owner, Role.OWNER)
    said = words(await admin.get("/admins"))
    assert f"{admin.email} (you)" in said
    assert f"{colleague.email} Reconciliation Active never 1 session" in said
    for other in (stranger, platform):
        assert other.email not in said
    everywhere = words(await platform.get("/admins"))
    for each in (admin, colleague, stranger, platform):
        assert each.email in everywhere


async def test_last_sign_in_is_told(http: httpx.AsyncClient, owner: Owner, tenant_id: UUID) -> None:
    admin = await console_browser.sign_in(http, owner, Role.TENANT_ADMIN, tenant_id)
    email = new_email()
    made = await admin.send("/admins", {"email": email, "role": "viewer", "password": PASSWORD})
    path = made.headers["location"].removeprefix("/console")
    page = words(await admin.get(path))
    assert "Last sign-in never" in page
    answer = await http.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    assert "(just now)" in words(await admin.get(path)).split("Last sign-in")[1][:60]
    refused = await http.post("/api/v1/auth/login", json={"email": admin.email, "password": PASSWORD})
    assert refused.status_code == 401
    rows = await owner.execute("SELECT last_signed_in_at FROM admins WHERE id = %s", (admin.admin_id,))
    assert await rows.fetchone() == (None,), "a wrong password is no sign-in"


async def test_tenant_admin_makes_people_of_the_tenant(http: httpx.AsyncClient, owner: Owner, tenant_id: UUID) -> None:
    admin, email = await console_browser.sign_in(http, owner, Role.TENANT_ADMIN, tenant_id), new_email("New")
    made = await admin.send("/admins", {"email": f" {email} ", "role": "approver", "password": PASSWORD})
    assert made.status_code == 303
    admin_id = made.headers["location"].rpartition("/")[2]
    assert await row_of(owner, admin_id) == ("approver", True, tenant_id)
    page = await admin.get(f"/admins/{admin_id}")
    assert "Created. Tell them the password" in words(page)
    assert PASSWORD not in page.text
    assert (await last_deed(owner, admin_id))[:2] == ("admin.created", admin.email)


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"email": "no address"}, 422, "This is no e-mail address"),
        ({"password": "short"}, 422, "The password has 8 to 128 characters"),
        ({"password": "x" * 129}, 422, "The password has 8 to 128 characters"),
        ({"role": "king"}, 422, "This role cannot be given here"),
        ({"role": "owner"}, 403, "Your role does not allow this"),
        ({"tenant_id": "x"}, 422, "tenant_id"),
        ({"tenant_id": str(uuid4())}, 404, "Nothing was done"),
    ],
)
async def test_admin_that_cannot_be_is_refused_and_the_form_is_kept(
    http: httpx.AsyncClient, owner: Owner, tenant_id: UUID, fields: dict[str, object], status: int, said: str
) -> None:
    admin, email = await console_browser.sign_in(http, owner, Role.TENANT_ADMIN, tenant_id), new_email()
    given: dict[str, object] = {"email": email, "role": "viewer", "password": PASSWORD, **fields}
    answer = await admin.send("/admins", given)
    assert answer.status_code == status
    assert said in words(answer)
    assert f'value="{given["email"]}"' in answer.text
    assert PASSWORD not in answer.text
    rows = await owner.execute("SELECT count(*) FROM admins WHERE email = %s", (email,))
    assert await rows.fetchone() == (0,)


async def test_address_that_is_taken_is_refused(http: httpx.AsyncClient, owner: Owner, tenant_id: UUID) -> None:
    admin = await console_browser.sign_in(http, owner, Role.TENANT_ADMIN, tenant_id)
    other = await console_browser.sign_in(http, owner, Role.VIEWER, await make_tenant(owner))
    answer = await admin.send("/admins", {"email": other.email, "role": "viewer", "password": PASSWORD})
    assert answer.status_code == 409
    assert "exists already" in words(answer)


async def test_owner_makes_people_of_any_tenant_and_owners(
    http: httpx.AsyncClient, owner: Owner, tenant_id: UUID
) -> None:
    platform = await console_browser.sign_in(http, owner, Role.OWNER)
    fields: dict[str, object] = {"role": "finance", "password": PASSWORD}
    nowhere = await platform.send("/admins", {**fields, "email": new_email()})
    assert nowhere.status_code == 400
    assert "Choose the tenant" in words(nowhere)
    made = await platform.send("/admins", {**fields, "email": new_email(), "tenant_id": tenant_id})
    assert await row_of(owner, made.headers["location"].rpartition("/")[2]) == ("finance", True, tenant_id)
    another = {"email": new_email(), "role": "owner", "password": PASSWORD, "tenant_id": tenant_id}
    made = await platform.send("/admins", another)
    assert await row_of(owner, made.headers["location"].rpartition("/")[2]) == ("owner", True, None)
    await platform.send("/tenant", {"tenant_id": tenant_id})
    assert 'value="owner"' not in (await platform.get("/admins")).text
    refused = await platform.send("/admins", {**another, "email": new_email(), "tenant_id": ""})
    assert refused.status_code == 422


async def test_role_is_given_with_a_reason(http: httpx.AsyncClient, owner: Owner, tenant_id: UUID) -> None:
    admin = await console_browser.sign_in(http, owner, Role.TENANT_ADMIN, tenant_id)
    other = await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id)
    form = {"role": "finance", "reason": "moved\n to finance", "seen_at": await seen_at(owner, other.admin_id)}
    assert (await admin.send(f"/admins/{other.admin_id}/role", form)).status_code == 303
    assert (await row_of(owner, other.admin_id))[0] == "finance"
    deed = await last_deed(owner, other.admin_id)
    assert deed[:3] == ("admin.changed", admin.email, "moved to finance")
    assert (await other.get("/withdrawals")).status_code == 200
    page = words(await admin.get(f"/admins/{other.admin_id}"))
    assert "Done. The role counts from their next request on." in page
    # The form that was open when somebody else changed the account.
    stale = await admin.send(f"/admins/{other.admin_id}/role", {**form, "role": "tenant_admin"})
    assert stale.status_code == 409
    assert "Somebody changed this account since you looked" in words(stale)
    assert (await row_of(owner, other.admin_id))[0] == "finance"


async def test_nobody_changes_their_own_role_or_makes_owners(
    http: httpx.AsyncClient, owner: Owner, tenant_id: UUID
) -> None:
    admin = await console_browser.sign_in(http, owner, Role.TENANT_ADMIN, tenant_id)
    other = await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id)
    page = await admin.get(f"/admins/{admin.admin_id}")
    assert f"/admins/{admin.admin_id}/role" not in page.text
    assert f"/admins/{admin.admin_id}/active" not in page.text
    own = {"role": "viewer", "seen_at": await seen_at(owner, admin.admin_id)}
    refused = await admin.send(f"/admins/{admin.admin_id}/role", own)
    assert refused.status_code == 403
    assert "This is your own account" in words(refused)
    for role in ("owner", "king", ""):
        form = {"role": role, "seen_at": await seen_at(owner, other.admin_id)}
        assert (await admin.send(f"/admins/{other.admin_id}/role", form)).status_code in (403, 422)
    assert (await row_of(owner, admin.admin_id))[0] == "tenant_admin"
    assert (await row_of(owner, other.admin_id))[0] == "viewer"


async def test_deactivated_is_signed_out_and_activated_signs_in_again(
    http: httpx.AsyncClient, owner: Owner, tenant_id: UUID
) -> None:
    admin = await console_browser.sign_in(http, owner, Role.TENANT_ADMIN, tenant_id)
    other = await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id)
    path = f"/admins/{other.admin_id}/active"
    form = {"is_active": "false", "reason": "left", "seen_at": await seen_at(owner, other.admin_id)}
    assert (await admin.send(path, form)).status_code == 303
    assert (await row_of(owner, other.admin_id))[1] is False
    assert (await other.get("")).status_code == 303
    assert "Deactivated" in words(await admin.get(f"/admins/{other.admin_id}"))
    again = {"is_active": "true", "seen_at": await seen_at(owner, other.admin_id)}
    assert (await admin.send(path, again)).status_code == 303
    assert (await row_of(owner, other.admin_id))[1] is True
    assert (await other.get("")).status_code == 303, "a session that was over stays over"
    for wrong in ({"is_active": "maybe"}, {"is_active": "false"}, {"is_active": "false", "seen_at": "yesterday"}):
        assert (await admin.send(path, wrong)).status_code == 422
    assert (await row_of(owner, other.admin_id))[1] is True


async def test_last_owner_cannot_lock_the_door(new_database: object) -> None:
    database: Database = new_database()  # type: ignore[operator]
    async with connect_owner(database) as owner, api_client.serving(database) as http:
        platform = await console_browser.sign_in(http, owner, Role.OWNER)
        form = {"is_active": "false", "seen_at": await seen_at(owner, platform.admin_id)}
        refused = await platform.send(f"/admins/{platform.admin_id}/active", form)
        assert refused.status_code == 409
        assert "last active platform owner" in words(refused)
        assert (await row_of(owner, platform.admin_id))[1] is True


async def test_new_password_ends_sessions_and_signs_in(http: httpx.AsyncClient, owner: Owner, tenant_id: UUID) -> None:
    admin = await console_browser.sign_in(http, owner, Role.TENANT_ADMIN, tenant_id)
    other = await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id)
    assert (await admin.send(f"/admins/{other.admin_id}/password", {"password": "short"})).status_code == 422
    assert (await other.get("")).status_code == 200
    done = await admin.send(f"/admins/{other.admin_id}/password", {"password": PASSWORD})
    assert done.status_code == 303
    assert (await other.get("")).status_code == 303
    answer = await http.post("/api/v1/auth/login", json={"email": other.email, "password": PASSWORD})
    assert answer.status_code == 200
    after = (await last_deed(owner, other.admin_id))[4]
    assert isinstance(after, dict)
    assert after["password_changed"] is True
    assert PASSWORD not in str(after)


async def second_session(http: httpx.AsyncClient, owner: Owner, browser: Browser) -> Browser:
    token = secrets.token_urlsafe(32)
    await owner.execute(
        "INSERT INTO console_sessions (token_hash, admin_id, opened_at, seen_at) "
        "VALUES (%s, %s, clock_timestamp(), clock_timestamp())",
        (hash_token(token), browser.admin_id),
    )
    return Browser(http=http, token=token, admin_id=browser.admin_id, email=browser.email)


async def test_sessions_are_shown_and_ended(http: httpx.AsyncClient, owner: Owner, tenant_id: UUID) -> None:
    admin = await console_browser.sign_in(http, owner, Role.TENANT_ADMIN, tenant_id)
    other = await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id)
    elsewhere = await second_session(http, owner, other)
    await owner.execute(
        "INSERT INTO console_sessions (token_hash, admin_id, opened_at, seen_at) "
        "VALUES (%s, %s, now() - INTERVAL '1 hour', now() - INTERVAL '31 minutes')",
        (secrets.token_bytes(32), other.admin_id),
    )
    page = words(await admin.get(f"/admins/{other.admin_id}"))
    assert page.count("another browser") == 2
    assert "the one you are looking from" in words(await admin.get(f"/admins/{admin.admin_id}"))
    done = await admin.send(f"/admins/{other.admin_id}/end-sessions", {"reason": "lost the phone"})
    assert done.status_code == 303
    for browser in (other, elsewhere):
        assert (await browser.get("")).status_code == 303
    deed = await last_deed(owner, other.admin_id)
    assert (deed[0], deed[2], deed[4]) == ("admin.sessions_ended", "lost the phone", {"sessions_ended": 2})
    assert "No open session" in words(await admin.get(f"/admins/{other.admin_id}"))
    assert (await row_of(owner, other.admin_id))[1] is True
    assert (await (await second_session(http, owner, other)).get("")).status_code == 200, "and may come back"


async def test_own_sessions_can_be_ended_from_any_of_them(
    http: httpx.AsyncClient, owner: Owner, tenant_id: UUID
) -> None:
    admin = await console_browser.sign_in(http, owner, Role.TENANT_ADMIN, tenant_id)
    elsewhere = await second_session(http, owner, admin)
    assert (await elsewhere.send(f"/admins/{admin.admin_id}/end-sessions")).status_code == 303
    for browser in (admin, elsewhere):
        assert (await browser.get("")).status_code == 303


async def test_page_shows_what_they_did(http: httpx.AsyncClient, owner: Owner, tenant_id: UUID) -> None:
    admin = await console_browser.sign_in(http, owner, Role.TENANT_ADMIN, tenant_id)
    other = await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id)
    assert "Nothing in the audit yet" in words(await admin.get(f"/admins/{admin.admin_id}"))
    form = {"role": "recon", "seen_at": await seen_at(owner, other.admin_id)}
    await admin.send(f"/admins/{other.admin_id}/role", form)
    page = await admin.get(f"/admins/{admin.admin_id}")
    assert "Role before: Viewer → after: Reconciliation" in words(page)
    assert f'href="/console/admins/{other.admin_id}"' in page.text
    assert f'href="/console/audit?actor={admin.admin_id}"' in page.text


async def test_sessions_are_ended_over_the_api_too(people: People, owner: Owner, tenant_id: UUID) -> None:
    admin = await people.admin(Role.TENANT_ADMIN, tenant_id)
    other = await people.admin(Role.VIEWER, tenant_id)
    answer = await admin.post(f"/admins/{other.id}/end-sessions", {"reason": "left"})
    assert (answer.status_code, answer.json()) == (200, {"ended": 0})
    stranger = await people.admin(Role.VIEWER, await make_tenant(owner))
    for id_ in (stranger.id, uuid4(), "x"):
        assert_problem(await admin.post(f"/admins/{id_}/end-sessions", {}), 404, "ADMIN_NOT_FOUND")
    assert_problem(await other.get("/auth/me"), 401, "UNAUTHORIZED")
    viewer = await people.admin(Role.VIEWER, tenant_id)
    assert_problem(await viewer.post(f"/admins/{admin.id}/end-sessions", {}), 403, "FORBIDDEN")
    assert_problem(await admin.patch(f"/admins/{admin.id}", {"role": "viewer"}), 403, "OWN_ACCOUNT")
