"""The audit in the console: found by every filter, page by page, linked to what it is about, and as a file."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import httpx
import pytest

from backend.app.console import audit, changes, text
from backend.app.domain.audit import Actor, ActorKind, AuditEntry, State
from backend.app.domain.desk.audit_desk import Change, SeenDeed, changes_of, first_id_at, last_id_before
from backend.app.domain.identity import Role
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Database as Pools
from backend.tests import console_browser
from backend.tests.console_browser import Browser, words
from backend.tests.factories import Owner, make_player, make_tenant


@pytest.fixture(autouse=True)
def forget_cookies(http: httpx.AsyncClient) -> None:
    http.cookies.clear()


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


async def write(pools: Pools, tenant_id: UUID | None, action: str = "thing.done", **fields: Any) -> str:
    """A deed; the id of its object, which nothing else has."""
    object_id = str(fields.pop("object_id", uuid4()))
    actor = Actor(
        kind=fields.pop("kind", ActorKind.OPERATOR),
        actor_id=fields.pop("actor_id", None),
        label=fields.pop("label", "somebody"),
        request_id="request-1234",
        client_address=fields.pop("client_address", None),
    )
    entry = AuditEntry(
        actor=actor, action=action, object_kind=fields.pop("object_kind", "thing"), object_id=object_id, **fields
    )
    async with pools.transaction() as conn:
        await audit_repo.insert(conn, tenant_id, entry)
    return object_id


async def listed(browser: Browser, ids: list[str], **query: Any) -> list[str]:
    """Which of the objects a page shows."""
    answer = await browser.get("/audit", **query)
    assert answer.status_code == 200, answer.text
    # The whole id is in the title of its short form, and the form repeats what it was asked.
    return [id_ for id_ in ids if f'title="{id_}"' in answer.text]


async def test_deed_is_shown_with_everything_that_is_known(
    http: httpx.AsyncClient, owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    await write(
        pools,
        tenant_id,
        "withdrawal.rejected",
        object_kind="withdrawal",
        label="ada@example.com",
        kind=ActorKind.ADMIN,
        actor_id=uuid4(),
        reason="the address is not theirs",
        client_address="192.0.2.7",
        before={"state": "requested", "version": 1, "provider": None},
        after={"state": "rejected", "version": 1, "provider": None},
    )
    page = await (await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id)).get("/audit")
    said = words(page)
    for each in ("ada@example.com", "Console or API · 192.0.2.7", "Rejected", "Withdrawal", "request-1234"):
        assert each in said, each
    assert "the address is not theirs" in said
    assert "State before: Needs review → after: Rejected" in said
    # What stayed as it was is no change.
    assert "Version" not in said


async def test_every_filter_narrows_and_stays_in_the_form(
    http: httpx.AsyncClient, owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    actor_id = uuid4()
    flag = await write(pools, tenant_id, "flag.changed")
    note = await write(pools, tenant_id, "finding.noted", label="ada@example.com", actor_id=actor_id)
    unknown = await write(pools, tenant_id, "thing.never_heard_of")
    ids = [flag, note, unknown]
    browser = await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id)
    today = datetime.now(UTC).date()
    assert await listed(browser, ids) == ids
    assert await listed(browser, ids, action="flag.changed") == [flag]
    assert await listed(browser, ids, action="thing.never_heard_of") == [unknown]
    assert await listed(browser, ids, actor="Ada@Example.com") == [note]
    assert await listed(browser, ids, actor=actor_id) == [note]
    assert await listed(browser, ids, object_id=flag) == [flag]
    assert await listed(browser, ids, object_id=flag, action="finding.noted") == []
    assert await listed(browser, ids, date_from=today - timedelta(days=1), date_to=today + timedelta(days=1)) == ids
    assert await listed(browser, ids, date_from=today + timedelta(days=2)) == []
    assert await listed(browser, ids, date_to=today - timedelta(days=2)) == []
    page = await browser.get("/audit", action="flag.changed", actor="somebody", date_from="2026-01-01")
    assert '<option value="flag.changed" selected>' in page.text
    assert 'name="actor" type="text" value="somebody"' in page.text
    assert '/console/audit.csv?action=flag.changed&amp;actor=somebody&amp;date_from=2026-01-01"' in page.text


async def test_owner_finds_an_action_and_a_person_in_all_tenants_and_the_platform(
    http: httpx.AsyncClient, owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    action, label, actor_id = f"thing.{uuid4().hex}", f"{uuid4()}@example.com", uuid4()
    ids = [
        await write(pools, of, action, label=label, actor_id=actor_id)
        for of in (tenant_id, await make_tenant(owner), None)
    ]
    await write(pools, tenant_id, f"{action}x", label=f"x{label}")
    browser = await console_browser.sign_in(http, owner, Role.OWNER)
    queries: list[dict[str, Any]] = [
        {"action": action},
        {"actor": label},
        {"actor": str(actor_id)},
        {"action": action, "actor": label},
    ]
    for query in queries:
        assert await listed(browser, ids, **query) == ids
        page = await browser.get("/audit", **query)
        # Newest first, whichever tenant they are of.
        assert [page.text.index(id_) for id_ in reversed(ids)] == sorted(page.text.index(id_) for id_ in ids)
    await browser.send("/tenant", {"tenant_id": tenant_id})
    assert await listed(browser, ids, action=action) == ids[:1]


async def test_pages_go_through_everything_once(
    http: httpx.AsyncClient, owner: Owner, pools: Pools, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "ROWS", 3)
    ids = [await write(pools, tenant_id, "flag.changed") for _ in range(8)]
    browser = await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id)
    seen: list[str] = []
    path = "/audit?action=flag.changed"
    for _ in range(9):
        answer = await browser.get(path)
        seen += [id_ for id_ in reversed(ids) if f'title="{id_}"' in answer.text]
        if 'rel="next"' not in answer.text:
            break
        following = answer.text.split('rel="next" href="/console')[1].split('"')[0].replace("&amp;", "&")
        assert parse_qs(urlsplit(following).query)["action"] == ["flag.changed"]
        path = following
    assert seen == list(reversed(ids))
    assert "That is all" in answer.text


async def test_day_that_is_none_is_said_beside_its_field_and_nothing_is_exported(
    http: httpx.AsyncClient, owner: Owner, tenant_id: UUID
) -> None:
    browser = await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id)
    for given in ("yesterday", "2026-02-30", "9999-12-31"):
        page = await browser.get("/audit", date_to=given)
        assert page.status_code == 200
        assert "Not a day" in words(page)
        assert "/console/audit.csv" not in page.text
        assert (await browser.get("/audit.csv", date_to=given)).status_code == 422
    assert (await browser.get("/audit", before="x", date_from="0001-01-01")).status_code == 200


async def test_objects_are_linked_where_their_reader_may_go(
    http: httpx.AsyncClient, owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id)
    objects = {
        "withdrawal": await write(pools, tenant_id, object_kind="withdrawal"),
        "player": await write(pools, tenant_id, object_kind="player", object_id=player.id),
        "admin": await write(pools, tenant_id, object_kind="admin"),
        "tenant": await write(pools, tenant_id, object_kind="tenant", object_id=tenant_id),
    }
    await write(pools, tenant_id, object_kind="player", object_id="../sign-out")
    linked = {
        Role.VIEWER: {"player"},
        Role.FINANCE: {"player", "withdrawal"},
        Role.TENANT_ADMIN: {"player", "withdrawal", "admin"},
        Role.OWNER: set(objects),
    }
    for role, kinds in linked.items():
        page = await (await console_browser.sign_in(http, owner, role, None if role is Role.OWNER else tenant_id)).get(
            "/audit"
        )
        for kind, id_ in objects.items():
            assert (f'href="/console/{kind}s/{id_}"' in page.text) is (kind in kinds), (role, kind)
        assert "/console/players/.." not in page.text


async def test_file_has_the_whole_filter_and_its_own_deed(
    http: httpx.AsyncClient, owner: Owner, pools: Pools, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.app.services.audit.EXPORT_PAGE", 4)
    ids = [
        await write(pools, tenant_id, "flag.changed", reason="=1+1", before={"value": None}, after={"value": True})
        for _ in range(9)
    ]
    await write(pools, tenant_id, "finding.noted")
    browser = await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id)
    answer = await browser.get("/audit.csv", action="flag.changed")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].startswith('attachment; filename="audit-')
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["object_id"] for row in rows] == list(reversed(ids))
    assert {row["reason"] for row in rows} == {"'=1+1"}
    assert (rows[0]["before"], rows[0]["after"]) == ('{"value": null}', '{"value": true}')
    (deed,) = list(csv.DictReader(io.StringIO((await browser.get("/audit.csv", action="audit.exported")).text)))[1:]
    assert (deed["actor"], deed["actor_id"]) == (browser.email, str(browser.admin_id))
    assert deed["after"] == '{"action": "flag.changed"}'


async def test_where_a_deed_came_from_is_kept(http: httpx.AsyncClient, owner: Owner, tenant_id: UUID) -> None:
    player = await make_player(owner, tenant_id)
    browser = await console_browser.sign_in(http, owner, Role.FINANCE, tenant_id)
    assert (await browser.send(f"/players/{player.id}/kyc", {"status": "rejected"})).status_code == 303
    rows = await owner.execute("SELECT client_address FROM audit_events WHERE object_id = %s", (str(player.id),))
    assert await rows.fetchone() == ("127.0.0.1",)


def test_changes_are_what_differs() -> None:
    assert changes_of(None, None) == []
    assert changes_of({"a": 1, "b": "x"}, {"a": 1, "b": "y", "c": None}) == [Change("b", "x", "y")]
    assert changes_of(None, {"is_on": True, "n": 3}) == [Change("is_on", None, "true"), Change("n", None, "3")]
    assert changes_of({"a": "x"}, {}) == [Change("a", "x", None)]


def test_days_bound_the_ids_that_are_read() -> None:
    moment = datetime(2026, 7, 1, tzinfo=UTC)
    assert first_id_at(None).int == 0
    assert last_id_before(None).int == 2**128 - 1
    milliseconds = int(moment.timestamp() * 1000)
    assert first_id_at(moment).int >> 80 == milliseconds - 60_000
    assert last_id_before(moment).int >> 80 == milliseconds + 60_000
    assert first_id_at(datetime(1, 1, 2, tzinfo=UTC)).int == 0


def deed(object_kind: str, before: State | None, after: State | None) -> SeenDeed:
    return SeenDeed(
        uuid4(), None, ActorKind.ADMIN, None, "somebody", "thing.done", object_kind, "1", None, before, after,
        None, None, datetime(2026, 7, 1, tzinfo=UTC), None,
    )  # fmt: skip


SHOWN = [
    # (kind of object, before, after, in English, in Turkish), each as (name, before, after)
    ("tenant", {"arbiter": "legacy", "epoch": 0}, {"arbiter": "ledger", "epoch": 1_234, "is_fenced": True},
     [("Arbiter", "Legacy balance", "Ledger"), ("Epoch", "0", "1,234"), ("Behind the fence", None, "yes")],
     [("Karar veren", "Eski bakiye", "Defter"), ("Dönem", "0", "1.234"), ("Çit arkasında", None, "evet")]),
    ("player", None, {"currency": "TRY", "legacy_held_minor": 123_456},
     [("Currency", None, "TRY"), ("Held, legacy", None, "1,234.56 TRY")],
     [("Para birimi", None, "TRY"), ("Bekletilen, eski bakiye", None, "1.234,56 TRY")]),
    # Of no known currency the unit is named.
    ("player", {"held_minor": 5}, {"held_minor": 123_456},
     [("Held", "5 minor units", "123,456 minor units")],
     [("Bekletilen", "5 en küçük birim", "123.456 en küçük birim")]),
    ("backfill", None, {"opened_available_minor_JPY": 1_500, "scanned": 7},
     [("Opened with, available, JPY", None, "1,500 JPY"), ("Looked at", None, "7")],
     [("Açılan, kullanılabilir, JPY", None, "1.500 JPY"), ("Bakılan", None, "7")]),
    ("rollout_hold", None, {"kind": "cooldown", "whole_fleet": False, "ends_at": "2026-07-01T12:00:00+00:00"},
     [("Kind", None, "Cooldown"), ("All tenants", None, "no"), ("Ends", None, "1 Jul 2026 12:00 UTC")],
     [("Tür", None, "Soğuma"), ("Bütün kiracılar", None, "hayır"), ("Biter", None, "1 Tem 2026 12:00 UTC")]),
    ("finding", {"status": "OPEN"}, {"status": "RESOLVED"},
     [("State", "Open", "Resolved")], [("Durum", "Açık", "Çözüldü")]),
    ("finding", None, {"effect": "nothing_new", "detail": "known already"},
     [("Effect", None, "Nothing new"), ("Outcome", None, "Known already")],
     [("Etki", None, "Yeni bir şey yok"), ("Ayrıntı", None, "Zaten biliniyordu")]),
    ("monitor_decision", {"verdict": "ok"}, {"verdict": "high", "automatic": "hold, census"},
     [("Verdict", "Normal", "High"), ("Done by itself", None, "Hold the tenant, Take a census")],
     [("Hüküm", "Olağan", "Yüksek"), ("Kendiliğinden yapılan", None, "Kiracıyı beklet, Sayım yap")]),
    ("flag", {"value": None}, {"value": False, "holder": "<i>"},
     [("Value", None, "off"), ("For", None, "<i>")], [("Değer", None, "kapalı"), ("Kimin için", None, "<i>")]),
    # What nobody has heard of stays as it is, and so does a code that is new.
    ("thing", None, {"legacy_odd": "x_y", "verdict": "mild", "since": "yesterday"},
     [("legacy_odd", None, "x_y"), ("Verdict", None, "mild"), ("Since", None, "yesterday")],
     [("legacy_odd", None, "x_y"), ("Hüküm", None, "mild"), ("Başlangıcı", None, "yesterday")]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "before", "after", "english", "turkish"), SHOWN)
def test_changes_are_told_in_words(
    kind: str, before: State | None, after: State | None, english: list[Any], turkish: list[Any]
) -> None:
    for language, expected in (("en", english), ("tr", turkish)):
        found = changes.shown(deed(kind, before, after), language=language)  # type: ignore[arg-type]
        assert [(each.name, each.before, each.after) for each in found] == expected


@pytest.mark.parametrize("family", sorted({*changes.FAMILIES.values(), *changes.FAMILIES_OF_OBJECTS.values()}))
def test_words_of_codes_are_in_the_catalogue(family: str) -> None:
    assert any(key.startswith(f"{family}.") for key in text.catalogue("en"))


async def test_unknown_name_is_code_and_what_we_wrote_ourselves_is_no_quotation_of_a_person(
    http: httpx.AsyncClient, owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    await write(pools, tenant_id, kind=ActorKind.SYSTEM, reason="a sentence; of ours", after={"never_heard_of": 1})
    await write(pools, tenant_id, kind=ActorKind.SYSTEM, reason="the run did not find it any more")
    await write(pools, tenant_id, reason="theirs")
    page = (
        await (await console_browser.sign_in(http, owner, Role.VIEWER, tenant_id, language="tr")).get("/audit")
    ).text
    assert "<dt><code>never_heard_of</code></dt>" in page
    assert '<q lang="en">a sentence; of ours</q>' in page
    assert "Koşum bunu artık bulmadı" in page
    assert '<q class="reason">theirs</q>' in page
