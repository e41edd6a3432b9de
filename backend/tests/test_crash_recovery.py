"""kill -9 in the middle of a storm: what was answered is there exactly once, the rest entirely or not at all."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import httpx
import psycopg
import pytest

from backend.app.api.tokens import Tokens
from backend.app.domain.identity import PlayerIdentity
from backend.tests.processes import ServeProcess, running_service

CLIENTS = 16
PLAYERS = 4
ANSWERS_BEFORE_THE_KILL = 150
STORM_SECONDS_MAX = 20
START_BALANCE_MINOR = 100_000_00


@dataclass
class Storm:
    """What the clients asked and what they were told, by idempotency key."""

    asked: dict[str, UUID] = field(default_factory=dict)
    answered: dict[str, dict[str, object]] = field(default_factory=dict)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.mark.parametrize("victim", ["service", "postgres", "both"])
async def test_every_answered_request_is_there_exactly_once_after_kill_9(home: Path, victim: str) -> None:
    async with running_service(home) as service:
        players = seed_players(service.owner_url)
        storm = Storm()
        async with storming(service, players, storm):
            await until(lambda: len(storm.answered) >= ANSWERS_BEFORE_THE_KILL)
            if victim in {"postgres", "both"}:
                os.kill(postmaster_pid(home), signal.SIGKILL)
            if victim in {"service", "both"}:
                service.kill()
            else:
                # The service starts its PostgreSQL again and goes on answering.
                before = len(storm.answered)
                await until(lambda: len(storm.answered) >= before + ANSWERS_BEFORE_THE_KILL)
        if victim == "postgres":
            await assert_exact(service, players, storm)
            return
    async with running_service(home) as restarted:
        await assert_exact(restarted, players, storm)


async def assert_exact(service: ServeProcess, players: dict[UUID, str], storm: Storm) -> None:
    with psycopg.connect(service.owner_url, autocommit=True) as conn:
        posted: dict[str, int] = dict(
            conn.execute(
                "SELECT idempotency_key, count(*) FROM ledger_transactions"
                " WHERE type = 'withdraw_requested' GROUP BY idempotency_key"
            ).fetchall()
        )
        requested: dict[str, int] = dict(
            conn.execute("SELECT idempotency_key, count(*) FROM withdrawals GROUP BY idempotency_key").fetchall()
        )
        assert posted == requested, "hold and withdrawal exist together or not at all"
        assert set(posted.values()) <= {1}
        missing = set(storm.answered) - set(posted)
        assert not missing, f"answered and lost: {len(missing)}"
        assert set(posted) <= set(storm.asked)
        assert_books_are_right(conn, posted_count=len(posted))

    # Repeating a key tells what happened: the first answer again, or the first one at last.
    async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:
        for key, player_id in list(storm.asked.items())[-60:]:
            response = await withdraw(client, players[player_id], key)
            if key in storm.answered:
                assert response.status_code == 200
                assert response.json() == storm.answered[key]
            else:
                assert response.status_code == (200 if key in posted else 201)


def assert_books_are_right(conn: psycopg.Connection, *, posted_count: int) -> None:
    """Σ over the wallets: both sides equal, nothing created or lost, versions without gaps."""
    row = conn.execute(
        """
        SELECT
            count(*) FILTER (WHERE player.balance_real_available <> wallet.balance_real_available),
            count(*) FILTER (WHERE player.balance_real_held <> wallet.balance_real_pending),
            sum(wallet.balance_real_available + wallet.balance_real_pending),
            sum(wallet.balance_real_pending),
            count(*) FILTER (WHERE wallet.version <> entry.rows OR wallet.version <> entry.last_version)
        FROM players AS player
        JOIN wallet_balances AS wallet ON wallet.player_id = player.id
        CROSS JOIN LATERAL (
            SELECT count(*) AS rows, coalesce(max(wallet_version), 0) AS last_version
            FROM ledger_transactions WHERE player_id = player.id
        ) AS entry
        """
    ).fetchone()
    assert row == (0, 0, PLAYERS * START_BALANCE_MINOR, posted_count * 100, 0)


@asynccontextmanager
async def storming(service: ServeProcess, players: dict[UUID, str], storm: Storm) -> AsyncIterator[None]:
    """Clients that withdraw 1.00 as fast as they can until the block ends; each waits for one answer at a time."""
    player_ids = list(players)

    async def client_loop(number: int) -> None:
        async with httpx.AsyncClient(base_url=service.url, timeout=10) as client:
            for turn in range(100_000):
                if storm.is_over.is_set():
                    return
                key, player_id = f"storm-{number}-{turn}", player_ids[(number + turn) % len(player_ids)]
                storm.asked[key] = player_id
                try:
                    response = await withdraw(client, players[player_id], key)
                except httpx.TransportError:
                    if not service.is_running:
                        return
                    continue
                if response.status_code == 201:
                    storm.answered[key] = response.json()
                else:
                    assert response.status_code == 503, response.text

    tasks = [asyncio.create_task(client_loop(number)) for number in range(CLIENTS)]
    try:
        yield
    finally:
        storm.is_over.set()
        async with asyncio.timeout(STORM_SECONDS_MAX):
            await asyncio.gather(*tasks)


async def withdraw(client: httpx.AsyncClient, token: str, key: str) -> httpx.Response:
    return await client.post(
        "/api/v1/player/wallet/withdraw",
        json={"amount": "1.00", "method": "test_bank", "address": "TR00"},
        headers={"Authorization": f"Bearer {token}", "Idempotency-Key": key},
    )


def seed_players(owner_url: str) -> dict[UUID, str]:
    """Verified players with money in the legacy column and no wallet yet, and a token for each."""
    with psycopg.connect(owner_url, autocommit=True) as conn:
        row = conn.execute(
            "INSERT INTO tenants (slug, name, base_currency) VALUES ('storm', 'Storm', 'USD') RETURNING id"
        ).fetchone()
        assert row is not None
        (tenant_id,) = row
        player_ids = [
            found[0]
            for found in conn.execute(
                "INSERT INTO players (tenant_id, email, username, currency, kyc_status, balance_real_available)"
                " SELECT %s, 'p' || n || '@storm.example', 'p' || n, 'USD', 'verified', %s"
                " FROM generate_series(1, %s) AS n RETURNING id",
                (tenant_id, START_BALANCE_MINOR, PLAYERS),
            ).fetchall()
        ]
    tokens = Tokens(ServeProcess.JWT_SECRET)
    return {
        player_id: tokens.issue_player(
            PlayerIdentity(tenant_id=tenant_id, player_id=player_id, currency="USD"), now=datetime.now(UTC)
        )
        for player_id in player_ids
    }


def postmaster_pid(home: Path) -> int:
    (pid_file,) = home.glob("postgres/**/postmaster.pid")
    return int(pid_file.read_text().splitlines()[0])


async def until(condition: object, *, seconds: float = STORM_SECONDS_MAX) -> None:
    """Wait for a condition, with a deadline."""
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the other side is a set of plain sockets
            await asyncio.sleep(0.01)
