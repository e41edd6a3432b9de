"""Which balance decides, seen by a player over HTTP, and what is written down when the two differ."""

from collections.abc import Callable
from uuid import UUID

import httpx
import prometheus_client
import pytest

from backend.app.domain.mismatch import MismatchClass
from backend.app.repositories.database import Database as Pools
from backend.app.services.ledger_telemetry import mismatch_counter
from backend.tests.api_client import REPLAYED, WalletClient, serving
from backend.tests.conftest import Database
from backend.tests.factories import (
    Owner,
    Player,
    Sides,
    both,
    connect_owner,
    count,
    deposit,
    ledger_types,
    make_player,
    make_tenant,
    open_pools,
    post,
    set_enforce,
    set_global,
    set_legacy,
    sides,
    unopened,
)
from backend.tests.invariants import assert_sound


def mismatches_counted(tenant_id: UUID, mismatch_class: MismatchClass) -> tuple[int, float]:
    """How often this process counted the class: in its counter, and in the sample that Prometheus reads."""
    sample = prometheus_client.REGISTRY.get_sample_value(
        "ledger_balance_mismatch_total", {"tenant": str(tenant_id), "mismatch_class": mismatch_class.value}
    )
    return mismatch_counter[(tenant_id, mismatch_class)], sample or 0.0


async def mismatch_rows(owner: Owner, player: Player) -> list[tuple[object, ...]]:
    cursor = await owner.execute(
        "SELECT class, arbiter, legacy_available, ledger_available, occurrences FROM ledger_mismatches "
        "WHERE player_id = %s ORDER BY class",
        (player.id,),
    )
    return await cursor.fetchall()


def refused(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error_code"]


async def test_enforced_without_a_wallet_refuses_and_writes_down_what_legacy_would_have_said(
    owner: Owner, http: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(owner, enforce_override=True)
    player = await make_player(owner, tenant_id, available=100_00)
    client = WalletClient(http=http, player=player)
    assert await client.balance() == ("0.00", "0.00"), "what the arbiter does not know of is not there"

    response = await client.withdraw("80.00")

    assert refused(response) == (400, "INSUFFICIENT_FUNDS")
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["available_real"] == "0.00"
    assert await sides(owner, player) == unopened(100_00)
    assert [await count(owner, table, player) for table in ("withdrawals", "ledger_transactions")] == [0, 0]
    cursor = await owner.execute(
        "SELECT code, amount, legacy_ok, ledger_ok, arbiter, wallet_opened FROM ledger_refusals WHERE player_id = %s",
        (player.id,),
    )
    assert await cursor.fetchall() == [("insufficient_funds", 80_00, True, False, "ledger", False)]
    assert mismatches_counted(tenant_id, MismatchClass.MISSING_WALLET) == (1, 1.0)
    assert await mismatch_rows(owner, player) == [("missing_wallet", "ledger", 100_00, 0, 1)]


async def test_enforced_refusal_replays_and_counts_once(owner: Owner, http: httpx.AsyncClient) -> None:
    tenant_id = await make_tenant(owner, enforce_override=True)
    player = await make_player(owner, tenant_id, available=100_00)
    client = WalletClient(http=http, player=player)
    first = await client.withdraw("80.00", key="late")
    assert (await client.deposit("50.00")).status_code == httpx.codes.CREATED
    again = await client.withdraw("80.00", key="late")
    assert refused(first) == refused(again) == (400, "INSUFFICIENT_FUNDS")
    assert (REPLAYED in first.headers, again.headers.get(REPLAYED)) == (False, "true")
    assert again.json()["available_real"] == "0.00", "the refusal as it was then"
    assert mismatches_counted(tenant_id, MismatchClass.MISSING_WALLET) == (1, 1.0)
    assert await sides(owner, player) == both(150_00)
    assert (await client.withdraw("80.00", key="new")).status_code == httpx.codes.CREATED
    assert await sides(owner, player) == both(70_00, 80_00)
    await assert_sound(owner, tenant_id)


async def test_enforced_credit_opens_the_wallet_from_the_legacy_balance_first(
    owner: Owner, http: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(owner, enforce_override=True)
    player = await make_player(owner, tenant_id, available=100_00)
    client = WalletClient(http=http, player=player)
    assert (await client.deposit("5.00")).json()["balance"]["available_real"] == "105.00"
    assert await ledger_types(owner, player) == ["opening_balance", "deposit_captured"]
    assert await sides(owner, player) == both(105_00)
    assert (await client.withdraw("105.00")).status_code == httpx.codes.CREATED
    assert await client.balance() == ("0.00", "105.00")
    await assert_sound(owner, tenant_id)


@pytest.mark.parametrize("legacy", [0, 79_99, 1_000_000_00])
async def test_enforced_ignores_what_stands_in_the_legacy_column(
    owner: Owner, pools: Pools, http: httpx.AsyncClient, legacy: int
) -> None:
    tenant_id = await make_tenant(owner, enforce_override=True)
    player = await make_player(owner, tenant_id)
    await post(pools, deposit(player, 100_00))
    await set_legacy(owner, player, available=legacy)
    client = WalletClient(http=http, player=player)
    assert (await client.withdraw("80.00")).status_code == httpx.codes.CREATED
    assert await sides(owner, player) == both(20_00, 80_00), "the legacy column was put right"
    assert refused(await client.withdraw("80.00")) == (400, "INSUFFICIENT_FUNDS")
    await assert_sound(owner, tenant_id)


async def test_not_enforced_pays_from_the_legacy_balance_and_the_shadow_goes_below_zero(
    owner: Owner, pools: Pools, http: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(owner)
    player = await make_player(owner, tenant_id)
    await post(pools, deposit(player, 1), deposit(player, 1))
    await set_legacy(owner, player, available=100_00)

    response = await WalletClient(http=http, player=player).withdraw("80.00")

    assert response.status_code == httpx.codes.CREATED
    assert response.json()["balance"] == {
        "currency": "USD", "available_real": "20.00", "held_real": "80.00", "total_real": "100.00"
    }  # fmt: skip
    assert await sides(owner, player) == Sides(20_00, 80_00, 2 - 80_00, 80_00)
    assert mismatches_counted(tenant_id, MismatchClass.AVAILABLE_DIFF) == (1, 1.0)
    assert await mismatch_rows(owner, player) == [("available_diff", "legacy", 100_00, 2, 1)]
    await assert_sound(owner, tenant_id, with_legacy=False)


async def test_hot_wallet_fills_one_evidence_row(owner: Owner, pools: Pools, http: httpx.AsyncClient) -> None:
    tenant_id = await make_tenant(owner)
    player = await make_player(owner, tenant_id)
    await post(pools, deposit(player, 1))
    await set_legacy(owner, player, available=100_00)
    client = WalletClient(http=http, player=player)
    for _ in range(5):
        await client.withdraw("1.00")
    assert mismatches_counted(tenant_id, MismatchClass.AVAILABLE_DIFF) == (5, 5.0)
    assert await mismatch_rows(owner, player) == [("available_diff", "legacy", 96_00, 1 - 4_00, 5)]


async def test_difference_of_the_held_side_is_a_class_of_its_own(
    owner: Owner, pools: Pools, http: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(owner)
    player = await make_player(owner, tenant_id)
    await post(pools, deposit(player, 100_00))
    await set_legacy(owner, player, available=100_00, held=5)
    await WalletClient(http=http, player=player).withdraw("1.00")
    assert mismatches_counted(tenant_id, MismatchClass.PENDING_DIFF) == (1, 1.0)
    assert mismatches_counted(tenant_id, MismatchClass.AVAILABLE_DIFF) == (0, 0.0)


async def test_sides_that_agree_count_nothing(owner: Owner, http: httpx.AsyncClient) -> None:
    tenant_id = await make_tenant(owner)
    client = WalletClient(http=http, player=await make_player(owner, tenant_id, available=100_00))
    await client.withdraw("80.00")
    await client.withdraw("80.00")
    assert [mismatches_counted(tenant_id, each) for each in MismatchClass] == [(0, 0.0)] * 3
    assert await mismatch_rows(owner, client.player) == []


async def test_switched_off_mismatch_log_counts_nothing(new_database: Callable[..., Database]) -> None:
    database = new_database()
    async with connect_owner(database) as owner, serving(database, ledger_balance_mismatch_log=False) as http:
        tenant_id = await make_tenant(owner, enforce_override=True)
        player = await make_player(owner, tenant_id, available=100_00)
        assert refused(await WalletClient(http=http, player=player).withdraw("80.00")) == (400, "INSUFFICIENT_FUNDS")
        assert [mismatches_counted(tenant_id, each) for each in MismatchClass] == [(0, 0.0)] * 3
        assert await mismatch_rows(owner, player) == []
        assert await count(owner, "ledger_refusals", player) == 1


async def test_flip_between_two_requests_changes_who_decides_and_loses_nothing(
    owner: Owner, http: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(owner)
    client = WalletClient(http=http, player=await make_player(owner, tenant_id, available=100_00))
    assert (await client.withdraw("10.00")).status_code == httpx.codes.CREATED
    for enforce, left in ((True, "80.00"), (False, "70.00"), (True, "60.00"), (None, "50.00")):
        await set_enforce(owner, tenant_id, enforce)
        response = await client.withdraw("10.00")
        assert response.json()["balance"]["available_real"] == left
    assert await sides(owner, client.player) == both(50_00, 50_00)
    cursor = await owner.execute(
        "SELECT arbiter, epoch FROM ledger_transactions WHERE player_id = %s AND type = 'withdraw_requested' "
        "ORDER BY wallet_version",
        (client.player.id,),
    )
    assert await cursor.fetchall() == [("legacy", 0), ("ledger", 1), ("legacy", 2), ("ledger", 3), ("legacy", 4)]
    await assert_sound(owner, tenant_id)


async def test_balance_is_told_by_the_arbiter(owner: Owner, pools: Pools, http: httpx.AsyncClient) -> None:
    tenant_id = await make_tenant(owner)
    player = await make_player(owner, tenant_id)
    await post(pools, deposit(player, 100_00))
    await set_legacy(owner, player, available=7_00, held=3_00)
    client = WalletClient(http=http, player=player)
    assert await client.balance() == ("7.00", "3.00")
    await set_enforce(owner, tenant_id, True)
    assert await client.balance() == ("100.00", "0.00")


async def test_global_enforcement_binds_tenants_without_an_override(new_database: Callable[..., Database]) -> None:
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        await set_global(owner, "ledger_enforce_balance", True)
        follower, exception = await make_tenant(owner), await make_tenant(owner, enforce_override=False)
        for tenant_id, arbiter in ((follower, "ledger"), (exception, "legacy")):
            (result,) = await post(pools, deposit(await make_player(owner, tenant_id), 1))
            assert result.arbiter == arbiter
