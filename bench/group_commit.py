"""Drives the group-commit writer of withdrawals inside one process: what a service reaches before HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import uvloop
from uuid_utils.compat import uuid7

from backend.app import main
from backend.app.domain.ledger import PostCode, PostResult
from backend.app.domain.money import Money
from backend.app.domain.withdrawal import RequestWithdrawal
from backend.app.repositories import withdrawal_repo
from backend.app.repositories.database import Database
from backend.app.repositories.group_commit import GroupCommit
from backend.config import Settings
from bench.context import Context
from bench.measure import Measurement, Operation, Outcome, closed_loop, open_loop
from bench.server import BenchServer, Urls
from bench.workload import CURRENCY, TENANT, Spread, Workload

IN_FLIGHT: Final = (1, 16, 64, 256)
WARM_UP_SECONDS: Final = 1.0
REFUSALS: Final = (PostCode.INSUFFICIENT_FUNDS, PostCode.INSUFFICIENT_HELD)

Writer = GroupCommit[RequestWithdrawal, PostResult]


def measure(context: Context) -> list[Measurement]:
    """Closed loops by requests in flight and by spread, then an open one at half of the best rate."""
    return uvloop.run(_measure(context))


async def _measure(context: Context) -> list[Measurement]:
    urls = context.server.clone("writer")
    lines: list[Measurement] = []
    main.collect_garbage_rarely()
    async with _writer(context.server, urls) as writer:
        await closed_loop(_withdraw(writer, Spread.UNIFORM, run="warm"), in_flight=64, seconds=WARM_UP_SECONDS)
        for in_flight in IN_FLIGHT:
            operation = _withdraw(writer, Spread.UNIFORM, run=f"w{in_flight}")
            tally = await closed_loop(operation, in_flight=in_flight, seconds=context.seconds)
            lines.append(tally.measurement("writer", f"{in_flight} in flight, uniform"))
        for spread in (Spread.ZIPF, Spread.HOT):
            operation = _withdraw(writer, spread, run=f"s{spread}")
            tally = await closed_loop(operation, in_flight=64, seconds=context.seconds)
            lines.append(tally.measurement("writer", f"64 in flight, {spread}"))
        half = max(line.events_per_second or 0 for line in lines if line.name.endswith("in flight, uniform")) / 2
        operation = _withdraw(writer, Spread.UNIFORM, run="open")
        tally = await open_loop(operation, per_second=half, seconds=context.seconds)
        lines.append(tally.measurement("writer", f"open loop at {half:,.0f}/s, uniform"))
    return lines


@asynccontextmanager
async def _writer(server: BenchServer, urls: Urls) -> AsyncIterator[Writer]:
    database = Database(server.engine(urls), Settings.load())
    await database.open()
    writer: Writer = GroupCommit("bench_withdrawal_request", database, withdrawal_repo.request)
    try:
        yield writer
    finally:
        await writer.drain(deadline_seconds=10.0)
        await database.close()


def _withdraw(writer: Writer, spread: Spread, *, run: str) -> Operation:
    workload = Workload(spread, seed=1, run=run)

    async def withdraw() -> Outcome:
        ask = workload.next()
        result = await writer.submit(
            RequestWithdrawal(
                withdrawal_id=uuid7(),
                tenant_id=TENANT,
                player_id=ask.player_id,
                money=Money(amount_minor=ask.amount_minor, currency=CURRENCY),
                method="test",
                address="DE89370400440532013000",
                idempotency_key=ask.key,
            )
        )
        if result.is_replay:
            return Outcome.REPLAYED
        if result.code in REFUSALS:
            return Outcome.REFUSED
        return Outcome.APPLIED if result.code == PostCode.APPLIED else Outcome.FAILED

    return withdraw
