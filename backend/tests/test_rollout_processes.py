"""Two server processes, many clients, and flips all the while: nobody notices, and nobody is judged by who no longer
decides.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from backend.app.api.tokens import Tokens
from backend.tests.api_client import WalletClient
from backend.tests.conftest import Database
from backend.tests.factories import Owner, Player, connect_owner, make_player, make_tenant, open_pools
from backend.tests.fixtures import NO_PASSWORD
from backend.tests.invariants import assert_sound
from backend.tests.processes import ServeProcess, running_service
from backend.tests.rollout_desk import desk_on

CLIENTS: Final = 32
FLIPS: Final = 200
PAUSE_SECONDS_MAX: Final = 0.3
OVERRIDE: Final = ["evidence", "quiet", "rehearsal"]

# Decisions of the tenant that were not made by who decided in their epoch, or not in the time of their epoch. The times
# are of one clock, the database's: an epoch begins behind the fence, where nobody else is at work.
MISJUDGED: Final = """
WITH decision AS (
    SELECT arbiter, epoch, recorded_at FROM ledger_transactions WHERE tenant_id = %(tenant_id)s
    UNION ALL
    SELECT arbiter, epoch, recorded_at FROM ledger_refusals WHERE tenant_id = %(tenant_id)s
)
SELECT decision.*, change.changed_at, next.changed_at
FROM decision
LEFT JOIN arbiter_changes change ON change.tenant_id = %(tenant_id)s AND change.epoch = decision.epoch
LEFT JOIN arbiter_changes next ON next.tenant_id = %(tenant_id)s AND next.epoch = decision.epoch + 1
WHERE decision.arbiter <> coalesce(change.arbiter, 'legacy')
    OR decision.recorded_at < change.changed_at
    OR decision.recorded_at > next.changed_at
LIMIT 5
"""
SUMS: Final = """
SELECT sum(p.balance_real_available), sum(w.balance_real_available), sum(p.balance_real_held),
sum(w.balance_real_pending) FROM players p JOIN wallet_balances w ON w.player_id = p.id WHERE p.tenant_id = %s
"""


@pytest.fixture
async def database(new_database: Callable[..., Database]) -> Database:
    return new_database()


@pytest.fixture
async def owner(database: Database) -> AsyncIterator[Owner]:
    async with connect_owner(database) as conn:
        yield conn


def external(database: Database) -> dict[str, str]:
    """The environment of a server process on a database of the run."""
    return {"DATABASE_URL": database.service_url, "DATABASE_OWNER_URL": database.owner_url}


async def boss_headers(owner: Owner) -> dict[str, str]:
    """A platform owner who has signed in at a process."""
    admin_id = uuid4()
    await owner.execute(
        "INSERT INTO admins (id, email, password_hash, role) VALUES (%s, %s, %s, 'owner')",
        (admin_id, f"{admin_id.hex}@example.com", NO_PASSWORD),
    )
    return {"Authorization": f"Bearer {Tokens(ServeProcess.JWT_SECRET).issue_admin(admin_id, now=datetime.now(UTC))}"}


async def flip(http: httpx.AsyncClient, tenant_id: UUID, headers: dict[str, str], *, enabled: bool) -> dict[str, Any]:
    answer = await http.post(
        f"/api/v1/ops/rollout/tenants/{tenant_id}/enforce",
        json={"enabled": enabled, "reason": "back and forth", "override_gates": OVERRIDE if enabled else []},
        headers=headers,
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


class Crowd:
    """Clients who withdraw again and again, each from a wallet of its own and, now and then, from one that all share.

    They pause between two requests, some tens of milliseconds on average: a crowd that takes all of the machine would
    measure how long the flips wait for a processor.
    """

    def __init__(self, servers: list[httpx.AsyncClient], players: list[Player]) -> None:
        self._wallets = [
            WalletClient(http=servers[number % len(servers)], player=player, secret=ServeProcess.JWT_SECRET)
            for number, player in enumerate(players)
        ]
        self._is_over = asyncio.Event()
        self._random = random.Random(1)
        self.answers: Counter[tuple[int, str]] = Counter()

    async def __aenter__(self) -> "Crowd":
        self._clients = [asyncio.create_task(self._withdraw(number)) for number in range(CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over.set()
        await asyncio.gather(*self._clients)

    async def _withdraw(self, number: int) -> None:
        turn = 0
        while not self._is_over.is_set():
            turn += 1
            wallet = self._wallets[0 if turn % 8 == 0 else number]
            # The last wallet is poor: both sides refuse.
            answer = await wallet.withdraw("0.01")
            await asyncio.sleep(self._random.uniform(0, PAUSE_SECONDS_MAX))
            self.answers[answer.status_code, answer.json().get("error_code", "")] += 1


async def test_nobody_is_judged_by_the_old_arbiter_once_a_flip_has_returned(
    database: Database, owner: Owner, tmp_path: Path
) -> None:
    tenant_id = await make_tenant(owner)
    players = [await make_player(owner, tenant_id, available=10_000_00) for _ in range(CLIENTS - 1)]
    players.append(await make_player(owner, tenant_id))
    async with open_pools(database) as pools:
        await desk_on(database, pools, owner).open_wallets(*players)
    headers = await boss_headers(owner)
    async with AsyncExitStack() as stack:
        servers = []
        for number in range(2):
            service = await stack.enter_async_context(
                running_service(tmp_path / f"home{number}", environment=external(database))
            )
            servers.append(
                await stack.enter_async_context(
                    httpx.AsyncClient(base_url=service.url, timeout=30, limits=httpx.Limits(max_connections=100))
                )
            )
        async with Crowd(servers, players) as crowd:
            for epoch in range(1, FLIPS + 1):
                done = await flip(servers[epoch // 2 % 2], tenant_id, headers, enabled=epoch % 2 == 1)
                assert (done["epoch"], done["is_changed"], done["is_fenced"]) == (epoch, True, True)
                row = await (await owner.execute(SUMS, (tenant_id,))).fetchone()
                assert row is not None
                assert (row[0], row[2]) == (row[1], row[3]), f"after flip {epoch}"
                (sums,) = done["attestation"]
                assert sums["legacy_available"] == sums["snapshot_available"] == sums["ledger_available"]
                assert sums["legacy_held"] == sums["snapshot_pending"] == sums["ledger_pending"]
    assert set(crowd.answers) == {(201, ""), (400, "INSUFFICIENT_FUNDS")}, crowd.answers
    cursor = await owner.execute(MISJUDGED, {"tenant_id": tenant_id})
    assert await cursor.fetchall() == []
    cursor = await owner.execute(
        "SELECT arbiter, count(DISTINCT epoch) FROM ledger_transactions WHERE tenant_id = %s AND epoch > 0 "
        "GROUP BY arbiter ORDER BY arbiter",
        (tenant_id,),
    )
    in_epochs: dict[str, int] = dict(await cursor.fetchall())
    # Most of the two hundred epochs saw decisions; were there few, the test would have proven little.
    assert min(in_epochs.values()) > FLIPS / 4, in_epochs
    await assert_sound(owner, tenant_id)


async def test_kill_switch_in_the_environment_of_one_restarted_process(
    database: Database, owner: Owner, tmp_path: Path
) -> None:
    tenant_id = await make_tenant(owner)
    players = [await make_player(owner, tenant_id, available=100) for _ in range(2)]
    headers = await boss_headers(owner)
    async with open_pools(database) as pools:
        desk = desk_on(database, pools, owner)
        await desk.open_wallets(*players)
        async with AsyncExitStack() as stack:
            service = await stack.enter_async_context(running_service(tmp_path / "one", environment=external(database)))
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=service.url))
            assert (await flip(http, tenant_id, headers, enabled=True))["arbiter"] == "ledger"
            environment = external(database) | {"LEDGER_ENFORCE_BALANCE": "False"}
            async with running_service(tmp_path / "two", environment=environment):
                # Asked of the process that knows nothing of it but what the database says.
                answer = await http.get(f"/api/v1/ops/rollout/tenants/{tenant_id}", headers=headers)
                shown = answer.json()
                assert (shown["arbiter"], shown["epoch"]) == ("legacy", 2)
                (flag,) = [each for each in shown["flags"] if each["flag"] == "ledger_enforce_balance"]
                assert (flag["value"], flag["source"], flag["own_value"]) == (False, "environment_false", True)
                assert flag["set_by"].startswith("process ")
                refused = await http.post(
                    f"/api/v1/ops/rollout/tenants/{tenant_id}/enforce",
                    json={"enabled": True, "reason": "again", "override_gates": OVERRIDE},
                    headers=headers,
                )
                assert [gate["case"] for gate in refused.json()["gates"]] == ["killed"]
        # With nothing running it holds; a process that says nothing ends it.
        with psycopg.connect(database.owner_url) as conn:
            assert conn.execute("SELECT arbiter FROM tenant_modes").fetchone() == ("legacy",)
