"""The finance desk's API: finding withdrawals, acting once, acting on many, and taking everything home as CSV."""

import asyncio
import base64
import csv
import io
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from backend.app import sql
from backend.app.domain.audit import Actor, ActorKind
from backend.app.domain.csv_cells import text_cell
from backend.app.domain.identity import Role
from backend.app.domain.payments.finance import Sort, WithdrawalFilter
from backend.app.services.ledger_telemetry import MismatchRecorder
from backend.app.services.payments.finance import Finance
from backend.tests.api_client import REPLAYED
from backend.tests.factories import Owner, both, connect_owner, make_player, make_tenant, sides
from backend.tests.finance_desk import AMOUNT, AMOUNT_OF_TWO, BALANCE, FINANCE, Desk, reference
from backend.tests.fixtures import Caller, assert_problem
from backend.tests.invariants import assert_sound

OK = httpx.codes.OK


async def ids(caller: Caller, **query: Any) -> list[str]:
    """The ids of a list's page, in order."""
    response = await caller.get(FINANCE, **query)
    assert response.status_code == OK, response.text
    return [item["tx_id"] for item in response.json()["items"]]


async def make_rows(desk: Desk, **columns: list[Any]) -> list[UUID]:
    """Withdrawals with these columns, a minute apart; only for looking at."""
    made = []
    for number in range(len(next(iter(columns.values())))):
        tx_id = uuid4()
        values = {
            "amount": 10_00,
            "currency": "USD",
            "state": "requested",
            "method": "test_bank",
            "address": "TR00",
            **{name: column[number] for name, column in columns.items()},
        }
        await desk.owner.execute(
            "INSERT INTO withdrawals (id, tenant_id, player_id, amount, currency, state, method, address, "
            "idempotency_key, request_hash, created_at, updated_at) VALUES (%(id)s, %(tenant_id)s, %(player_id)s, "
            "%(amount)s, %(currency)s, %(state)s, %(method)s, %(address)s, %(id)s::TEXT, '', %(at)s, %(at)s)",
            {
                **values,
                "id": tx_id,
                "tenant_id": desk.tenant_id,
                "player_id": desk.player.id,
                "at": datetime(2026, 7, 1, tzinfo=UTC) + timedelta(minutes=number),
            },
        )
        made.append(tx_id)
    return made


# ---------------------------------------------------------------------------------------------------------------------
# Looking
# ---------------------------------------------------------------------------------------------------------------------


async def test_filters_let_through_what_they_say(desk: Desk) -> None:
    a, b, c, d = map(
        str,
        await make_rows(
            desk,
            amount=[10_00, 20_00, 20, 20_000],
            currency=["USD", "USD", "JPY", "KWD"],
            state=["requested", "rejected", "requested", "cancelled"],
            method=["card", "bank", "card", "card"],
        ),
    )
    stranger = await make_player(desk.owner, desk.tenant_id)
    for query, expected in (
        ({}, [d, c, b, a]),
        ({"state": "requested"}, [c, a]),
        ({"state": "requested", "method": "card", "currency": "USD"}, [a]),
        ({"player_id": desk.player.id}, [d, c, b, a]),
        ({"player_id": stranger.id}, []),
        ({"method": "bank"}, [b]),
        # Twenty of each currency, whatever its minor unit is.
        ({"min_amount": "20"}, [d, c, b]),
        ({"min_amount": "20.01"}, []),
        ({"max_amount": "19.999"}, [a]),
        ({"min_amount": "10.00", "max_amount": "10"}, [a]),
        ({"max_amount": "9999999999999999999"}, [d, c, b, a]),
        ({"min_amount": "9999999999999999999"}, []),
        ({"date_from": "2026-07-01T00:01:00Z", "date_to": "2026-07-01T00:03:00Z"}, [c, b]),
        ({"date_from": "2026-07-01", "date_to": "2026-07-01"}, [d, c, b, a]),
        ({"date_to": "2026-06-30"}, []),
        ({"sort": "created_at"}, [a, b, c, d]),
        ({"sort": "-amount"}, [d, b, a, c]),
        ({"sort": "amount"}, [c, a, b, d]),
    ):
        assert await ids(desk.finance, **query) == expected, query
        total = (await desk.finance.get(FINANCE, **query)).json()["meta"]["total"]
        assert total == len(expected), query


@pytest.mark.parametrize(
    "query",
    [
        {"state": "gone"},
        {"sort": "address"},
        {"min_amount": "-1"},
        {"min_amount": "1e3"},
        {"currency": "XXQ"},
        {"player_id": "x"},
        {"date_from": "yesterday"},
        {"cursor": "x"},
        {"cursor": "eHh4"},
        {"limit": "201"},
    ],
)
async def test_filters_that_make_no_sense_are_refused(desk: Desk, query: dict[str, str]) -> None:
    assert_problem(await desk.finance.get(FINANCE, **query), 422, "VALIDATION_ERROR")


@pytest.mark.parametrize("sort", ["-created_at", "created_at", "-amount", "amount"])
async def test_cursor_shows_each_once_while_rows_are_added(desk: Desk, sort: str) -> None:
    known = {str(tx_id) for tx_id in await make_rows(desk, amount=[500 + number // 3 for number in range(25)])}
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 4, "sort": sort} | ({} if cursor is None else {"cursor": cursor})
        document = (await desk.finance.get(FINANCE, **query)).json()
        seen += [item["tx_id"] for item in document["items"]]
        cursor = document["meta"]["next_cursor"]
        if cursor is None:
            break
        # Newer, older, larger and smaller than all that is listed.
        await make_rows(desk, amount=[1, 9_000_00])
    assert Counter(seen).most_common(1)[0][1] == 1
    assert known <= set(seen)
    assert_problem(
        await desk.finance.get(FINANCE, sort="amount" if "created" in sort else "created_at", cursor=_any_cursor(sort)),
        422,
        "VALIDATION_ERROR",
    )


def _any_cursor(sort: str) -> str:
    return base64.urlsafe_b64encode(f"{sort}|5|{uuid4()}".encode()).decode()


async def test_tenants_do_not_see_each_other(desk: Desk) -> None:
    tx_id = str(await desk.request())
    other_tenant = await make_tenant(desk.owner)
    stranger = await desk.people.admin(Role.FINANCE, other_tenant)
    owner = await desk.people.admin(Role.OWNER)
    assert await ids(stranger) == []
    assert await ids(stranger, tenant_id=desk.tenant_id) == []
    assert await ids(owner.about(other_tenant)) == []
    assert await ids(owner.about(desk.tenant_id)) == [tx_id]
    assert await ids(owner, tenant_id=desk.tenant_id) == [tx_id]
    assert tx_id in await ids(owner)


async def test_detail_tells_the_whole_story(desk: Desk) -> None:
    tx_id = await desk.request(AMOUNT_OF_TWO)
    await desk.done(tx_id, "approve")
    await desk.done(tx_id, "approve", by=desk.approver)
    desk.provider.fate = "refused"
    await desk.done(tx_id, "mark_paid")
    await desk.done(tx_id, "retry")
    desk.provider.fate = "paid"
    await desk.done(tx_id, "mark_paid")
    response = await desk.finance.get(f"{FINANCE}/{tx_id}")
    detail = response.json()
    assert [(entry["action"], entry["actor_label"]) for entry in detail["timeline"]] == [
        ("withdrawal.requested", str(desk.player.id)),
        ("withdrawal.first_approved", desk.finance.email),
        ("withdrawal.approved", desk.approver.email),
        ("withdrawal.dispatched", desk.finance.email),
        ("withdrawal.failed", "payouts"),
        ("withdrawal.retried", desk.finance.email),
        ("withdrawal.dispatched", desk.finance.email),
        ("withdrawal.paid", "payouts"),
    ]
    states = [(entry["before"] or {}).get("state") for entry in detail["timeline"]][1:]
    assert states == [entry["after"]["state"] for entry in detail["timeline"]][:-1], "each begins where one ended"
    assert [attempt["state"] for attempt in detail["attempts"]] == ["failed", "paid"]
    assert [attempt["reference"] for attempt in detail["attempts"]] == [reference(tx_id, 1), reference(tx_id, 2)]
    assert [row["type"] for row in detail["ledger"]] == [
        "withdraw_requested", "withdraw_dispatched", "payout_failed", "withdraw_dispatched", "withdraw_paid",
    ]  # fmt: skip
    assert detail["allowed_actions"] == []
    assert response.headers["etag"] == f'"{detail["version"]}"' == '"8"'


# ---------------------------------------------------------------------------------------------------------------------
# Acting once
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "action"),
    [
        ("requested", "approve"),
        ("requested", "reject"),
        ("requested", "cancel"),
        ("approved", "mark_paid"),
        ("approved", "mark_paid_manually"),
        ("failed", "retry"),
        ("failed", "cancel"),
    ],
)
async def test_repeated_deed_with_its_key_is_done_once_and_answered_alike(desk: Desk, state: str, action: str) -> None:
    tx_id = await desk.into(state)
    key = f"key-{tx_id}"
    responses = await asyncio.gather(*(desk.act(tx_id, action, key=key) for _ in range(5)))
    assert {response.status_code for response in responses} == {OK}
    assert Counter(response.headers.get(REPLAYED) for response in responses) == {None: 1, "true": 4}
    first = responses[0].json()
    after = await sides(desk.owner, desk.player)
    # Whatever happened since, the answer is the one that was given.
    if action == "approve":
        await desk.done(tx_id, "cancel")
    elif action == "mark_paid":
        await desk.observe(desk.provider.settle(reference(tx_id), "returned"))
    later = await desk.act(tx_id, action, key=key)
    assert (later.status_code, later.headers[REPLAYED]) == (OK, "true")
    assert _without_actions(later.json()) == _without_actions(first)
    assert {str(_without_actions(response.json())) for response in responses} == {str(_without_actions(first))}
    assert_problem(await desk.act(tx_id, action), httpx.codes.CONFLICT, "INVALID_STATE_TRANSITION")
    if action not in ("approve", "mark_paid"):
        assert await sides(desk.owner, desk.player) == after
    await assert_sound(desk.owner, desk.tenant_id)


def _without_actions(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer["transaction"].items() if name != "allowed_actions"}


async def test_concurrent_mark_paid_with_a_key_calls_the_provider_once(desk: Desk) -> None:
    tx_id = await desk.into("approved")
    key = "the-same"
    responses = await asyncio.gather(*(desk.act(tx_id, "mark_paid", key=key) for _ in range(6)))
    assert {response.status_code for response in responses} == {OK}
    assert desk.provider.calls == 1
    assert await sides(desk.owner, desk.player) == both(60_00)


async def test_key_stands_for_one_content_of_one_operation(desk: Desk) -> None:
    one, two = await desk.request(20_00), await desk.request(30_00)
    key = '"quoted"'
    assert (await desk.act(one, "approve", key=key)).status_code == OK
    for tx_id, action in ((one, "reject"), (two, "approve")):
        assert_problem(await desk.act(tx_id, action, key=key), httpx.codes.CONFLICT, "IDEMPOTENCY_KEY_REUSE_CONFLICT")
    # The same key of another operation is another key.
    assert (await desk.act(two, "cancel", key=key)).status_code == OK
    assert (await desk.act(one, "mark_paid", key="quoted")).status_code == OK
    bad = await desk.act(one, "approve", key="no spaces allowed")
    assert_problem(bad, httpx.codes.BAD_REQUEST, "IDEMPOTENCY_KEY_REQUIRED")


async def test_one_key_on_two_withdrawals_at_once_is_for_one_of_them(desk: Desk) -> None:
    pair = [await desk.request(20_00), await desk.request(30_00)]
    responses = await asyncio.gather(*(desk.act(tx_id, "approve", key="both") for tx_id in pair))
    assert sorted(response.status_code for response in responses) == [OK, httpx.codes.CONFLICT]
    assert Counter([await desk.state(tx_id) for tx_id in pair]) == {"approved": 1, "requested": 1}


async def test_refused_deed_does_not_use_up_its_key(desk: Desk) -> None:
    tx_id = await desk.request()
    key = "patient"
    assert_problem(await desk.act(tx_id, "mark_paid", key=key), httpx.codes.CONFLICT, "INVALID_STATE_TRANSITION")
    await desk.done(tx_id, "approve")
    response = await desk.act(tx_id, "mark_paid", key=key)
    assert (response.status_code, response.headers.get(REPLAYED)) == (OK, None)


async def test_deed_that_died_before_its_answer_is_answered_when_it_is_repeated(desk: Desk) -> None:
    tx_id = await desk.into("approved")
    key = "again"
    desk.provider.gate = asyncio.Event()
    dying = asyncio.create_task(desk.act(tx_id, "mark_paid", key=key))
    await asyncio.wait_for(desk.provider.asked.wait(), 20)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    desk.provider.gate = None
    await desk.owner.execute(
        "UPDATE payout_attempts SET created_at = created_at - INTERVAL '2 minutes' WHERE withdrawal_id = %s", (tx_id,)
    )
    again = await desk.act(tx_id, "mark_paid", key=key)
    assert (again.status_code, again.json()["transaction"]["state"]) == (OK, "paid")
    assert list(desk.provider.payouts) == [reference(tx_id)]
    await assert_sound(desk.owner, desk.tenant_id)


async def test_what_was_seen_may_be_said_and_is_held_against_what_is(desk: Desk) -> None:
    tx_id = await desk.request()
    path = f"{FINANCE}/{tx_id}/review"
    etag = (await desk.finance.get(f"{FINANCE}/{tx_id}")).headers["etag"]
    stale = await desk.finance.post(path, {"action": "approve", "version": 2})
    problem = assert_problem(stale, httpx.codes.CONFLICT, "INVALID_STATE_TRANSITION")
    assert (problem["from_state"], problem["to_state"], problem["version"]) == ("requested", "approved", 1)
    for bad in ('"x"', '"1", "2"', "99999999999"):
        assert_problem(
            await desk.finance.post(path, {"action": "approve"}, **{"If-Match": bad}), 422, "VALIDATION_ERROR"
        )
    assert_problem(
        await desk.finance.post(path, {"action": "approve", "version": 2}, **{"If-Match": etag}),
        422,
        "VALIDATION_ERROR",
    )
    assert (await desk.finance.post(path, {"action": "approve"}, **{"If-Match": etag})).status_code == OK
    late = await desk.finance.post(f"{FINANCE}/{tx_id}/cancel", {"reason": "x"}, **{"If-Match": etag})
    assert_problem(late, httpx.codes.CONFLICT, "INVALID_STATE_TRANSITION")
    assert await desk.state(tx_id) == "approved"


async def test_each_deed_is_audited_with_before_and_after(desk: Desk) -> None:
    tx_id = await desk.request()
    await desk.act(tx_id, "reject")
    cursor = await desk.owner.execute(
        "SELECT action, actor_id, reason, state_before ->> 'state', state_after ->> 'state', tenant_id "
        "FROM audit_events WHERE object_kind = 'withdrawal' AND object_id = %s",
        (str(tx_id),),
    )
    assert await cursor.fetchall() == [
        ("withdrawal.rejected", desk.finance.id, "documents missing", "requested", "rejected", desk.tenant_id)
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Many
# ---------------------------------------------------------------------------------------------------------------------


async def test_bulk_does_each_on_its_own(desk: Desk) -> None:
    good, done = await desk.request(10_00), await desk.request(11_00)
    await desk.done(done, "reject")
    foreign = await desk.request(player=await make_player(desk.owner, await make_tenant(desk.owner), available=BALANCE))
    asked = [good, done, foreign, good, uuid4()]
    response = await desk.finance.post(
        f"{FINANCE}/bulk", {"action": "approve", "tx_ids": [str(each) for each in asked]}
    )
    assert response.status_code == OK, response.text
    results = response.json()["results"]
    assert [(result["tx_id"], result["ok"], result.get("error_code")) for result in results] == [
        (str(good), True, None),
        (str(done), False, "INVALID_STATE_TRANSITION"),
        (str(foreign), False, "TX_NOT_FOUND"),
        (str(asked[4]), False, "TX_NOT_FOUND"),
    ]
    assert results[0]["transaction"]["state"] == "approved"
    assert [await desk.state(each) for each in (good, done, foreign)] == ["approved", "rejected", "requested"]


async def test_bulk_pays_many_and_four_eyes_hold_for_each(desk: Desk) -> None:
    small, large = await desk.request(), await desk.request(AMOUNT_OF_TWO)
    body = {"tx_ids": [str(small), str(large)], "reason": "friday"}
    for caller, states in (
        (desk.finance, ["approved", "awaiting_second_approval"]),
        (desk.finance, ["approved", "awaiting_second_approval"]),
        (desk.approver, ["approved", "approved"]),
    ):
        await caller.post(f"{FINANCE}/bulk", {"action": "approve", **body})
        assert [await desk.state(each) for each in (small, large)] == states
    paid = await desk.finance.post(f"{FINANCE}/bulk", {"action": "mark_paid", **body}, **{"Idempotency-Key": "k"})
    assert [result["transaction"]["state"] for result in paid.json()["results"]] == ["paid", "paid"]
    again = await desk.finance.post(f"{FINANCE}/bulk", {"action": "mark_paid", **body}, **{"Idempotency-Key": "k"})
    assert again.json()["results"] == paid.json()["results"]
    assert desk.provider.calls == 2
    assert await sides(desk.owner, desk.player) == both(BALANCE - AMOUNT - AMOUNT_OF_TWO)
    await assert_sound(desk.owner, desk.tenant_id)


@pytest.mark.parametrize(
    "body",
    [
        {"action": "approve", "tx_ids": []},
        {"action": "approve", "tx_ids": [str(uuid4()) for _ in range(201)]},
        {"action": "approve", "tx_ids": ["x"]},
        {"action": "mark_paid_manually", "tx_ids": [str(uuid4())]},
        {"tx_ids": [str(uuid4())]},
    ],
)
async def test_bulk_that_makes_no_sense_is_refused(desk: Desk, body: dict[str, Any]) -> None:
    assert_problem(await desk.finance.post(f"{FINANCE}/bulk", body), 422, "VALIDATION_ERROR")


# ---------------------------------------------------------------------------------------------------------------------
# Taking it home
# ---------------------------------------------------------------------------------------------------------------------


async def export(caller: Caller, **query: Any) -> list[dict[str, str]]:
    response = await caller.get(f"{FINANCE}.csv", **query)
    assert response.status_code == OK, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.text, newline="")))


HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", 'a"b,c', "line\nbreak", "ünïcode €", "plain", "'quoted"]


async def test_export_keeps_a_spreadsheet_from_computing(desk: Desk) -> None:
    made = await make_rows(desk, address=HOSTILE, amount=[20] * len(HOSTILE), currency=["JPY"] * len(HOSTILE))
    lines = {line["tx_id"]: line for line in await export(desk.finance)}
    for tx_id, address in zip(made, HOSTILE, strict=True):
        line = lines[str(tx_id)]
        assert line["address"] == (f"'{address}" if address[0] in "=+-@\t\r" else address)
        assert (line["amount"], line["amount_minor"], line["currency"]) == ("20", "20", "JPY")


def test_only_what_is_taken_for_a_formula_gets_its_apostrophe() -> None:
    assert [text_cell(text) for text in ("=a", "a=", "", None)] == ["'=a", "a=", "", ""]


async def test_export_is_the_whole_filtered_set_and_audited(desk: Desk) -> None:
    await desk.owner.execute(
        "INSERT INTO withdrawals (id, tenant_id, player_id, amount, currency, state, method, address, idempotency_key, "
        "request_hash, created_at, updated_at) SELECT gen_random_uuid(), %s, %s, no, 'USD', 'requested', 'test', '', "
        "no::TEXT, '', now() - no %% 7 * INTERVAL '1 second', now() FROM generate_series(1, 1203) AS no",
        (desk.tenant_id, desk.player.id),
    )
    lines = await export(desk.finance, min_amount="0.02", sort="-amount")
    assert [int(line["amount_minor"]) for line in lines] == list(range(1203, 1, -1))
    assert len(await export(desk.finance)) == 1203
    assert await export(desk.finance, state="paid") == []
    stranger = await desk.people.admin(Role.FINANCE, await make_tenant(desk.owner))
    assert await export(stranger) == []
    cursor = await desk.owner.execute(
        "SELECT actor_id, state_after FROM audit_events WHERE tenant_id = %s AND action = 'withdrawals.exported' "
        "ORDER BY id",
        (desk.tenant_id,),
    )
    assert (await cursor.fetchall())[0] == (desk.finance.id, {"min_amount": "0.02", "sort": "-amount"})


async def test_export_is_of_one_moment(desk: Desk) -> None:
    await make_rows(desk, amount=[number + 1 for number in range(501)])
    finance = Finance(
        desk.pools, desk.payouts, MismatchRecorder(desk.pools, is_enabled=False), four_eyes_threshold=None
    )
    actor = Actor(kind=ActorKind.ADMIN, actor_id=desk.finance.id, label=desk.finance.email)
    pages = await finance.export(desk.tenant_id, asked=WithdrawalFilter(), sort=Sort.SMALLEST, actor=actor)
    first = await anext(pages)
    # The last one is rejected and a larger one comes while the file is being written.
    await desk.owner.execute(
        "UPDATE withdrawals SET state = 'rejected' WHERE tenant_id = %s AND amount = 501", (desk.tenant_id,)
    )
    await make_rows(desk, amount=[9_000_00])
    rest = [withdrawal async for page in pages for withdrawal in page]
    assert (len(first), [(each.amount, each.state.value) for each in rest]) == (500, [(501, "requested")])


# ---------------------------------------------------------------------------------------------------------------------
# How it is found
# ---------------------------------------------------------------------------------------------------------------------

OPEN_FILTER: dict[str, Any] = dict.fromkeys(
    ("tenant_id", "asked_tenant_id", "state", "player_id", "method", "currency", "least_amount", "greatest_amount",
     "least_amounts", "greatest_amounts", "date_from", "date_to", "last_at", "last_id", "last_amount")
)  # fmt: skip


async def test_pages_are_read_by_index(new_database: Any) -> None:
    """In a table of many tenants and strangers: no page reads much more than it shows."""
    async with connect_owner(new_database()) as owner:
        tenants = [await make_tenant(owner) for _ in range(4)]
        await owner.execute(
            "INSERT INTO withdrawals (id, tenant_id, player_id, amount, currency, state, method, address, "
            "idempotency_key, request_hash, created_at, updated_at) "
            "SELECT uuid_v7(), (%s::UUID[])[1 + no %% 4], md5((no %% 500)::TEXT)::UUID, no %% 1000 + 1, 'USD', "
            "CASE WHEN no %% 400 < 4 THEN 'requested' ELSE 'rejected' END, "
            "CASE WHEN no %% 800 < 4 THEN 'rare' ELSE 'card' END, '', no::TEXT, '', "
            "now() - no * INTERVAL '1 second', now() FROM generate_series(1, 60000) AS no",
            (tenants,),
        )
        await owner.execute("ANALYZE withdrawals")
        tenant = {"tenant_id": tenants[0]}
        player = {"player_id": (await _one(owner, "SELECT md5('8')::UUID"))}
        now = await _one(owner, "SELECT now() - INTERVAL '9 hours'")
        for query, given, index in (
            ("list_newest_ids", {}, "withdrawals_created_index"),
            ("list_newest_ids", tenant, "withdrawals_tenant_index"),
            ("list_oldest_ids", tenant, "withdrawals_tenant_index"),
            ("list_newest_ids", {**tenant, "last_at": now, "last_id": uuid4()}, "withdrawals_tenant_index"),
            ("list_newest_ids", {**tenant, "date_from": now}, "withdrawals_tenant_index"),
            ("list_newest_ids", {**tenant, "state": "requested"}, "withdrawals_state_index"),
            ("list_newest_ids", {**tenant, "method": "rare"}, "withdrawals_method_index"),
            ("list_newest_ids", {**tenant, **player}, "withdrawals_player_index"),
            ("list_largest_ids", tenant, "withdrawals_amount_index"),
            ("list_smallest_ids", {**tenant, "last_amount": 500, "last_id": uuid4()}, "withdrawals_amount_index"),
            ("list_largest_ids", {**tenant, "greatest_amount": 100}, "withdrawals_amount_index"),
        ):
            text = getattr(sql.load("withdrawal"), query)
            values = {**OPEN_FILTER, **given, "limit": 50, "offset": 0}
            cursor = await owner.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + text, values, prepare=False)
            plan = (await cursor.fetchall())[0][0][0]["Plan"]
            scans = [node for node in nodes(plan) if "Relation Name" in node]
            assert [node["Relation Name"] for node in scans] == ["withdrawals"]
            assert scans[0].get("Index Name") == index, (query, given, scans)
            read = scans[0]["Actual Rows"] + scans[0].get("Rows Removed by Filter", 0)
            assert read <= 500, (query, given, scans)


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan] + [node for child in plan.get("Plans", ()) for node in nodes(child)]


async def _one(owner: Owner, query: str) -> Any:
    row = await (await owner.execute(query)).fetchone()
    assert row is not None
    return row[0]
