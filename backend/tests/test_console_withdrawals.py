"""Withdrawals at the console: queues, filters, deeds that are done once and to what was seen, many at once, CSV."""

import csv
import io
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import httpx
import pytest

from backend.app.console.live import BEATS_MAX
from backend.app.domain.identity import Role
from backend.tests import console_browser
from backend.tests.console_browser import Browser, words
from backend.tests.factories import both, make_player, make_tenant, new_key, sides
from backend.tests.finance_desk import AMOUNT, BALANCE, Desk
from backend.tests.invariants import assert_sound

LIST: Final = "/withdrawals"


@dataclass(slots=True, kw_only=True)
class Counter:
    """A desk with two people at the console."""

    desk: Desk
    http: httpx.AsyncClient
    finance: Browser
    approver: Browser

    async def act(self, tx_id: UUID, offered_as: str, *, by: Browser | None = None, **fields: Any) -> httpx.Response:
        """Send the form of a withdrawal's page for an action, as it stands there unless fields say otherwise."""
        browser = by or self.finance
        page = await browser.get(f"{LIST}/{tx_id}")
        assert page.status_code == 200, page.text
        given = {**form_of(page, offered_as), **fields}
        return await browser.send(f"{LIST}/{tx_id}/deed", given)


def form_of(page: httpx.Response, action: str) -> dict[str, Any]:
    """The fields of an action's form, with what a person would type."""
    for form in re.findall(r"<form\b.*?</form>", page.text, flags=re.DOTALL):
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
        if fields.get("action") == action:
            if 'name="evidence_ref"' in form:
                fields["evidence_ref"] = f"bank {new_key()}"
            if "required>" in form:
                fields["reason"] = "as agreed"
            return fields
    raise AssertionError(f"the page offers no {action}")


def offered(page: httpx.Response) -> list[str]:
    return re.findall(r'<input type="hidden" name="action" value="(\w+)"', page.text)


@pytest.fixture
async def counter(desk: Desk) -> Counter:
    http = desk.finance.http
    return Counter(
        desk=desk,
        http=http,
        finance=await console_browser.sign_in(http, desk.owner, Role.FINANCE, desk.tenant_id),
        approver=await console_browser.sign_in(http, desk.owner, Role.APPROVER, desk.tenant_id),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Deeds
# ---------------------------------------------------------------------------------------------------------------------


async def test_approve_and_pay_move_the_money_and_say_so(counter: Counter) -> None:
    desk = counter.desk
    tx_id = await desk.request()
    assert await sides(desk.owner, desk.player) == both(BALANCE - AMOUNT, AMOUNT)
    answer = await counter.act(tx_id, "approve")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/console/withdrawals/{tx_id}")
    page = await counter.finance.get(f"{LIST}/{tx_id}")
    assert "Done. The withdrawal is approved." in words(page)
    assert "Done. The withdrawal is approved." not in words(await counter.finance.get(f"{LIST}/{tx_id}")), "said once"
    assert (await counter.act(tx_id, "mark_paid")).status_code == 303
    page = await counter.finance.get(f"{LIST}/{tx_id}")
    assert "Done. The withdrawal is paid." in words(page)
    assert offered(page) == []
    for said in ("Requested", "Approved", "Attempt paid", "Withdrawal sent", "Withdrawal paid", counter.finance.email):
        assert said in words(page), said
    assert await desk.state(tx_id) == "paid"
    assert await sides(desk.owner, desk.player) == both(BALANCE - AMOUNT)
    await assert_sound(desk.owner, desk.tenant_id)


async def test_form_that_is_sent_twice_is_one_deed(counter: Counter) -> None:
    desk = counter.desk
    tx_id = await desk.request()
    form = form_of(await counter.finance.get(f"{LIST}/{tx_id}"), "approve")
    for _ in range(2):
        answer = await counter.finance.send(f"{LIST}/{tx_id}/deed", form)
        assert answer.status_code == 303
    cursor = await desk.owner.execute("SELECT count(*) FROM audit_events WHERE object_id = %s", (str(tx_id),))
    assert await cursor.fetchone() == (1,)


async def test_stale_action_shows_the_new_state_and_changes_nothing(counter: Counter) -> None:
    desk = counter.desk
    tx_id = await desk.request()
    old = form_of(await counter.approver.get(f"{LIST}/{tx_id}"), "reject")
    assert (await counter.act(tx_id, "approve")).status_code == 303
    before = await sides(desk.owner, desk.player)
    answer = await counter.approver.send(f"{LIST}/{tx_id}/deed", {**old, "reason": "typed long ago"})
    assert answer.status_code == 409
    said = words(answer)
    assert "Nothing was done." in said
    assert "somebody changed it since you looked" in said
    assert "It is now: Approved" in said
    assert await desk.state(tx_id) == "approved"
    assert await sides(desk.owner, desk.player) == before
    # The same wish, of the withdrawal as it is now, is another matter; what was typed is kept where it can be.
    assert "cancel" in offered(answer)


async def test_stale_version_is_refused_even_where_the_state_would_allow_it(counter: Counter) -> None:
    desk = counter.desk
    tx_id = await desk.into("failed")
    page = await counter.finance.get(f"{LIST}/{tx_id}")
    form = form_of(page, "cancel")
    answer = await counter.finance.send(f"{LIST}/{tx_id}/deed", {**form, "version": int(form["version"]) - 1})
    assert answer.status_code == 409
    assert await desk.state(tx_id) == "failed"


async def test_two_people_have_to_approve_a_large_one(counter: Counter) -> None:
    desk = counter.desk
    tx_id = await desk.request(60_00)
    assert (await counter.act(tx_id, "approve")).status_code == 303
    page = await counter.finance.get(f"{LIST}/{tx_id}")
    assert "It now needs the approval of a second person" in words(page)
    assert "approve" not in offered(page)
    assert "you approved first" in words(page), "what cannot be done is told with its reason"
    crafted = await counter.finance.send(f"{LIST}/{tx_id}/deed", {"action": "approve", "version": 2, "key": new_key()})
    assert crafted.status_code == 403
    assert await desk.state(tx_id) == "awaiting_second_approval"
    assert (await counter.act(tx_id, "approve", by=counter.approver)).status_code == 303
    assert await desk.state(tx_id) == "approved"


@pytest.mark.parametrize("action", ["reject", "cancel"])
async def test_reason_is_required_where_money_is_withheld(counter: Counter, action: str) -> None:
    desk = counter.desk
    tx_id = await desk.request()
    answer = await counter.act(tx_id, action, reason=" \n ")
    assert answer.status_code == 400
    assert "A reason is required." in words(answer)
    assert await desk.state(tx_id) == "requested"
    assert (await counter.act(tx_id, action, reason="because\nof  that")).status_code == 303
    page = await counter.finance.get(f"{LIST}/{tx_id}")
    assert "because of that" in page.text
    assert await sides(desk.owner, desk.player) == both(BALANCE)


async def test_manual_rail_needs_evidence_and_takes_it_once(counter: Counter) -> None:
    desk = counter.desk
    first, second = await desk.into("approved"), await desk.into("approved")
    assert (await counter.act(first, "mark_paid_manually", evidence_ref="  ")).status_code == 422
    assert await desk.state(first) == "approved"
    assert (await counter.act(first, "mark_paid_manually", evidence_ref="bank 4711")).status_code == 303
    again = await counter.act(second, "mark_paid_manually", evidence_ref="bank 4711")
    assert again.status_code == 409
    assert "This evidence was given for another withdrawal." in words(again)
    assert 'value="bank 4711"' in again.text, "what was typed is not lost"
    assert (await desk.state(first), await desk.state(second)) == ("paid", "approved")


async def test_failed_one_can_be_retried_or_given_up(counter: Counter) -> None:
    desk = counter.desk
    again, given_up = await desk.into("failed"), await desk.into("failed")
    assert offered(await counter.finance.get(f"{LIST}/{again}")) == ["cancel", "retry"]
    assert (await counter.act(again, "retry")).status_code == 303
    assert (await counter.act(given_up, "cancel")).status_code == 303
    assert (await desk.state(again), await desk.state(given_up)) == ("approved", "cancelled")
    await assert_sound(desk.owner, desk.tenant_id)


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "explode"},
        {"action": "payout_paid"},
        {"action": "approve_first"},
        {"version": "x"},
        {"version": ""},
        {"version": "1" * 30},
        {"reason": "x" * 1001},
        {"reason": "a\x00b"},
        {"evidence_ref": "belongs elsewhere"},
    ],
)
async def test_crafted_form_is_refused_and_does_nothing(counter: Counter, fields: dict[str, Any]) -> None:
    desk = counter.desk
    tx_id = await desk.request()
    answer = await counter.act(tx_id, "approve", **fields)
    assert answer.status_code == 422
    assert await desk.state(tx_id) == "requested"


async def test_form_without_a_key_is_refused(counter: Counter) -> None:
    tx_id = await counter.desk.request()
    for key in ("", " ", "é", "x" * 300):
        assert (await counter.act(tx_id, "approve", key=key)).status_code == 400
    assert await counter.desk.state(tx_id) == "requested"


# ---------------------------------------------------------------------------------------------------------------------
# Queues, filters, pages
# ---------------------------------------------------------------------------------------------------------------------


async def test_queues_tell_count_sum_and_age(counter: Counter) -> None:
    desk = counter.desk
    for _ in range(2):
        tx_id = await desk.request(12_34)
        await desk.owner.execute(
            "UPDATE withdrawals SET created_at = now() - INTERVAL '3 days' WHERE id = %s", (tx_id,)
        )
    euros = await make_player(desk.owner, desk.tenant_id, available=5_00, currency="EUR")
    await desk.request(5_00, player=euros)
    for path in ("", LIST, f"{LIST}/queues"):
        answer = await counter.finance.get(path)
        said = words(answer)
        assert "Needs review 3 3 d ago 5.00 EUR 24.68 USD" in said, path
        assert "Second approval 0 nothing waits" in said, path


async def test_queue_of_another_tenant_is_not_counted(counter: Counter) -> None:
    await counter.desk.request()
    stranger = await console_browser.sign_in(
        counter.http, counter.desk.owner, Role.FINANCE, await make_tenant(counter.desk.owner)
    )
    assert "Needs review 0 nothing waits" in words(await stranger.get(LIST))


def rows(page: httpx.Response) -> list[str]:
    """The ids of the withdrawals of a list, in order."""
    return re.findall(r'href="/console/withdrawals/([0-9a-f-]{36})" data-row', page.text)


async def test_filter_stands_in_the_address_and_is_applied(counter: Counter) -> None:
    desk = counter.desk
    small, large = await desk.request(5_00), await desk.request(45_00)
    await desk.owner.execute("UPDATE withdrawals SET created_at = '2026-03-01 12:00Z' WHERE id = %s", (small,))
    asked: list[tuple[dict[str, Any], list[UUID]]] = [
        ({}, [large, small]),
        ({"sort": "created_at"}, [small, large]),
        ({"sort": "amount"}, [small, large]),
        ({"state": "requested", "min_amount": "5,01"}, [large]),
        ({"max_amount": "5.00"}, [small]),
        ({"date_from": "2026-03-01", "date_to": "2026-03-01"}, [small]),
        ({"date_to": "2026-02-28"}, []),
        ({"currency": "usd", "player_id": str(desk.player.id)}, [large, small]),
        ({"currency": "EUR"}, []),
        ({"method": "nothing"}, []),
        ({"state": "paid"}, []),
    ]
    for query, expected in asked:
        page = await counter.finance.get(LIST, **query)
        assert rows(page) == [str(each) for each in expected], query
        for name, text in query.items():
            assert re.search(rf'name="{name}"[^>]*value="{re.escape(text)}"', page.text) or (
                f'<option value="{text}" selected>' in page.text
            ), name


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"min_amount": "1.234,56"}, "nothing between thousands"),
        ({"max_amount": "-5"}, "nothing between thousands"),
        ({"date_from": "yesterday"}, "Not a day"),
        ({"date_from": "2026-02-30"}, "Not a day"),
        ({"player_id": "x"}, "Not an id"),
        ({"currency": "XXQ"}, "Not a known currency"),
        ({"state": "gone"}, None),
        ({"after": "nonsense"}, None),
        ({"sort": "random"}, None),
    ],
)
async def test_filter_that_cannot_be_read_is_told_and_left_out(
    counter: Counter, query: dict[str, Any], problem: str | None
) -> None:
    tx_id = await counter.desk.request()
    page = await counter.finance.get(LIST, **query)
    assert page.status_code == 200
    assert rows(page) == [str(tx_id)]
    if problem is not None:
        assert problem in words(page)
        assert 'aria-invalid="true"' in page.text
        export = await counter.finance.get("/withdrawals.csv", **query)
        assert export.status_code == 422, "a file must not hold more than was asked for"


async def test_amounts_of_all_tenants_are_put_in_no_order(counter: Counter) -> None:
    everywhere = await console_browser.sign_in(counter.http, counter.desk.owner, Role.OWNER)
    page = await everywhere.get(LIST, sort="-amount", player_id=counter.desk.player.id)
    assert "By amount only within one tenant" in words(page)
    assert (await everywhere.get("/withdrawals.csv", sort="amount")).status_code == 422


async def test_pages_follow_each_other_without_gap_or_repetition(counter: Counter) -> None:
    desk = counter.desk
    made = []
    for number in range(120):
        tx_id = UUID(int=(number + 1) * 7919 + (desk.tenant_id.int >> 64 << 64))
        at = datetime(2026, 7, 1, tzinfo=UTC) + timedelta(minutes=number // 3)
        await desk.owner.execute(
            "INSERT INTO withdrawals (id, tenant_id, player_id, amount, currency, state, method, address, "
            "idempotency_key, request_hash, created_at, updated_at) "
            "VALUES (%s, %s, %s, 100, 'USD', 'rejected', 'bank', 'TR', %s, '', %s, %s)",
            (tx_id, desk.tenant_id, desk.player.id, new_key(), at, at),
        )
        made.append((at, tx_id))
    seen: list[str] = []
    path: str | None = f"{LIST}?state=rejected"
    while path is not None:
        page = await counter.finance.get(path)
        assert "120 withdrawals" in words(page)
        seen += rows(page)
        onward = re.search(r'rel="next" href="/console([^"]+)"', page.text)
        path = None if onward is None else onward[1].replace("&amp;", "&")
    assert seen == [str(tx_id) for _, tx_id in sorted(made, reverse=True)]


async def test_csv_is_the_whole_filter_and_is_audited(counter: Counter) -> None:
    desk = counter.desk
    kept = [await desk.request(1_00 + number, method="=cmd()") for number in range(3)]
    await desk.done(await desk.request(9_00), "reject")
    answer = await counter.finance.get("/withdrawals.csv", state="requested", sort="amount")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [line["tx_id"] for line in lines] == [str(tx_id) for tx_id in kept]
    assert {line["method"] for line in lines} == {"'=cmd()"}
    cursor = await desk.owner.execute(
        "SELECT actor_label, state_after ->> 'state' FROM audit_events "
        "WHERE action = 'withdrawals.exported' AND tenant_id = %s",
        (desk.tenant_id,),
    )
    assert await cursor.fetchall() == [(counter.finance.email, "requested")]


# ---------------------------------------------------------------------------------------------------------------------
# Many at once
# ---------------------------------------------------------------------------------------------------------------------


async def bulk(counter: Counter, action: str, chosen: list[str], **fields: Any) -> httpx.Response:
    return await counter.finance.send(f"{LIST}/bulk", {"action": action, "tx": chosen, **fields})


async def test_bulk_shows_the_sums_first_and_then_every_result(counter: Counter) -> None:
    desk = counter.desk
    good, large, gone = await desk.request(10_00), await desk.request(55_00), await desk.request(5_00)
    listed = await counter.finance.get(LIST)
    chosen = re.findall(r'name="tx" value="([^"]+)"', listed.text)
    assert len(chosen) == 3
    await desk.done(gone, "reject")
    first = await bulk(counter, "approve", chosen)
    assert first.status_code == 200
    # Only what can be done is counted and summed, and the rest is told with its reason.
    assert "Approve: 2 withdrawals" in words(first)
    assert "USD 65.00" in words(first)
    assert "1 cannot be done and is left out It changed since it was chosen: 1" in words(first)
    left = re.findall(r'type="hidden" name="tx" value="([^":]+):', first.text)
    assert sorted(left) == sorted([str(good), str(large)])
    assert " disabled" not in first.text
    assert await desk.state(good) == "requested", "nothing is done before it is confirmed"
    fields = dict(re.findall(r'<input type="hidden" name="(step|key|back)" value="([^"]*)"', first.text))
    assert fields["step"] == "confirmed"
    for _ in range(2):
        done = await bulk(counter, "approve", chosen, **fields)
        assert done.status_code == 200
        assert "2 of 3 were done." in words(done)
        assert "somebody changed it since you looked" in words(done)
    states = [await desk.state(tx_id) for tx_id in (good, large, gone)]
    assert states == ["approved", "awaiting_second_approval", "rejected"]
    await assert_sound(desk.owner, desk.tenant_id)


async def test_bulk_of_what_cannot_be_done_has_no_button_and_does_nothing(counter: Counter) -> None:
    desk = counter.desk
    paid, mine = await desk.into("approved"), await desk.request(55_00)
    assert (await counter.finance.send(f"{LIST}/bulk", {
        "action": "approve", "tx": [f"{mine}:1"], "step": "confirmed", "key": new_key()
    })).status_code == 200  # fmt: skip
    states = [await desk.state(tx_id) for tx_id in (paid, mine)]
    assert states == ["approved", "awaiting_second_approval"]
    cursor = await desk.owner.execute("SELECT id, version FROM withdrawals WHERE id = ANY(%s)", ([paid, mine],))
    chosen = [f"{tx_id}:{version}" for tx_id, version in await cursor.fetchall()]
    asked = await bulk(counter, "approve", chosen)
    said = words(asked)
    assert "Approve: 0 withdrawals" in said
    assert "None of these can be done" in said
    assert "Its state does not allow it: 1" in said
    assert "Two different people have to approve, and you approved first: 1" in said
    assert "In all" not in said
    assert re.search(r'<button class="btn btn-primary" type="submit" disabled>', asked.text)
    assert 'name="tx"' not in asked.text
    # A crafted confirmation does no harm either.
    done = await bulk(counter, "approve", chosen, step="confirmed", key=new_key())
    assert "0 of 2 were done." in words(done)
    assert [await desk.state(tx_id) for tx_id in (paid, mine)] == states
    await assert_sound(desk.owner, desk.tenant_id)


async def test_bulk_of_stale_versions_overwrites_nothing(counter: Counter) -> None:
    desk = counter.desk
    tx_id = await desk.into("failed")
    done = await bulk(counter, "cancel", [f"{tx_id}:1"], step="confirmed", reason="old", key=new_key())
    assert "0 of 1 were done." in words(done)
    assert await desk.state(tx_id) == "failed"


async def test_bulk_rejection_asks_for_a_reason_first(counter: Counter) -> None:
    desk = counter.desk
    tx_id = await desk.request()
    asked = await bulk(counter, "reject", [f"{tx_id}:1"], step="confirmed", key=new_key())
    assert 'name="reason"' in asked.text
    assert await desk.state(tx_id) == "requested"
    done = await bulk(counter, "reject", [f"{tx_id}:1"], step="confirmed", reason="no documents", key=new_key())
    assert "1 of 1 were done." in words(done)
    assert await desk.state(tx_id) == "rejected"


async def test_bulk_leaves_out_what_is_another_tenants(counter: Counter) -> None:
    desk = counter.desk
    tx_id = await desk.request()
    stranger = await console_browser.sign_in(counter.http, desk.owner, Role.FINANCE, await make_tenant(desk.owner))
    answer = await stranger.send(
        f"{LIST}/bulk", {"action": "approve", "tx": [f"{tx_id}:1"], "step": "confirmed", "key": new_key()}
    )
    assert "0 of 0 were done." in words(answer)
    assert await desk.state(tx_id) == "requested"


@pytest.mark.parametrize("chosen", [[], ["x:1"], ["00000000-0000-0000-0000-000000000000"], ["a" * 36 + ":1"]])
async def test_bulk_of_nothing_or_nonsense_is_refused(counter: Counter, chosen: list[str]) -> None:
    assert (await bulk(counter, "approve", chosen)).status_code in (404, 422)


# ---------------------------------------------------------------------------------------------------------------------
# Live parts
# ---------------------------------------------------------------------------------------------------------------------


async def test_live_part_tells_that_the_page_is_old(counter: Counter) -> None:
    desk = counter.desk
    tx_id = await desk.request()
    page = await counter.finance.get(f"{LIST}/{tx_id}")
    address = re.search(r'hx-get="/console([^"]+)" hx-trigger="load delay:15s"', page.text)
    assert address is not None
    live = address[1].replace("&amp;", "&")
    assert "has changed since you opened" not in words(await counter.finance.get(live))
    await desk.done(tx_id, "approve")
    part = await counter.finance.get(live)
    assert "has changed since you opened the page. It is now: Approved" in words(part)
    assert "seen=1" in part.text, "it goes on saying so until the page is loaded again"


async def test_live_parts_stop_by_themselves(counter: Counter) -> None:
    tx_id = await counter.desk.request()
    for path in ("/attention", f"{LIST}/queues", f"{LIST}/{tx_id}/live"):
        assert f"beat={BEATS_MAX}" in (await counter.finance.get(path, beat=BEATS_MAX - 1, seen=1)).text
        for beat in (BEATS_MAX, "x", "-1", "99999999"):
            part = await counter.finance.get(path, beat=beat, seen=1)
            assert part.status_code == 200
            assert "hx-get" not in part.text, path
            assert "No longer refreshing." in words(part), path


async def test_settled_withdrawal_is_not_asked_about_again(counter: Counter) -> None:
    tx_id = await counter.desk.into("paid")
    assert "hx-get" not in (await counter.finance.get(f"{LIST}/{tx_id}")).text


async def test_live_part_keeps_nobody_signed_in(counter: Counter) -> None:
    tx_id = await counter.desk.request()
    owner = counter.desk.owner
    for path in ("/attention", f"{LIST}/queues", f"{LIST}/{tx_id}/live"):
        await owner.execute(
            "UPDATE console_sessions SET seen_at = clock_timestamp() - INTERVAL '10 minutes' WHERE admin_id = %s",
            (counter.finance.admin_id,),
        )
        assert (await counter.finance.get(path)).status_code == 200
        cursor = await owner.execute(
            "SELECT seen_at < clock_timestamp() - INTERVAL '9 minutes' FROM console_sessions WHERE admin_id = %s",
            (counter.finance.admin_id,),
        )
        assert await cursor.fetchone() == (True,), path


async def test_looking_at_a_processing_one_asks_its_provider(counter: Counter) -> None:
    desk = counter.desk
    tx_id = await desk.into("processing")
    desk.provider.fate = "paid"
    page = await counter.finance.get(f"{LIST}/{tx_id}")
    assert "Processing" in words(page)
    assert await desk.state(tx_id) == "processing", "the page itself does not wait for a provider"
