"""Webhooks: what may be believed, what is kept, and that an event has its effect once, whatever breaks in between."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.app.domain.payments.psp_delivery import (
    RETRIES_AFTER,
    UNVERIFIED_PER_MINUTE_MAX,
    Delivery,
    InboxFull,
    UnknownProvider,
    WebhookSignatureInvalid,
)
from backend.app.psp import standard_webhooks
from backend.app.repositories.payments import psp_account_repo
from backend.app.services.payments.psp_inbox import PspInbox
from backend.tests import webhook_deliveries
from backend.tests.conftest import Server
from backend.tests.factories import Player, both, ledger_types, make_player, make_tenant, sides, unopened
from backend.tests.invariants import assert_sound
from backend.tests.psp_desk import ACME_SECRET, Desk, Told, account_of, open_desk, payment_id
from backend.tests.webhook_deliveries import ADYEN_KEY, MOCK_SECRET, MOCK_SECRET_OLD

NOW = datetime(2026, 1, 15, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
async def desk(server: Server) -> AsyncIterator[Desk]:
    database = server.create()
    async with open_desk(database) as opened:
        yield opened
    server.drop(database)


@pytest.fixture
async def enforced(desk: Desk) -> AsyncIterator[None]:
    await desk.enforce(True)
    yield
    await desk.enforce(None)


@pytest.fixture(autouse=True)
async def no_earlier_hints(desk: Desk) -> None:
    """The cap on unverified deliveries is the flood's alone."""
    await desk.owner.execute("DELETE FROM psp_events WHERE signature_status = 'unverified'")


@pytest.fixture
async def player(desk: Desk) -> Player:
    """A player whose tenant has its account at MockPSP."""
    tenant_id = await make_tenant(desk.owner)
    await desk.make_account(tenant_id, account_of(tenant_id))
    return await make_player(desk.owner, tenant_id)


@pytest.fixture
async def capture(desk: Desk, player: Player) -> Told:
    """A genuine capture of an open deposit."""
    deposit_id = await desk.open_deposit(player)
    return Told(type="deposit.captured", deposit_id=deposit_id, account=account_of(player.tenant_id))


# ---------------------------------------------------------------------------------------------------------------------
# Enforced
# ---------------------------------------------------------------------------------------------------------------------


BAD: dict[str, Any] = {
    "missing": lambda told: ({}, told.body, NOW),
    "wrong": lambda told: (told.signed(ACME_SECRET, at=NOW), told.body, NOW),
    "old": lambda told: (told.signed(at=NOW), told.body, NOW + timedelta(seconds=301)),
    "future": lambda told: (told.signed(at=NOW), told.body, NOW - timedelta(seconds=301)),
    "re-serialised": lambda told: (told.signed(at=NOW), json.dumps(json.loads(told.body), indent=1).encode(), NOW),
    "one byte more": lambda told: (told.signed(at=NOW), told.body + b" ", NOW),
    "rotated out": lambda told: (told.signed(webhook_deliveries.OTHERS["mockpsp"], at=NOW), told.body, NOW),
    "of another event": lambda told: (told.signed(at=NOW) | {"webhook-id": "evt_other"}, told.body, NOW),
    "not ASCII": lambda told: (told.signed(at=NOW) | {"webhook-signature": "v1,ÿþ½"}, told.body, NOW),
}


@pytest.mark.usefixtures("enforced")
@pytest.mark.parametrize("badness", BAD)
async def test_what_is_not_signed_is_refused_and_not_kept(
    desk: Desk, player: Player, capture: Told, badness: str
) -> None:
    headers, body, at = BAD[badness](capture)
    with pytest.raises(WebhookSignatureInvalid) as refusal:
        await desk.deliver(capture, headers=headers, body=body, at=at)
    assert refusal.value.detail == WebhookSignatureInvalid.title, "which check failed is not told"
    assert await desk.stored(capture.event_id) == 0
    assert await sides(desk.owner, player) == unopened(0)


@pytest.mark.usefixtures("enforced")
@pytest.mark.parametrize("seconds", [-300, 300])
async def test_signature_of_exactly_five_minutes_is_good(desk: Desk, capture: Told, seconds: int) -> None:
    receipt = await desk.deliver(capture, headers=capture.signed(at=NOW), at=NOW + timedelta(seconds=seconds))
    assert (await desk.row(receipt.event_id))["signature_status"] == "valid"


@pytest.mark.usefixtures("enforced")
@pytest.mark.parametrize("secrets", [(MOCK_SECRET,), (MOCK_SECRET_OLD,), (MOCK_SECRET_OLD, MOCK_SECRET)])
async def test_current_and_previous_secret_are_good(
    desk: Desk, player: Player, capture: Told, secrets: tuple[str, ...]
) -> None:
    await desk.inbox.apply([(await desk.deliver(capture, *secrets)).event_id])
    assert await sides(desk.owner, player) == both(10_00)
    await assert_sound(desk.owner, player.tenant_id)


@pytest.mark.usefixtures("enforced")
@pytest.mark.parametrize("junk", ["v1,junk {}", "{} v2,x", "v1a,zzz  {}", "garbage {}"])
async def test_junk_beside_a_good_token_does_no_harm(desk: Desk, capture: Told, junk: str) -> None:
    headers = capture.signed()
    token = headers["webhook-signature"]
    receipt = await desk.deliver(capture, headers=headers | {"webhook-signature": junk.format(token)})
    assert not receipt.is_duplicate


@pytest.mark.usefixtures("enforced")
async def test_account_with_a_secret_of_its_own_is_not_believed_by_the_shared_one(desk: Desk, player: Player) -> None:
    account = f"acme-{uuid4().hex}"
    await desk.make_account(player.tenant_id, account, secret_name="ACME")
    told = Told(type="deposit.captured", deposit_id=await desk.open_deposit(player), account=account)
    for where in (None, account):
        with pytest.raises(WebhookSignatureInvalid):
            await desk.deliver(told, MOCK_SECRET, account_id=where)
    await desk.inbox.apply([(await desk.deliver(told, ACME_SECRET)).event_id])
    assert await sides(desk.owner, player) == both(10_00)
    # And the other way round: ACME's secret speaks for nobody else's account.
    other = replace(told, account=account_of(player.tenant_id), event_id="evt_" + uuid4().hex)
    with pytest.raises(WebhookSignatureInvalid):
        await desk.deliver(other, ACME_SECRET)


@pytest.mark.usefixtures("enforced")
async def test_genuine_event_of_another_tenant_s_account_moves_nothing(desk: Desk, player: Player) -> None:
    stranger = await make_tenant(desk.owner)
    account = f"acme-{uuid4().hex}"
    await desk.make_account(stranger, account, secret_name="ACME")
    deposit_id = await desk.open_deposit(player)
    # Signed by the stranger's secret, for the stranger's account, about our player's deposit.
    told = Told(type="deposit.captured", deposit_id=deposit_id, account=account)
    receipt = await desk.deliver(told, ACME_SECRET)
    await desk.inbox.apply([receipt.event_id])
    assert await sides(desk.owner, player) == unopened(0)
    assert await desk.findings(player.tenant_id) == [("tenant_mismatch", "critical")]
    row = await desk.row(receipt.event_id)
    assert (row["effect"], row["tenant_id"]) == ("finding", stranger)
    # The shared secret, with an account that is nobody's, proves no more.
    claimed = Told(type="deposit.captured", deposit_id=deposit_id, account="mock_" + uuid4().hex)
    await desk.inbox.apply([(await desk.deliver(claimed)).event_id])
    assert await sides(desk.owner, player) == unopened(0)


# ---------------------------------------------------------------------------------------------------------------------
# Not enforced
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_headers", [False, True])
async def test_forged_capture_moves_nothing_and_the_provider_is_asked(
    desk: Desk, player: Player, has_headers: bool
) -> None:
    deposit_id = await desk.open_deposit(player)
    forged = Told(type="deposit.captured", deposit_id=deposit_id, account=account_of(player.tenant_id))
    desk.psp.truth[payment_id(deposit_id)] = replace(forged, type="deposit.pending").event
    # With headers it lacks nothing but the secret.
    receipt = await desk.deliver(forged, headers=forged.signed(ACME_SECRET) if has_headers else {})
    assert await desk.inbox.apply([receipt.event_id])
    assert desk.psp.asked[-1] == payment_id(deposit_id)
    assert await sides(desk.owner, player) == unopened(0)
    assert await desk.deposit_state(deposit_id) == "pending_provider"
    assert (await desk.row(receipt.event_id))["signature_status"] == "unverified"

    desk.psp.truth[payment_id(deposit_id)] = forged.event
    louder = replace(forged, amount=999_00)
    receipt = await desk.deliver(louder, headers=louder.signed(ACME_SECRET) if has_headers else {})
    assert await desk.inbox.apply([receipt.event_id])
    assert await sides(desk.owner, player) == both(10_00), "the truth, not what was said"
    await assert_sound(desk.owner, player.tenant_id)


async def test_forged_event_keeps_no_genuine_one_out(desk: Desk, player: Player, capture: Told) -> None:
    desk.psp.truth[payment_id(_id(capture))] = replace(capture, type="deposit.pending").event
    for _ in range(3):
        await desk.inbox.apply([(await desk.deliver(capture, headers={})).event_id])
    receipt = await desk.deliver(capture)
    assert not receipt.is_duplicate
    await desk.inbox.apply([receipt.event_id])
    assert await sides(desk.owner, player) == both(10_00)


async def test_hint_about_nothing_of_ours_asks_nobody(desk: Desk) -> None:
    asked = len(desk.psp.asked)
    for told in (
        Told(type="deposit.captured", deposit_id=uuid4(), account="a"),
        Told(type="payout.paid", deposit_id=None, account="a"),
    ):
        receipt = await desk.deliver(told, headers={})
        assert await desk.inbox.apply([receipt.event_id])
        assert (await desk.row(receipt.event_id))["state"] == "ignored"
    assert len(desk.psp.asked) == asked


async def test_flood_of_forgeries_fills_no_disk(desk: Desk) -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    big = b"x" * 200_000
    told = Told(type="deposit.captured", deposit_id=uuid4(), account="a")
    for _ in range(UNVERIFIED_PER_MINUTE_MAX):
        await desk.deliver(told, headers={}, body=big, at=at)
    with pytest.raises(InboxFull):
        await desk.deliver(told, headers={}, body=big, at=at)
    await desk.deliver(told, headers=told.signed(at=at), at=at)
    await desk.deliver(told, headers={}, body=big, at=at + timedelta(seconds=61))
    cursor = await desk.owner.execute(
        "SELECT max(length(body)), max(body_size) FROM psp_events WHERE signature_status = 'unverified'"
    )
    assert await cursor.fetchone() == (8 * 1024, 200_000)


@pytest.mark.parametrize(
    ("environment", "globally", "provider", "is_enforced", "is_enforced_elsewhere"),
    [
        (None, None, None, False, False),
        (True, None, None, True, True),
        (None, True, None, True, True),
        (True, False, None, False, False),
        (None, True, False, False, True),
        (None, False, True, True, False),
        (False, True, True, False, False),
    ],
)
async def test_provider_beats_global_beats_environment_and_the_kill_switch_beats_all(
    desk: Desk,
    environment: bool | None,
    globally: bool | None,
    provider: bool | None,
    is_enforced: bool,
    is_enforced_elsewhere: bool,
) -> None:
    try:
        await desk.enforce(environment, scope="environment", holder="1")
        await desk.enforce(globally, scope="global", holder="")
        await desk.enforce(provider)
        assert await _is_enforced(desk, "mockpsp") is is_enforced
        assert await _is_enforced(desk, "stripe") is is_enforced_elsewhere
    finally:
        for scope, holder in (("environment", "1"), ("global", ""), ("provider", "mockpsp")):
            await desk.enforce(None, scope=scope, holder=holder)


async def test_setting_of_a_provider_expires(desk: Desk) -> None:
    await desk.enforce(True)
    assert await _is_enforced(desk, "mockpsp")
    await desk.owner.execute("UPDATE flag_settings SET expires_at = now() WHERE scope = 'provider'")
    assert not await _is_enforced(desk, "mockpsp")
    await desk.enforce(None)


async def _is_enforced(desk: Desk, provider: str) -> bool:
    async with desk.pools.connection() as conn:
        candidates = await psp_account_repo.list_candidates(
            conn, provider=provider, account_ids=[], is_named_only=False, limit=1
        )
    return candidates.is_enforced


# ---------------------------------------------------------------------------------------------------------------------
# Once
# ---------------------------------------------------------------------------------------------------------------------


async def test_twenty_deliveries_at_once_are_one_event(desk: Desk, player: Player, capture: Told) -> None:
    receipts = await asyncio.gather(*(desk.deliver(capture) for _ in range(20)))
    assert sum(not receipt.is_duplicate for receipt in receipts) == 1
    assert len({receipt.event_id for receipt in receipts}) == 1
    applied = await asyncio.gather(*(desk.inbox.apply([receipt.event_id]) for receipt in receipts))
    assert sum(applied) == 1
    assert await ledger_types(desk.owner, player) == ["deposit_captured"]
    await assert_sound(desk.owner, player.tenant_id)


async def test_same_name_with_another_body_has_no_effect_and_is_a_finding(
    desk: Desk, player: Player, capture: Told
) -> None:
    other = replace(capture, type="deposit.refunded")
    first = await desk.deliver(capture)
    again = await desk.deliver(other)
    assert (again.is_duplicate, again.event_id) == (True, first.event_id)
    assert await desk.findings(player.tenant_id) == [("duplicate_event_body_differs", "high")]
    await desk.inbox.apply_due(limit=100)
    assert await sides(desk.owner, player) == both(10_00)
    assert await desk.deposit_state(_id(capture)) == "completed"
    assert await desk.stored(capture.event_id) == 1


async def test_body_that_cannot_be_read_is_kept_and_set_aside(desk: Desk) -> None:
    told = Told(type="deposit.captured", deposit_id=uuid4(), account=None)
    for body in (b"\xff\xfe not UTF-8 \x00", b"[]", b'{"type": "deposit.captured", "data": {}}'):
        event_id = "evt_" + uuid4().hex
        headers = standard_webhooks.sign(body, delivery_id=event_id, signed_at=datetime.now(UTC), secrets=[MOCK_SECRET])
        receipt = await desk.deliver(told, headers=headers, body=body)
        assert await desk.inbox.apply([receipt.event_id])
        row = await desk.row(receipt.event_id)
        assert (row["state"], bool(row["last_error"])) == ("quarantined", True)


async def test_event_that_we_do_not_map_is_ignored(desk: Desk) -> None:
    told = Told(type="account.updated", deposit_id=None, account="a")
    receipt = await desk.deliver(told)
    assert await desk.inbox.apply([receipt.event_id])
    assert (await desk.row(receipt.event_id))["state"] == "ignored"


async def test_payment_that_is_not_ours_is_a_finding_of_the_account_s_tenant(desk: Desk, player: Player) -> None:
    told = Told(type="deposit.captured", deposit_id=uuid4(), account=account_of(player.tenant_id))
    receipt = await desk.deliver(told)
    assert await desk.inbox.apply([receipt.event_id])
    row = await desk.row(receipt.event_id)
    assert (row["state"], row["effect"], row["tenant_id"]) == ("ignored", "orphan", player.tenant_id)
    assert await desk.findings(player.tenant_id) == [("orphan_webhook", "high")]


async def test_event_that_cannot_be_booked_is_tried_again_until_it_is_dead(
    desk: Desk, player: Player, capture: Told
) -> None:
    # Later than whatever is delivered below.
    now = datetime.now(UTC) + timedelta(minutes=1)
    inbox = PspInbox(desk.pools, deposits=desk.deposits, payouts=None, clock=lambda: now)
    receipt = await desk.deliver(capture)
    # The door refuses what would take a balance out of range, and takes it when that has been put right.
    await desk.owner.execute(
        "UPDATE players SET balance_real_available = 4000000000000000001 WHERE id = %s", (player.id,)
    )
    for attempt, wait in enumerate(RETRIES_AFTER, start=1):
        now += timedelta(milliseconds=1)
        assert not await inbox.apply([receipt.event_id])
        row = await desk.row(receipt.event_id)
        assert (row["state"], row["attempts"]) == ("pending", attempt)
        assert not await inbox.apply([receipt.event_id]), "not before its time"
        assert (await desk.row(receipt.event_id))["attempts"] == attempt
        now += wait
    assert not await inbox.apply([receipt.event_id])
    row = await desk.row(receipt.event_id)
    assert (row["state"], "balance_out_of_range" in row["last_error"]) == ("dead", True)
    assert await desk.deposit_state(_id(capture)) == "pending_provider"
    await desk.owner.execute("UPDATE players SET balance_real_available = 0 WHERE id = %s", (player.id,))
    assert await inbox.apply_due(limit=100) == 0, "what is dead stays so until somebody looks"


# ---------------------------------------------------------------------------------------------------------------------
# Other providers
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stripe", "adyen item", "adyen platform"])
async def test_other_schemes_are_verified_by_the_account_s_own_secret(desk: Desk, name: str) -> None:
    delivery = webhook_deliveries.GENUINE[name]
    await desk.enforce(True, holder=delivery.provider)
    tenant_id = await make_tenant(desk.owner)
    account = f"acct-{uuid4().hex}"
    given = Delivery(
        provider=delivery.provider,
        account_id=account,
        raw_body=delivery.raw_body,
        headers=delivery.headers,
        request_id=None,
        received_at=delivery.now,
    )
    with pytest.raises(UnknownProvider):
        await desk.webhooks.receive(given)
    await desk.make_account(tenant_id, account, provider=delivery.provider)
    with pytest.raises(WebhookSignatureInvalid):
        await desk.webhooks.receive(given)
    await desk.owner.execute(
        "UPDATE psp_accounts SET webhook_secret_name = %s WHERE account_id = %s",
        ("STRIPE" if delivery.provider == "stripe" else "ADYEN", account),
    )
    receipts = [await desk.webhooks.receive(given) for _ in range(2)]
    assert [receipt.is_duplicate for receipt in receipts] == [False, True]
    row = await desk.row(receipts[0].event_id)
    assert (row["account_id"], row["tenant_id"], row["signature_status"]) == (account, tenant_id, "valid")
    cursor = await desk.owner.execute("SELECT provider_event_id FROM psp_events WHERE id = %s", (receipts[0].event_id,))
    if delivery.event_id:
        assert await cursor.fetchone() == (delivery.event_id,)
    # On the address without an account the secret alone says whose it is.
    plain = await desk.webhooks.receive(replace(given, account_id=None))
    assert plain.event_id == receipts[0].event_id
    await desk.owner.execute("DELETE FROM psp_accounts WHERE account_id = %s", (account,))


async def test_each_item_of_a_batch_is_applied_and_a_forged_one_spoils_it(desk: Desk) -> None:
    await desk.enforce(True, holder="adyen")
    tenant_id = await make_tenant(desk.owner)
    await desk.make_account(tenant_id, "BatchAcct", provider="adyen", secret_name="ADYEN")
    players = [await make_player(desk.owner, tenant_id) for _ in range(2)]
    items = []
    for player in players:
        deposit_id = await desk.open_deposit(player)
        await desk.owner.execute(
            "UPDATE deposits SET provider = 'adyen', provider_ref = NULL WHERE id = %s", (deposit_id,)
        )
        signed = f"PSP{deposit_id.hex[:12].upper()}::BatchAcct:{deposit_id}:1000:USD:CAPTURE:true"
        signature = webhook_deliveries.hmac_base64(bytes.fromhex(ADYEN_KEY), signed.encode())
        items.append(webhook_deliveries.item(signed, signature))
    good = webhook_deliveries.standard_notification(*items, secret=ADYEN_KEY)
    forged = webhook_deliveries.standard_notification(
        items[0], items[1] | {"amount": {"value": 99_00, "currency": "USD"}}, secret=ADYEN_KEY
    )

    def given(raw_body: bytes) -> Delivery:
        return Delivery(
            provider="adyen",
            account_id=None,
            raw_body=raw_body,
            headers={},
            request_id=None,
            received_at=datetime.now(UTC),
        )

    with pytest.raises(WebhookSignatureInvalid):
        await desk.webhooks.receive(given(forged.raw_body))
    receipt = await desk.webhooks.receive(given(good.raw_body))
    assert await desk.inbox.apply([receipt.event_id])
    alone = webhook_deliveries.standard_notification(items[0], secret=ADYEN_KEY)
    assert await desk.inbox.apply([(await desk.webhooks.receive(given(alone.raw_body))).event_id])
    for player in players:
        assert await sides(desk.owner, player) == both(10_00)
    await assert_sound(desk.owner, tenant_id)
    await desk.owner.execute("DELETE FROM psp_accounts WHERE account_id = 'BatchAcct'")


def _id(told: Told) -> UUID:
    assert told.deposit_id is not None
    return told.deposit_id
