"""Every page of the console for every role: what is shown, refused, hidden, asked of the database, and sent with it."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from litestar import Litestar
from litestar.routes import HTTPRoute

from backend.app.console import routes
from backend.app.console.access import ACCESS, Page, may
from backend.app.console.visit import PAGE_OPTION, welcome
from backend.app.domain.identity import Role
from backend.app.domain.people.console_session import form_token
from backend.tests import api_client, console_browser, console_load
from backend.tests.conftest import Database
from backend.tests.console_browser import ORIGIN, Browser, nobody, words
from backend.tests.console_load import GROWING, Load, load
from backend.tests.console_places import FORMS, PAGES, PLACES, Place, address_of, name_of
from backend.tests.factories import Owner, connect_owner, make_player, make_tenant, new_key

# Beside the session's own; a page with more of them is slow by its waiting alone.
QUERIES_MAX: Final = 8
# What finds one row by its key needs no bound.
ONE_ROW: Final = re.compile(rb"-- (One |A session |The balances after |How many tenants )")


@dataclass(slots=True, kw_only=True)
class World:
    """An application on a loaded tenant, and another tenant with people of its own."""

    http: httpx.AsyncClient
    owner: Owner
    here: Load
    other_tenant_id: UUID
    admin_id: UUID
    app: Litestar

    async def browser(self, role: Role, *, tenant_id: UUID | None = None) -> Browser:
        """Somebody new, of the loaded tenant unless another is named; an owner is of none."""
        of_tenant = None if role is Role.OWNER else tenant_id or self.here.tenant_id
        return await console_browser.sign_in(self.http, self.owner, role, of_tenant)

    def path(self, place: Place) -> str:
        """The place's address."""
        return address_of(place, self.here, admin_id=self.admin_id)


@pytest.fixture(scope="module")
async def world(server: Any) -> AsyncIterator[World]:
    """A database of its own: what the planner does must not depend on other tests' rows."""
    database: Database = server.create()
    async with connect_owner(database) as owner, api_client.serving(database) as client:
        tenant_id = await make_tenant(owner)
        here = await load(owner, tenant_id, console_load.TEST)
        app = client._transport.app  # type: ignore[attr-defined]  # httpx keeps it there
        somebody = await console_browser.sign_in(client, owner, Role.VIEWER, tenant_id)
        assert somebody.admin_id is not None
        yield World(
            http=client,
            owner=owner,
            here=here,
            other_tenant_id=await make_tenant(owner),
            admin_id=somebody.admin_id,
            app=app,
        )
    server.drop(database)


@pytest.fixture(autouse=True)
def forget_cookies(world: World) -> None:
    world.http.cookies.clear()


# ---------------------------------------------------------------------------------------------------------------------
# Who may
# ---------------------------------------------------------------------------------------------------------------------


def test_every_route_is_in_the_table_and_in_these_tests(world: World) -> None:
    seen: set[tuple[str, str]] = set()
    for route in world.app.routes:
        if not isinstance(route, HTTPRoute) or not route.path.startswith("/console"):
            continue
        for handler in route.route_handlers:
            # The framework's own answer to OPTIONS names methods and nothing else.
            if route.path.startswith("/console/assets/") or handler.http_methods == {"OPTIONS"}:
                continue
            page = handler.opt.get(PAGE_OPTION)
            assert page in ACCESS or welcome in handler.resolve_guards(), route.path
            if page is not None:
                is_form = "POST" in handler.http_methods
                path = re.sub(r"\{\w+:str\}", "x", route.path.removeprefix("/console").rstrip("/"))
                seen.add((path, "form" if is_form else "page"))
    # A verdict is named by words of ours, which have no gap in the table.
    words_of_ours = re.compile(r"/verdicts/tenant/\{tenant\}/T3")
    tested = {
        (
            re.sub(r"\{\w+\}", "x", words_of_ours.sub("/verdicts/x/x/x", place.path.partition("?")[0])),
            "form" if place.is_form else "page",
        )
        for place in PLACES
    }
    assert seen == tested
    assert routes.router.path == "/console"


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("place", PLACES, ids=name_of)
async def test_role_gets_what_the_table_says_and_nothing_else(world: World, place: Place, role: Role) -> None:
    browser = await world.browser(role)
    answer = await (browser.send(world.path(place)) if place.is_form else browser.get(world.path(place)))
    if may(role, place.page):
        assert answer.status_code not in (401, 403, 404, 500), answer.text
        assert answer.status_code < 500
    else:
        assert answer.status_code == 403
        assert "Your role does not allow this" in words(answer)


@pytest.mark.parametrize("place", PLACES, ids=name_of)
async def test_nobody_gets_only_the_way_to_sign_in(world: World, place: Place) -> None:
    browser = nobody(world.http)
    answer = await (browser.send(world.path(place)) if place.is_form else browser.get(world.path(place)))
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/console/sign-in?next=%2Fconsole")


async def test_page_offers_only_what_its_reader_may(world: World) -> None:
    for role in Role:
        home = await (await world.browser(role)).get("")
        assert ('href="/console/withdrawals"' in home.text) is may(role, Page.WITHDRAWALS), role
        assert ('href="/console/tenant"' in home.text) is may(role, Page.TENANT_CHOICE), role
        player = await (await world.browser(role)).get(f"/players/{world.here.player_id}")
        assert (f'action="/console/players/{world.here.player_id}/kyc"' in player.text) is may(role, Page.PLAYER_KYC)
        assert ("/console/withdrawals/" in player.text) is may(role, Page.WITHDRAWALS), role
        assert ('href="/console/reconciliation"' in home.text) is may(role, Page.RECONCILIATION), role
        assert ('href="/console/adjustments"' in home.text) is may(role, Page.ADJUSTMENTS), role
        assert ('href="/console/webhooks"' in home.text) is may(role, Page.WEBHOOKS), role


# In the audit an id is looked for, and not found is an empty list.
@pytest.mark.parametrize("place", [place for place in PLACES if "{" in place.path.partition("?")[0]], ids=name_of)
async def test_another_tenants_object_is_not_found(world: World, place: Place) -> None:
    stranger = await world.browser(Role.TENANT_ADMIN, tenant_id=world.other_tenant_id)
    chosen = await world.browser(Role.OWNER)
    assert (await chosen.send("/tenant", {"tenant_id": world.other_tenant_id})).status_code == 303
    fields: dict[str, object] = {"action": "approve", "version": 1, "key": new_key(), "status": "verified"}
    for browser, role in ((stranger, Role.TENANT_ADMIN), (chosen, Role.OWNER)):
        path = world.path(place)
        answer = await (browser.send(path, fields) if place.is_form else browser.get(path))
        if may(role, place.page):
            assert answer.status_code == 404
            assert "belongs to another tenant" in words(answer)
        else:
            assert answer.status_code == 403


@pytest.mark.parametrize("text", ["0190a0a0-0000-7000-8000-000000000000", "x", "0", "..%2f..", "%00", "a" * 300, "é"])
async def test_object_that_does_not_exist_is_a_page_that_says_so(world: World, text: str) -> None:
    browser = await world.browser(Role.FINANCE)
    objects = ("withdrawals", "players", "reconciliation/findings", "reconciliation/runs", "adjustments", "webhooks")
    for path in (*(f"/{each}/{text}" for each in objects), f"/players/{text}/explain", f"/{text}"):
        answer = await browser.get(path)
        assert answer.status_code == 404, path
        assert answer.headers["content-type"].startswith("text/html")


async def test_another_tenants_rows_are_in_no_list(world: World) -> None:
    stranger = await world.browser(Role.TENANT_ADMIN, tenant_id=world.other_tenant_id)
    lists = ("/withdrawals", "/players", "/players?q=p1", "", "/withdrawals?state=requested", "/adjustments")
    for path in (*lists, "/reconciliation?status=any", "/reconciliation/runs", "/webhooks", "/webhooks?state=dead"):
        answer = await stranger.get(path)
        assert answer.status_code == 200
        assert "@example.com" not in answer.text.replace(stranger.email, ""), path
        assert not re.search(r'href="/console/[a-z/]+/[0-9a-f]{8}-', answer.text), path
    for path in ("/withdrawals.csv", "/reconciliation.csv?status=any"):
        assert len((await stranger.get(path)).text.splitlines()) == 1
    approved = "action=withdrawal.approved"
    assert "Approved" in words(await (await world.browser(Role.VIEWER)).get(f"/audit?{approved}")).split("Why, and")[1]
    assert "None matches the filter." in words(await stranger.get(f"/audit?{approved}"))
    assert len((await stranger.get(f"/audit.csv?{approved}")).text.splitlines()) == 1
    for id_ in (world.here.withdrawal_id, world.here.player_id):
        found = await stranger.get("/search", q=id_)
        assert found.headers["location"] == f"/console/players?q={id_}"


# ---------------------------------------------------------------------------------------------------------------------
# Forms
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", FORMS, ids=name_of)
async def test_form_without_its_own_token_is_refused(world: World, place: Place) -> None:
    browser, another = await world.browser(Role.OWNER), await world.browser(Role.OWNER)
    path = world.path(place)
    foreign: list[tuple[dict[str, object], dict[str, str]]] = [
        ({"form_tokens": "?"}, {}),
        ({"form_token": ""}, {}),
        ({"form_token": form_token(another.token)}, {}),
        ({"form_token": browser.token}, {}),
        ({"form_token": form_token(browser.token)}, {"Origin": "https://evil.example"}),
        ({"form_token": form_token(browser.token)}, {"Origin": "null"}),
        ({"form_token": form_token(browser.token)}, {"Sec-Fetch-Site": "cross-site"}),
        ({"form_token": form_token(browser.token)}, {"Sec-Fetch-Site": "same-site"}),
    ]
    for fields, headers in foreign:
        answer = await browser.raw(path, fields, headers=headers)
        assert answer.status_code == 403, (fields, headers)
        assert "nothing was done" in words(answer)
    assert (await browser.get("")).status_code == 200, "not even signed out"


@pytest.mark.parametrize("place", FORMS, ids=name_of)
async def test_form_in_another_format_is_refused(world: World, place: Place) -> None:
    browser = await world.browser(Role.OWNER)
    cookie = {"Cookie": f"{console_browser.SESSION_COOKIE}={browser.token}", "Origin": ORIGIN}
    for content_type in ("application/json", "text/plain", "multipart/form-data; boundary=x", ""):
        answer = await world.http.post(
            f"{ORIGIN}/console{world.path(place)}",
            content=f"form_token={form_token(browser.token)}",
            headers={**cookie, "Content-Type": content_type},
        )
        assert answer.status_code == 415
        assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("role", [Role.OWNER, Role.FINANCE])
async def test_every_form_of_every_page_carries_the_token(world: World, role: Role) -> None:
    browser = await world.browser(role)
    for place in PAGES:
        if not may(role, place.page):
            continue
        answer = await browser.get(world.path(place))
        for form in re.findall(r"<form\b.*?</form>", answer.text, flags=re.DOTALL):
            if 'method="post"' in form:
                assert f'name="form_token" value="{form_token(browser.token)}"' in form, place
            else:
                assert "form_token" not in form, place


# ---------------------------------------------------------------------------------------------------------------------
# What is sent
# ---------------------------------------------------------------------------------------------------------------------


def assert_sent_safely(answer: httpx.Response) -> None:
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("place", PAGES, ids=name_of)
async def test_page_is_sent_with_the_policy_and_keeps_to_it(world: World, place: Place) -> None:
    answer = await (await world.browser(Role.OWNER)).get(world.path(place))
    assert_sent_safely(answer)
    if answer.status_code == 200 and "csv" not in place.path:
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", answer.text)
        addresses = re.findall(r'(?:src|href|action|hx-get)="([^"]*)"', answer.text)
        assert [address for address in addresses if not address.startswith(("/", "#", "data:,"))] == []


@pytest.mark.parametrize("language", ["en", "tr"])
@pytest.mark.parametrize("place", PAGES, ids=name_of)
async def test_page_speaks_both_languages(world: World, place: Place, language: str) -> None:
    browser = await console_browser.sign_in(world.http, world.owner, Role.OWNER, language=language)
    answer = await browser.get(world.path(place))
    assert answer.status_code in (200, 303)
    if "<html" in answer.text:
        assert f'<html lang="{language}"' in answer.text
        assert ("Çıkış yap" if language == "tr" else "Sign out") in words(answer)


@pytest.mark.parametrize("place", PAGES, ids=name_of)
async def test_page_answers_a_head_request(world: World, place: Place) -> None:
    browser = await world.browser(Role.OWNER)
    answer = await world.http.head(
        f"{ORIGIN}/console{world.path(place)}",
        headers={"Cookie": f"{console_browser.SESSION_COOKIE}={browser.token}"},
    )
    assert answer.status_code in (200, 303)


async def test_unknown_addresses_and_methods_answer_as_pages(world: World) -> None:
    for browser in (nobody(world.http), await world.browser(Role.VIEWER)):
        for path in ("/nowhere", "/withdrawals/x/y/z", "/assets/0/console.js", "/%F0%9F"):
            answer = await browser.get(path)
            assert answer.status_code == 404, path
            assert answer.headers["content-type"].startswith("text/html"), path
            assert_sent_safely(answer)
    wrong = await world.http.put(f"{ORIGIN}/console/players")
    assert (wrong.status_code, wrong.headers["content-type"]) == (405, "text/html; charset=utf-8")
    head = await world.http.head(f"{ORIGIN}/console/nowhere")
    assert (head.status_code, head.headers["content-type"]) == (404, "text/html; charset=utf-8")
    api = await world.http.get(f"{ORIGIN}/api/v1/nowhere")
    assert api.headers["content-type"] == "application/problem+json"


async def test_form_that_is_too_large_is_a_page_that_says_so(world: World) -> None:
    browser = await world.browser(Role.FINANCE)
    answer = await browser.send("/withdrawals/bulk", {"action": "approve", "reason": "x" * 70_000})
    assert answer.status_code == 413
    assert "Too much at once" in words(answer)


async def test_assets_of_a_page_are_served(world: World) -> None:
    page = await (await world.browser(Role.OWNER)).get(f"/players/{world.here.player_id}")
    assets = set(re.findall(r'(?:src|href)="(/console/assets/[^"]+)"', page.text))
    assert len(assets) == 7
    for address in assets:
        answer = await world.http.get(ORIGIN + address)
        assert answer.status_code == 200, address
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


# ---------------------------------------------------------------------------------------------------------------------
# What is asked of the database
# ---------------------------------------------------------------------------------------------------------------------

_asked: ContextVar[list[tuple[bytes, Any]] | None] = ContextVar("asked", default=None)


@contextmanager
def listening() -> Iterator[list[tuple[bytes, Any]]]:
    """What the requests of the block ask the database, and nothing that goes on beside them."""
    asked: list[tuple[bytes, Any]] = []
    token = _asked.set(asked)
    try:
        yield asked
    finally:
        _asked.reset(token)


@pytest.fixture(scope="module", autouse=True)
def listen_to_queries() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        execute = psycopg.AsyncCursor.execute

        async def heard(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
            asked = _asked.get()
            if asked is not None:
                asked.append((query if isinstance(query, bytes) else str(query).encode(), params))
            return await execute(self, query, params, **options)

        patch.setattr(psycopg.AsyncCursor, "execute", heard)
        yield


async def asked_by(browser: Browser, path: str) -> list[tuple[bytes, Any]]:
    with listening() as asked:
        answer = await browser.get(path)
    assert answer.status_code in (200, 303), answer.text
    return asked


@pytest.mark.parametrize("role", [Role.FINANCE, Role.OWNER])
@pytest.mark.parametrize("place", PAGES, ids=name_of)
async def test_page_asks_a_handful_of_bounded_questions(world: World, place: Place, role: Role) -> None:
    if not may(role, place.page):
        pytest.skip("the role does not get there")
    asked = await asked_by(await world.browser(role), world.path(place))
    assert 1 <= len(asked) <= QUERIES_MAX, [query.splitlines()[0] for query, _ in asked]
    questions = [query for query, _ in asked if query.startswith(b"-- ") and b"SELECT" in query]
    assert [query.splitlines()[0] for query in questions if b"LIMIT" not in query and not ONE_ROW.match(query)] == []


def scanned(plan: dict[str, Any]) -> Iterator[str]:
    """The tables that a plan reads from end to end."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for child in plan.get("Plans", ()):
        yield from scanned(child)


@pytest.mark.parametrize("role", [Role.FINANCE, Role.OWNER])
@pytest.mark.parametrize("place", PAGES, ids=name_of)
async def test_page_reads_no_growing_table_from_end_to_end(world: World, place: Place, role: Role) -> None:
    if not may(role, place.page):
        pytest.skip("the role does not get there")
    for query, params in await asked_by(await world.browser(role), world.path(place)):
        if b"SELECT" not in query or not query.lstrip().startswith(b"--"):
            continue
        cursor = await world.owner.execute(b"EXPLAIN (FORMAT JSON) " + query, params, prepare=False)
        row = await cursor.fetchone()
        assert row is not None
        document = row[0] if isinstance(row[0], list) else json.loads(row[0])
        tables = set(scanned(document[0]["Plan"])) & set(GROWING)
        assert tables - {"console_sessions"} == set(), query.decode()


# ---------------------------------------------------------------------------------------------------------------------
# What others wrote
# ---------------------------------------------------------------------------------------------------------------------

HOSTILE: Final = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>{{ 7*7 }}{% raw %}&lt;"


async def test_text_of_players_and_providers_is_shown_as_text(world: World) -> None:
    owner, tenant_id = world.owner, await make_tenant(world.owner)
    player = await make_player(owner, tenant_id, available=100)
    await owner.execute("UPDATE players SET username = %s WHERE id = %s", (HOSTILE, player.id))
    await owner.execute("UPDATE tenants SET name = %s WHERE id = %s", (HOSTILE, tenant_id))
    tx_id = uuid4()
    await owner.execute(
        "INSERT INTO withdrawals (id, tenant_id, player_id, amount, currency, state, method, address, idempotency_key, "
        "request_hash, created_at, updated_at, review_reason, failure_code, provider, provider_ref, first_approved_by) "
        "VALUES (%(id)s, %(tenant)s, %(player)s, 100, 'USD', 'failed', %(text)s, %(text)s, 'k', '', now(), now(), "
        "%(text)s, %(text)s, %(text)s, %(text)s, %(id)s)",
        {"id": tx_id, "tenant": tenant_id, "player": player.id, "text": HOSTILE},
    )
    await owner.execute(
        "INSERT INTO audit_events (tenant_id, actor_kind, actor_label, action, object_kind, object_id, reason) "
        "VALUES (%(tenant)s, 'admin', %(text)s, %(text)s, 'withdrawal', %(id)s, %(text)s)",
        {"tenant": tenant_id, "text": HOSTILE, "id": str(tx_id)},
    )
    await owner.execute(
        "INSERT INTO psp_events (id, provider, account_id, provider_event_id, signature_status, signature_result, "
        "state, body, body_size, body_sha256, headers, received_at, tenant_id, tx_id, event_type, effect, detail) "
        "VALUES (%(id)s, %(text)s, %(text)s, %(text)s, 'valid', 'valid', 'applied', '', 0, '', '{}', now(), "
        "%(tenant)s, %(id)s, %(text)s, %(text)s, %(text)s)",
        {"tenant": tenant_id, "text": HOSTILE, "id": tx_id},
    )
    await owner.execute(
        "INSERT INTO reconciliation_findings (id, provider, tenant_id, finding_type, severity, status, message, "
        "evidence, evidence_hash, fingerprint, tx_id, player_id, provider_ref, provider_event_id, resolution_code, "
        "resolution_note, resolved_at) "
        "VALUES (%(id)s, %(text)s, %(tenant)s, 'amount_mismatch', 'high', 'RESOLVED', %(text)s, "
        "jsonb_build_object(%(text)s::TEXT, %(text)s::TEXT, 'ours_reference', %(text)s::TEXT, "
        "'theirs_word', %(text)s::TEXT), '', uuid_send(%(id)s), %(id)s, %(player)s, %(text)s, %(text)s, 'OTHER', "
        "%(text)s, now())",
        {"id": tx_id, "tenant": tenant_id, "player": player.id, "text": HOSTILE},
    )
    await owner.execute(
        "INSERT INTO audit_events (tenant_id, actor_kind, actor_label, action, object_kind, object_id, reason) "
        "SELECT %(tenant)s, 'admin', %(text)s, %(text)s, kind, %(id)s, %(text)s "
        "FROM unnest(ARRAY['finding', 'psp_event']) AS kind",
        {"tenant": tenant_id, "text": HOSTILE, "id": str(tx_id)},
    )
    browser = await world.browser(Role.OWNER)
    await owner.execute(
        "INSERT INTO ledger_adjustments (id, tenant_id, player_id, finding_id, currency, player_amount, "
        "clearing_amount, reason, proposed_by, proposed_at) "
        "VALUES (%(id)s, %(tenant)s, %(player)s, %(id)s, 'USD', 1, 0, %(text)s, %(admin)s, now())",
        {"id": tx_id, "tenant": tenant_id, "player": player.id, "text": HOSTILE, "admin": browser.admin_id},
    )
    await owner.execute(
        "UPDATE psp_events SET body = convert_to(%(text)s::TEXT, 'UTF8'), last_error = %(text)s::TEXT, "
        "headers = jsonb_build_object(%(text)s::TEXT, %(text)s::TEXT) WHERE id = %(id)s",
        {"id": tx_id, "text": HOSTILE},
    )
    paths = [
        "",
        "/tenant",
        "/withdrawals?state=failed",
        f"/withdrawals/{tx_id}",
        f"/withdrawals/{tx_id}/live",
        "/players",
        "/audit",
        f"/audit?object_id={tx_id}",
        "/admins",
        "/tenants",
        f"/tenants/{tenant_id}",
    ]
    paths += [f"/players/{player.id}", f"/players/{player.id}/explain"]
    paths += [
        "/reconciliation?status=any",
        f"/reconciliation/findings/{tx_id}",
        "/adjustments",
        f"/adjustments/{tx_id}",
    ]
    paths += ["/webhooks", f"/webhooks/{tx_id}"]
    shown = 0
    for path in paths:
        answer = await browser.get(path)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text, path
        assert "<img" not in answer.text, path
        assert "49" not in re.findall(r"onerror=alert\(1\)&gt;(\d+)", answer.text), path
        shown += answer.text.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;&gt;&lt;img")
    assert shown > 45
    echoed = await browser.get("/players", q=HOSTILE)
    assert "<script>alert" not in echoed.text
    for path in ("/reconciliation", "/webhooks", "/adjustments"):
        echoed = await browser.get(path, status=HOSTILE, type=HOSTILE, provider=HOSTILE, event=HOSTILE, run=HOSTILE)
        assert (echoed.status_code, "<script>alert" in echoed.text) == (200, False), path
    echoed = await browser.get("/audit", actor=HOSTILE, action=HOSTILE, object_id=HOSTILE, date_from=HOSTILE)
    assert echoed.status_code == 200
    assert "<script>alert" not in echoed.text
    echoed = await browser.get("/withdrawals", method=HOSTILE, player_id=HOSTILE, state=HOSTILE, after=HOSTILE)
    assert echoed.status_code == 200
    assert "<script>alert" not in echoed.text
