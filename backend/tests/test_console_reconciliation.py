"""Reconciliation at the console: findings by a filter, what is done and to what was seen, runs, and four eyes."""

import csv
import io
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import pytest

from backend.app.domain.identity import Role
from backend.app.domain.reconciliation.finding_csv import COLUMNS
from backend.app.psp.mockpsp import MockPsp
from backend.app.repositories.database import Database as Pools
from backend.tests import console_browser
from backend.tests.conftest import Database
from backend.tests.console_browser import Browser, words
from backend.tests.factories import Owner, make_tenant, sides
from backend.tests.invariants import assert_sound
from backend.tests.reconciliation_world import PROVIDER, World, make_world, serving

LIST: Final = "/reconciliation"
RUNS: Final = f"{LIST}/runs"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A tenant with something to find, and those who look after it at the console."""

    world: World
    http: httpx.AsyncClient
    recon: Browser
    finance: Browser
    approver: Browser

    async def finding(self, finding_type: str) -> UUID:
        """The one finding of a type, after a run."""
        await self.world.run()
        return await self.world.finding_id(finding_type)

    async def missing(self) -> UUID:
        """A finding about a deposit that the provider does not list."""
        await self.world.drop(await self.world.deposit(1))
        return await self.finding("missing_in_psp")

    async def act(
        self,
        finding_id: UUID,
        deed: str,
        *,
        by: Browser | None = None,
        page: httpx.Response | None = None,
        **typed: Any,
    ) -> httpx.Response:
        """Send the form of a finding's page, as it stands there, with what a person types."""
        browser = by or self.recon
        seen = page or await browser.get(f"{LIST}/findings/{finding_id}")
        return await browser.send(f"{LIST}/findings/{finding_id}/deed", {**form_of(seen, deed), **typed})

    async def row(self, finding_id: UUID) -> tuple[Any, ...]:
        """(status, code, note, who looks after it)."""
        cursor = await self.world.owner.execute(
            "SELECT status, resolution_code, resolution_note, assigned_to FROM reconciliation_findings WHERE id = %s",
            (finding_id,),
        )
        row = await cursor.fetchone()
        assert row is not None
        return tuple(row)


def form_of(page: httpx.Response, action: str) -> Row:
    """The hidden fields of an action's form."""
    for form in re.findall(r"<form\b.*?</form>", page.text, flags=re.DOTALL):
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
        if fields.get("action") == action:
            return fields
    raise AssertionError(f"the page offers no {action}")


def offered(page: httpx.Response) -> list[str]:
    return re.findall(r'<input type="hidden" name="action" value="(\w+)"', page.text)


def listed(page: httpx.Response) -> set[str]:
    """The findings of a list."""
    return set(re.findall(r'href="/console/reconciliation/findings/([0-9a-f-]{36})" data-row', page.text))


@pytest.fixture(scope="module")
async def client(own_database: Database, psp: MockPsp) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(own_database, psp) as made:
        yield made


@pytest.fixture
async def office(own_owner: Owner, own_pools: Pools, psp: MockPsp, client: httpx.AsyncClient) -> AsyncIterator[Office]:
    client.cookies.clear()
    async with make_world(own_owner, own_pools, psp, players=3) as world:
        recon, finance, approver = [
            await console_browser.sign_in(client, own_owner, role, world.tenant_id)
            for role in (Role.RECON, Role.FINANCE, Role.APPROVER)
        ]
        yield Office(world=world, http=client, recon=recon, finance=finance, approver=approver)


# ---------------------------------------------------------------------------------------------------------------------
# One finding
# ---------------------------------------------------------------------------------------------------------------------


async def test_both_sides_stand_beside_each_other_and_the_difference_is_marked(office: Office) -> None:
    ids = await office.world.deposit(1)
    await office.world.alter(ids, "amount = amount + 1")
    finding_id = await office.finding("amount_mismatch")
    page = await office.recon.get(f"{LIST}/findings/{finding_id}")
    said = words(page)
    assert "Provider and ledger have different amounts." in said
    assert "Amount 10.00 USD Differs: 10.01 USD" in said
    assert "Status succeeded succeeded" in said
    assert re.search(r'<tr class="differs">\s*<th scope="row">Amount', page.text)
    assert not re.search(r'<tr class="differs">\s*<th scope="row">Status', page.text)
    assert f'href="/console/players/{office.world.players[0].id}"' in page.text
    turkish = await office.recon.get(f"{LIST}/findings/{finding_id}", headers={"Accept-Language": "tr"})
    assert "Sağlayıcı ile defterde tutarlar farklı." in words(turkish)
    assert "10,01 USD" in words(turkish)


async def test_finding_is_resolved_with_code_and_note_and_opened_again(office: Office) -> None:
    finding_id = await office.missing()
    assert str(finding_id) in listed(await office.recon.get(LIST))
    done = await office.act(finding_id, "resolve", code="PSP_CORRECTED", note="they  found it")
    assert (done.status_code, done.headers["location"]) == (303, f"/console/reconciliation/findings/{finding_id}")
    page = await office.recon.get(f"{LIST}/findings/{finding_id}")
    assert "Done. The finding is resolved." in words(page)
    assert await office.row(finding_id) == ("RESOLVED", "PSP_CORRECTED", "they found it", None)
    assert offered(page) == ["reopen", "note"]
    assert listed(await office.recon.get(LIST)) == set()
    assert listed(await office.recon.get(LIST, status="RESOLVED")) == {str(finding_id)}
    assert (await office.act(finding_id, "reopen", note="they did not")).status_code == 303
    assert await office.row(finding_id) == ("OPEN", None, None, None)
    assert listed(await office.recon.get(LIST)) == {str(finding_id)}
    history = words(await office.recon.get(f"{LIST}/findings/{finding_id}"))
    assert history.index("Opened again") < history.index("they did not") < history.index("they found it")


@pytest.mark.parametrize(
    ("deed", "typed"),
    [
        ("resolve", {"code": "TIMING", "note": " "}),
        ("resolve", {"code": "", "note": "why"}),
        ("resolve", {"code": "AUTO_CLEARED", "note": "why"}),
        ("note", {"note": ""}),
        ("note", {"note": "x" * 2001}),
        ("assign", {"assigned_to": str(uuid4())}),
        ("assign", {"assigned_to": "nobody at all"}),
        ("adjust", {"player_amount": "0", "clearing_amount": "", "note": "why"}),
        ("adjust", {"player_amount": "ten", "note": "why"}),
        ("adjust", {"player_amount": "1.234", "note": "why"}),
    ],
)
async def test_form_that_says_too_little_does_nothing_and_shows_the_finding(
    office: Office, deed: str, typed: Row
) -> None:
    finding_id = await office.missing()
    answer = await office.act(finding_id, deed, **typed)
    assert answer.status_code == 422
    assert "Nothing was done." in words(answer)
    assert await office.row(finding_id) == ("OPEN", None, None, None)
    cursor = await office.world.owner.execute(
        "SELECT count(*) FROM audit_events WHERE tenant_id = %s AND object_kind = 'finding'", (office.world.tenant_id,)
    )
    assert await cursor.fetchone() == (0,)


async def test_deed_to_what_has_changed_shows_it_as_it_is_now(office: Office) -> None:
    finding_id = await office.missing()
    path = f"{LIST}/findings/{finding_id}"
    old = await office.recon.get(path)
    assert (await office.act(finding_id, "assign", by=office.finance, assigned_to="me")).status_code == 303
    late = await office.act(finding_id, "resolve", page=old, code="OTHER", note="mine")
    assert late.status_code == 409
    assert "changed the finding since you looked" in words(late)
    assert office.finance.email in words(late)
    assert (await office.row(finding_id))[0] == "OPEN"
    # What was typed is not lost, and goes through from the page as it is now.
    assert ">mine</textarea>" in late.text
    assert (await office.act(finding_id, "resolve", page=late, code="OTHER", note="mine")).status_code == 303
    live = await office.recon.get(f"{path}/live", seen=form_of(old, "note")["version"])
    assert "has changed since you opened the page. It is now: Resolved" in words(live)


async def test_finding_is_given_to_somebody_and_to_nobody(office: Office) -> None:
    finding_id = await office.missing()
    page = await office.recon.get(f"{LIST}/findings/{finding_id}")
    people = re.findall(r'<option value="([^"]+)"[^>]*>([^<]+@[^<]+)</option>', page.text)
    assert [email for _, email in people] == [office.finance.email], "an approver works on no findings"
    await office.act(finding_id, "assign", assigned_to=office.finance.admin_id)
    assert (await office.row(finding_id))[3] == office.finance.admin_id
    assert listed(await office.finance.get(LIST, assigned="me")) == {str(finding_id)}
    assert listed(await office.recon.get(LIST, assigned="me")) == set()
    assert listed(await office.recon.get(LIST, assigned="nobody")) == set()
    await office.act(finding_id, "assign", assigned_to="")
    assert listed(await office.recon.get(LIST, assigned="nobody")) == {str(finding_id)}


async def test_replay_asks_the_provider_and_says_what_came_of_it(office: Office) -> None:
    await office.world.deposit(1, method="mock:pending")
    finding_id = await office.finding("missing_in_ledger")
    page = await office.recon.get(f"{LIST}/findings/{finding_id}")
    assert offered(page)[0] == "replay", "what the sentence suggests comes first"
    assert (await office.act(finding_id, "replay", page=page)).status_code == 303
    assert "State and ledger" not in words(page)
    after = words(await office.recon.get(f"{LIST}/findings/{finding_id}"))
    assert "The provider answered; state and ledger followed." in after
    assert "Provider was asked again" in after
    await office.world.run()
    assert (await office.row(finding_id))[:2] == ("RESOLVED", "AUTO_CLEARED")
    assert "Gone by itself" in words(await office.recon.get(f"{LIST}/findings/{finding_id}"))
    await assert_sound(office.world.owner, office.world.tenant_id)


async def test_adjustment_takes_two_people(office: Office) -> None:
    await office.world.deposit(1, method="mock:short_by_one")
    finding_id = await office.finding("amount_mismatch")
    player = office.world.players[0]
    before = await sides(office.world.owner, player)
    assert (await office.act(finding_id, "close", note="the provider is right")).status_code == 303
    page = await office.recon.get(f"{LIST}/findings/{finding_id}")
    assert "Nothing moves until somebody else approves." in words(page)
    (adjustment_id,) = re.findall(r'href="/console/adjustments/([0-9a-f-]{36})"', page.text)
    path = f"/adjustments/{adjustment_id}"
    again = await office.act(finding_id, "close", note="again")
    assert (again.status_code, "proposed to close it before" in words(again)) == (409, True)
    own = await office.recon.get(path)
    assert offered(own) == ["reject"]
    assert "somebody else has to approve" in words(own)
    forged = await office.recon.send(f"{path}/decision", {"action": "approve"})
    assert (forged.status_code, "Two different people" in words(forged)) == (403, True)
    assert await sides(office.world.owner, player) == before
    assert "−0.01 USD" in words(await office.approver.get("/adjustments", status="proposed"))
    assert offered(await office.approver.get(path)) == ["approve", "reject"]
    approved = await office.approver.send(f"{path}/decision", {"action": "approve", "note": "as agreed"})
    assert approved.status_code == 303
    assert "Approved and carried out." in words(await office.approver.get(path))
    late = await office.finance.send(f"{path}/decision", {"action": "reject"})
    assert (late.status_code, "It is now: Carried out" in words(late)) == (409, True)
    after = await sides(office.world.owner, player)
    assert after.legacy_available - before.legacy_available == 9_99
    assert (await office.row(finding_id))[:2] == ("RESOLVED", "FIXED_ADJUSTMENT")
    # Who may approve sees what is to be approved, and not the finding behind it.
    assert f"findings/{finding_id}" not in (await office.approver.get(path)).text
    assert (await office.approver.get(f"{LIST}/findings/{finding_id}")).status_code == 403
    await assert_sound(office.world.owner, office.world.tenant_id)


@pytest.mark.parametrize(("typed", "minor"), [("-1.50", -150), ("−1,50", -150), ("2", 200)])
async def test_amounts_of_an_adjustment_are_read_as_people_type_them(office: Office, typed: str, minor: int) -> None:
    finding_id = await office.missing()
    assert (await office.act(finding_id, "adjust", player_amount=typed, note="why")).status_code == 303
    cursor = await office.world.owner.execute(
        "SELECT player_amount, clearing_amount, reason FROM ledger_adjustments WHERE finding_id = %s", (finding_id,)
    )
    assert await cursor.fetchall() == [(minor, 0, "why")]


# ---------------------------------------------------------------------------------------------------------------------
# The list
# ---------------------------------------------------------------------------------------------------------------------


async def test_board_counts_what_is_open_by_severity_and_type(office: Office) -> None:
    ids = await office.world.deposit(3)
    await office.world.drop(ids[:2])
    await office.world.alter(ids[2:], "amount = amount + 1")
    await office.world.run()
    board = words(await office.recon.get(f"{LIST}/board"))
    assert re.search(r"Critical 1 oldest .* Amounts differ 1 High 2 oldest .* Missing at the provider 2", board)
    assert "Last run Completed" in board
    page = await office.recon.get(LIST, severity="critical")
    assert len(listed(page)) == 1
    assert "1 finding " in words(page)
    assert len(listed(await office.recon.get(LIST, severity="high", type="missing_in_psp"))) == 2
    assert listed(await office.recon.get(LIST, age="1d")) == set()
    assert len(listed(await office.recon.get(LIST, tx=ids[0]))) == 1
    assert listed(await office.recon.get(LIST, provider="nobody")) == set()


async def test_list_goes_on_where_its_page_ends(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.app.console.reconciliation.ROWS", 2)
    ids = await office.world.deposit(5)
    await office.world.drop(ids)
    await office.world.run()
    seen: list[str] = []
    path = f"{LIST}?type=missing_in_psp"
    while True:
        page = await office.recon.get(path)
        seen += sorted(listed(page))
        after = re.search(r'rel="next" href="/console([^"]+)"', page.text)
        if after is None:
            break
        path = after[1].replace("&amp;", "&")
        assert "type=missing_in_psp" in path
    assert (len(seen), len(set(seen))) == (5, 5)


async def test_what_cannot_be_read_of_an_address_is_said_and_left_out(office: Office) -> None:
    finding_id = await office.missing()
    page = await office.recon.get(LIST, severity="dreadful", age="9d", tx="x", assigned="who", status="?", before="y")
    assert page.status_code == 200
    assert listed(page) == {str(finding_id)}
    assert words(page).count("Not one of the choices") == 3
    assert words(page).count("Not an id") == 2
    export = await office.recon.get(f"{LIST}.csv", severity="dreadful")
    assert export.status_code == 422, "a file must not hold more than was asked for"


async def test_export_is_the_whole_of_the_filter_and_is_audited(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.app.console.reconciliation.ROWS", 1)
    ids = await office.world.deposit(3)
    await office.world.drop(ids)
    await office.world.run()
    finding_id = sorted(listed(await office.recon.get(LIST)))[0]
    await office.act(UUID(finding_id), "resolve", code="OTHER", note="=1+1")
    answer = await office.recon.get(f"{LIST}.csv", status="any", type="missing_in_psp")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert tuple(rows[0]) == COLUMNS
    assert {row["tx_id"] for row in rows} == {str(each) for each in ids}
    assert sorted(row["resolution_note"] for row in rows) == ["", "", "'=1+1"]
    assert len(list(csv.DictReader(io.StringIO((await office.recon.get(f"{LIST}.csv")).text)))) == 2
    cursor = await office.world.owner.execute(
        "SELECT count(*) FROM audit_events WHERE tenant_id = %s AND action = 'finding.exported' AND actor_id = %s",
        (office.world.tenant_id, office.recon.admin_id),
    )
    assert await cursor.fetchone() == (2,)


# ---------------------------------------------------------------------------------------------------------------------
# Runs
# ---------------------------------------------------------------------------------------------------------------------


async def test_run_is_asked_for_and_shows_what_it_compared(office: Office) -> None:
    ids = await office.world.deposit(3)
    await office.world.drop(ids[:1])
    asked = await office.recon.send(RUNS, {"provider": PROVIDER, "full": "yes"})
    assert asked.status_code == 303, asked.text
    path = asked.headers["location"].removeprefix("/console")
    waiting = await office.recon.get(path)
    assert "Queued" in words(waiting)
    assert "/live?beat=1" in waiting.text, "it refreshes itself until it has ended"
    busy = await office.finance.send(RUNS, {"provider": PROVIDER})
    assert busy.status_code == 409
    assert "is going on already" in words(busy)
    assert f'href="/console{path}"' in busy.text
    await office.world.reconciliation.execute(UUID(path.rpartition("/")[2]))
    done = await office.recon.get(path)
    assert "hx-get" not in done.text
    said = words(done)
    assert "Completed" in said
    assert "Lines 2 2 equal" in said
    assert "Sum in USD 20.03 20.03 equal" in said
    assert "Missing at the provider 1 1 0 0" in said
    assert "From the beginning" in said
    assert listed(await office.recon.get(LIST, run=path.rpartition("/")[2])) != set()
    overview = words(await office.recon.get(RUNS))
    assert re.search(r"Completed From the beginning mockpsp .* 2 Complete 2 1", overview)


@pytest.mark.parametrize(
    "fields",
    [
        {"provider": "nobody"},
        {"provider": ""},
        {"provider": PROVIDER, "date_from": "yesterday"},
        {"provider": PROVIDER, "date_from": "2026-02-01", "date_to": "2026-01-01"},
        {"provider": PROVIDER, "date_from": "1999-01-01"},
        {"provider": PROVIDER, "date_to": "9999-12-31"},
    ],
)
async def test_what_cannot_be_run_is_refused_and_starts_nothing(office: Office, fields: Row) -> None:
    answer = await office.recon.send(RUNS, fields)
    assert answer.status_code in (400, 422)
    assert "Nothing was done." in words(answer)
    cursor = await office.world.owner.execute(
        "SELECT count(*) FROM reconciliation_runs WHERE tenant_id = %s", (office.world.tenant_id,)
    )
    assert await cursor.fetchone() == (0,)


async def test_run_is_of_ones_own_tenant_whatever_the_form_says(office: Office) -> None:
    stranger_id = await make_tenant(office.world.owner)
    asked = await office.recon.send(RUNS, {"provider": PROVIDER, "tenant_id": stranger_id, "dry_run": "yes"})
    cursor = await office.world.owner.execute(
        "SELECT tenant_id, is_dry_run, started_by FROM reconciliation_runs WHERE id = %s",
        (UUID(asked.headers["location"].rpartition("/")[2]),),
    )
    assert await cursor.fetchone() == (office.world.tenant_id, True, office.recon.email)
