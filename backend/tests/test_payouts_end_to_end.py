"""Money in and out through MockPSP, as players and finance see it: real processes, real webhooks, every scenario."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
import pytest

from backend.app.domain.identity import Role
from backend.app.domain.payments.payment_method import SCENARIOS
from backend.tests.api_client import JWT_SECRET, WalletClient
from backend.tests.conftest import Database
from backend.tests.factories import Owner, Player, both, connect_owner, eventually, ledger_types, make_player, sides
from backend.tests.fixtures import Caller, People
from backend.tests.invariants import assert_sound
from backend.tests.processes import ServeProcess, running_service

FINANCE: Final = "/finance/withdrawals"
CREATED, OK, CONFLICT = 201, 200, 409
SECRETS: Final = {
    "WEBHOOK_SECRET_MOCKPSP": "whsec_bW9ja3BzcC10ZXN0LXNlY3JldC0zMi1ieXRlcy1hYWE=",
    "WEBHOOK_SECRET_MOCKPSP_PREVIOUS": "whsec_bW9ja3BzcC1vbGQtc2VjcmV0LS0zMi1ieXRlcy1iYmI=",
}

PAID: Final = ["opening_balance", "withdraw_requested", "withdraw_dispatched", "withdraw_paid"]
# What becomes of a withdrawal of 40.00 out of 100.00 in each scenario: state, (available, held), findings.
WITHDRAWALS: Final[dict[str | None, tuple[str, tuple[int, int], set[str]]]] = {
    None: ("paid", (60_00, 0), set()),
    "decline": ("failed", (60_00, 40_00), set()),
    "timeout_created": ("paid", (60_00, 0), set()),
    "timeout_never": ("paid", (60_00, 0), set()),
    "paid_then_returned": ("returned", (100_00, 0), set()),
    "duplicate_webhooks": ("paid", (60_00, 0), set()),
    "reversed_webhooks": ("paid", (60_00, 0), set()),
    "no_webhook": ("paid", (60_00, 0), set()),
    "early_webhook": ("paid", (60_00, 0), set()),
    "bad_signature_first": ("paid", (60_00, 0), set()),
    "old_timestamp": ("paid", (60_00, 0), set()),
    "old_secret": ("paid", (60_00, 0), set()),
    "pending": ("paid", (60_00, 0), set()),
    "same_id_other_body": ("paid", (60_00, 0), {"duplicate_event_body_differs"}),
    # Less money left than was asked for, or another currency's: a person has to look before anything is released.
    "short_by_one": ("processing", (60_00, 40_00), {"amount_mismatch"}),
    "other_currency": ("processing", (60_00, 40_00), {"currency_mismatch"}),
}
# The same for a deposit of 25.00.
DEPOSITS: Final[dict[str | None, tuple[str, int, set[str]]]] = {
    None: ("completed", 25_00, set()),
    "decline": ("failed", 0, set()),
    "timeout_created": ("completed", 25_00, set()),
    # The provider never had it. Nobody is owed anything, and it is asked about less and less often.
    "timeout_never": ("pending_provider", 0, set()),
    "paid_then_returned": ("refunded", 0, set()),
    "duplicate_webhooks": ("completed", 25_00, set()),
    "reversed_webhooks": ("completed", 25_00, set()),
    "no_webhook": ("completed", 25_00, set()),
    "early_webhook": ("completed", 25_00, set()),
    "bad_signature_first": ("completed", 25_00, set()),
    "old_timestamp": ("completed", 25_00, set()),
    "old_secret": ("completed", 25_00, set()),
    "pending": ("completed", 25_00, set()),
    "same_id_other_body": ("completed", 25_00, {"duplicate_event_body_differs"}),
    "short_by_one": ("pending_provider", 0, {"amount_mismatch"}),
    "other_currency": ("pending_provider", 0, {"currency_mismatch"}),
}


class House:
    """A running service with a tenant and its finance staff."""

    def __init__(self, owner: Owner, http: httpx.AsyncClient, tenant_id: UUID, finance: Caller) -> None:
        self.owner = owner
        self.http = http
        self.tenant_id = tenant_id
        self.finance = finance

    async def player(self, available: int = 0) -> tuple[Player, WalletClient]:
        """A player with a legacy balance, in minor units, and what they ask with."""
        player = await make_player(self.owner, self.tenant_id, available=available)
        return player, WalletClient(http=self.http, player=player)

    async def begin_payout(self, client: WalletClient, *, method: str) -> str:
        """Request 40.00, approve it and have it paid; the withdrawal's id."""
        asked = await client.withdraw("40.00", method=method)
        assert asked.status_code == CREATED, asked.text
        tx_id = str(asked.json()["transaction"]["id"])
        approved = await self.finance.post(f"{FINANCE}/{tx_id}/review", {"action": "approve"})
        assert approved.status_code == OK, approved.text
        marked = await self.finance.post(f"{FINANCE}/{tx_id}/mark-paid", {})
        assert marked.status_code == OK, marked.text
        assert marked.json()["transaction"]["state"] in ("paid", "processing", "failed")
        return tx_id

    async def hurry(self) -> None:
        """Everything that waits for its next look at the provider is due now."""
        await self.owner.execute("UPDATE payout_attempts SET next_check_at = now() WHERE next_check_at > now()")
        await self.owner.execute("UPDATE deposits SET next_check_at = now() WHERE next_check_at > now()")

    async def findings(self, tx_id: str) -> set[str]:
        """The types of the findings about a payment."""
        cursor = await self.owner.execute("SELECT finding_type FROM reconciliation_findings WHERE tx_id = %s", (tx_id,))
        return {str(row[0]) for row in await cursor.fetchall()}

    async def until_delivered(self) -> None:
        """Return when MockPSP has nothing left to tell, and everything that it told was applied."""

        async def is_quiet() -> bool:
            cursor = await self.owner.execute(
                "SELECT (SELECT count(*) FROM mockpsp.deliveries WHERE state = 'waiting')"
                " + (SELECT count(*) FROM psp_events WHERE state = 'pending')"
            )
            return await cursor.fetchone() == (0,)

        await eventually(is_quiet, what="every webhook delivered and applied")


def environment_of(database: Database, **values: str) -> dict[str, str]:
    """The environment of a service that shares its secrets with the tests, on a clock that runs fast."""
    return {
        "DATABASE_URL": database.service_url,
        "DATABASE_OWNER_URL": database.owner_url,
        "JWT_SECRET": JWT_SECRET,
        "MOCKPSP_CLOCK_FACTOR": "0.01",
        "PSP_TIMEOUT_SECONDS": "1",
        "WEBHOOK_SIGNATURE_ENFORCED": "True",
        **SECRETS,
        **values,
    }


@asynccontextmanager
async def open_house(database: Database, service: ServeProcess) -> AsyncIterator[House]:
    """A tenant made through the API of a running service."""
    async with (
        connect_owner(database) as owner,
        httpx.AsyncClient(base_url=service.url, timeout=60) as http,
    ):
        people = People(http, owner)
        boss = await people.admin(Role.OWNER)
        made = await boss.post("/tenants", {"name": "Acme", "slug": "acme"})
        assert made.status_code == CREATED, made.text
        tenant_id = UUID(made.json()["id"])
        yield House(owner, http, tenant_id, await people.admin(Role.FINANCE, tenant_id))


@pytest.fixture
async def house(home: Path, new_database: Callable[..., Database]) -> AsyncIterator[House]:
    """A service of its own, worker included."""
    database = new_database()
    async with (
        running_service(home, environment=environment_of(database)) as service,
        open_house(database, service) as house,
    ):
        yield house


async def test_every_scenario_has_an_expectation() -> None:
    assert set(WITHDRAWALS) == set(DEPOSITS) == {None, *SCENARIOS}


async def test_each_payout_ends_as_the_provider_really_did_it(house: House) -> None:
    begun: dict[str | None, tuple[Player, str]] = {}

    async def begin(scenario: str | None) -> None:
        player, client = await house.player(100_00)
        method = "test_bank" if scenario is None else f"mock:{scenario}"
        begun[scenario] = (player, await house.begin_payout(client, method=method))

    await asyncio.gather(*(begin(scenario) for scenario in WITHDRAWALS))

    async def state(scenario: str | None) -> str:
        detail = await house.finance.get(f"{FINANCE}/{begun[scenario][1]}")
        assert detail.status_code == OK, detail.text
        return str(detail.json()["state"])

    async def is_settled() -> bool:
        await house.hurry()
        states = {scenario: await state(scenario) for scenario in WITHDRAWALS}
        return states == {scenario: expected[0] for scenario, expected in WITHDRAWALS.items()}

    await eventually(is_settled, what="every withdrawal in its final state")
    await house.until_delivered()
    for scenario, (expected_state, (available, held), expected_findings) in WITHDRAWALS.items():
        player, tx_id = begun[scenario]
        assert await state(scenario) == expected_state, scenario
        assert await sides(house.owner, player) == both(available, held), scenario
        assert await house.findings(tx_id) == expected_findings, scenario
        if expected_state == "paid":
            assert await ledger_types(house.owner, player) == PAID, scenario
    # The provider's books say the same: one payout per withdrawal, whatever was sent twice.
    paid_out = await (await house.owner.execute("SELECT count(*) FROM mockpsp.payouts")).fetchone()
    assert paid_out == (len(WITHDRAWALS),)
    await assert_sound(house.owner, house.tenant_id)


async def test_each_deposit_ends_as_the_provider_really_did_it(house: House) -> None:
    begun: dict[str | None, tuple[Player, str]] = {}

    async def begin(scenario: str | None) -> None:
        player, client = await house.player()
        method = "test" if scenario is None else f"mock:{scenario}"
        asked = await client.deposit("25.00", method=method)
        assert asked.status_code == CREATED, asked.text
        begun[scenario] = (player, asked.json()["transaction"]["id"])

    await asyncio.gather(*(begin(scenario) for scenario in DEPOSITS))

    async def states() -> dict[Any, str]:
        cursor = await house.owner.execute("SELECT id::TEXT, state FROM deposits")
        known: dict[str, str] = dict(await cursor.fetchall())
        return {scenario: known[tx_id] for scenario, (_, tx_id) in begun.items()}

    async def is_settled() -> bool:
        await house.hurry()
        return await states() == {scenario: expected[0] for scenario, expected in DEPOSITS.items()}

    await eventually(is_settled, what="every deposit in its final state")
    await house.until_delivered()
    assert await states() == {scenario: expected[0] for scenario, expected in DEPOSITS.items()}
    for scenario, (_, available, expected_findings) in DEPOSITS.items():
        player, tx_id = begun[scenario]
        got = await sides(house.owner, player)
        assert (got.legacy_available, got.legacy_held) == (available, 0), scenario
        assert await house.findings(tx_id) == expected_findings, scenario
    await assert_sound(house.owner, house.tenant_id)


async def test_runbook_life_of_a_withdrawal(house: House) -> None:
    player, client = await house.player()
    await client.deposit("100.00")
    asked = await client.withdraw("40.00")
    tx_id = asked.json()["transaction"]["id"]
    assert await sides(house.owner, player) == both(60_00, 40_00)

    await house.finance.post(f"{FINANCE}/{tx_id}/review", {"action": "approve"})
    again = await house.finance.post(f"{FINANCE}/{tx_id}/review", {"action": "approve"})
    assert (again.status_code, again.json()["error_code"]) == (CONFLICT, "INVALID_STATE_TRANSITION")
    paid = await house.finance.post(f"{FINANCE}/{tx_id}/mark-paid", {})
    assert (paid.status_code, paid.json()["transaction"]["state"]) == (OK, "paid")
    again = await house.finance.post(f"{FINANCE}/{tx_id}/mark-paid", {})
    assert (again.status_code, again.json()["error_code"]) == (CONFLICT, "INVALID_STATE_TRANSITION")
    await house.until_delivered()

    assert await sides(house.owner, player) == both(60_00, 0)
    ledger = (await house.finance.get(f"/players/{player.id}/ledger")).json()["items"]
    steps = {row["type"]: row for row in ledger}
    assert steps.keys() >= {"withdraw_requested", "withdraw_dispatched", "withdraw_paid"}
    last = steps["withdraw_paid"]
    assert last["provider"] == "mockpsp"
    assert last["provider_ref"]
    assert last["provider_event_id"]
    await assert_sound(house.owner, house.tenant_id)


@pytest.mark.parametrize("scenario", ["timeout_created", "timeout_never", "pending"])
async def test_service_killed_in_mid_payout_pays_once(
    home: Path, new_database: Callable[..., Database], scenario: str
) -> None:
    database = new_database()
    environment = environment_of(database, PSP_TIMEOUT_SECONDS="20", MOCKPSP_CLOCK_FACTOR="0.05")
    async with running_service(home / "mortal", environment=environment) as mortal:
        async with open_house(database, mortal) as house:
            player, client = await house.player(100_00)
            begun = asyncio.create_task(house.begin_payout(client, method=f"mock:{scenario}"))

            async def is_attempted() -> bool:
                cursor = await house.owner.execute("SELECT count(*) FROM payout_attempts")
                return await cursor.fetchone() == (1,)

            # The attempt is committed, and the provider is being asked, or has just answered.
            await eventually(is_attempted, what="the attempt")
            mortal.kill()
            # Usually nobody hears an answer; where one came just before the kill, the end is the same.
            with contextlib.suppress(httpx.HTTPError):
                await begun
        async with (
            running_service(home / "heir", environment={**environment, "PSP_TIMEOUT_SECONDS": "1"}),
            connect_owner(database) as owner,
        ):
            # As if the grace of an attempt that nobody reported on had passed.
            await owner.execute("UPDATE payout_attempts SET created_at = created_at - interval '10 minutes'")

            async def is_paid() -> bool:
                await owner.execute("UPDATE payout_attempts SET next_check_at = now() WHERE next_check_at > now()")
                cursor = await owner.execute("SELECT state FROM withdrawals")
                return await cursor.fetchone() == ("paid",)

            await eventually(is_paid, what="the payout finished by the next process")
            assert await sides(owner, player) == both(60_00, 0)
            assert await ledger_types(owner, player) == PAID
            cursor = await owner.execute("SELECT count(*) FROM mockpsp.payouts")
            assert await cursor.fetchone() == (1,)
            await assert_sound(owner, player.tenant_id)
