"""Evidence in PostgreSQL: flushed once each, read by minute."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from backend.app import sql
from backend.app.domain.ledger import Arbiter
from backend.app.domain.monitor.bucket import MINUTE, Bucket, Stream
from backend.app.domain.rollout.gates import EvidenceSummary
from backend.app.repositories.database import Connection
from backend.app.repositories.presence import LOCK_NAMESPACE

SQL = sql.load("evidence")

# Minutes of a day, in every stream; and so many names behind them. What is beyond is not needed for any verdict.
BUCKETS_MAX: Final = 4 * 1440
SUBJECTS_MAX: Final = 20_000
PROVIDERS_MAX: Final = 100
TOP_MAX: Final = 20
INSTANCES_MAX: Final = 200
# A payment that was settled so short a time ago may still be spoken of by a genuine delivery.
SETTLED_WITHIN: Final = timedelta(minutes=15)
# A live process that has not flushed for so long is not heard of.
SILENT_FOR: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """What one process counted, under a number that it never uses again. Sent twice, it counts once."""

    instance: int
    flush_number: int
    app_version: str
    clock_skew_seconds: float
    dropped: int
    buckets: Sequence[Mapping[str, Any]]
    subjects: Sequence[Mapping[str, Any]]
    deliveries: Sequence[Mapping[str, Any]]
    delivery_subjects: Sequence[Mapping[str, Any]]


class Flushed(NamedTuple):
    """The database's clock, and whether the flush was counted now (or had been before)."""

    now: datetime
    is_new: bool


class ClaimedPayment(NamedTuple):
    """A payment as a delivery names it."""

    provider: str
    deposit_id: UUID | None
    withdrawal_id: UUID | None
    provider_ref: str | None


class Claimant(NamedTuple):
    """Whose payment it is."""

    tenant_id: UUID
    player_id: UUID


class TopPlayer(NamedTuple):
    """A player behind x; amount_minor: at stake in all."""

    player_id: str
    stream: str
    currency: str
    events: int
    minutes: int
    amount_minor: int
    first_minute: datetime
    last_minute: datetime


class ClassTotal(NamedTuple):
    """Mismatches of one class; amount_minor: how far apart the sides are, currencies added up as if they were one."""

    mismatch_class: str
    wallets: int
    occurrences: int
    amount_minor: int


class InstanceTotal(NamedTuple):
    """What one process counted of a stream."""

    instance: int
    app_version: str
    stream: str
    n: int
    x: int


class TopTenant(NamedTuple):
    """A tenant behind x."""

    tenant_id: UUID
    slug: str
    x: int


class ResultTotal(NamedTuple):
    """Deliveries of one result."""

    result: str
    is_credible: bool
    n: int


class Counters(NamedTuple):
    """Whether the processes that count are heard of."""

    is_blind: bool
    clock_skew_seconds: float


Buckets = Mapping[Stream, Sequence[Bucket]]


async def take_number(conn: Connection) -> int:
    """A number for a process that counts and is not in the register."""
    row = await (await conn.execute(SQL.take_number)).fetchone()
    assert row is not None, "a sequence has a next number"
    return int(row[0])


async def flush(conn: Connection, counted: Flush) -> Flushed:
    """Add what a process counted, in one statement."""
    cursor = await conn.execute(
        SQL.flush,
        {
            "instance": counted.instance,
            "flush_number": counted.flush_number,
            "app_version": counted.app_version,
            "clock_skew_seconds": counted.clock_skew_seconds,
            "dropped": counted.dropped,
            "buckets": Jsonb(counted.buckets),
            "subjects": Jsonb(counted.subjects),
            "deliveries": Jsonb(counted.deliveries),
            "delivery_subjects": Jsonb(counted.delivery_subjects),
        },
    )
    row = await cursor.fetchone()
    assert row is not None, "the clock is always told"
    return Flushed._make(row)


async def find_claimed(conn: Connection, payments: Sequence[ClaimedPayment], *, now: datetime) -> list[Claimant | None]:
    """Whose open payments these are, in order; None for what is none of ours, or settled long ago."""
    cursor = await conn.execute(
        SQL.find_claimed,
        {
            "providers": [payment.provider for payment in payments],
            "deposit_ids": [payment.deposit_id for payment in payments],
            "withdrawal_ids": [payment.withdrawal_id for payment in payments],
            "provider_refs": [payment.provider_ref for payment in payments],
            "settled_after": now - SETTLED_WITHIN,
        },
    )
    return [None if row[0] is None else Claimant._make(row) for row in await cursor.fetchall()]


async def list_buckets(
    conn: Connection,
    tenant_id: UUID,
    *,
    since: datetime,
    until: datetime,
    epoch: int,
    arbiter: Arbiter,
    late_after: timedelta,
    recent_since: datetime | None = None,
) -> Buckets:
    """A tenant's minutes in [since, until) under one arbiter, by stream, in order.

    recent_since: before it, only minutes in which the sides disagreed, and the quiet ones as one; None for all.
    late_after: what was flushed so long after its minute changed a minute that had been judged.
    """
    window = {
        "tenant_id": tenant_id,
        "since": since,
        "recent_since": max(since, recent_since or since),
        "until": until,
        "epoch": epoch,
        "arbiter": arbiter.value,
    }
    counted: dict[Stream, dict[datetime, tuple[int, int, datetime]]] = defaultdict(dict)
    cursor = await conn.execute(SQL.list_buckets, {**window, "limit": BUCKETS_MAX})
    for stream, minute, n, x, flushed_at in await cursor.fetchall():
        counted[Stream(stream)][minute] = (n, x, flushed_at)
    if recent_since is not None and recent_since > since:
        cursor = await conn.execute(SQL.list_day_totals, window)
        for stream, n, x in await cursor.fetchall():
            _add_quiet(counted[Stream(stream)], n, x, before=recent_since)
    players: dict[tuple[Stream, datetime], set[str]] = defaultdict(set)
    cursor = await conn.execute(SQL.list_subjects, {**window, "limit": SUBJECTS_MAX})
    for stream, minute, subject in await cursor.fetchall():
        players[(Stream(stream), minute)].add(subject)
    # Three streams are about the same decisions, which are written with the first of them.
    decisions = counted[Stream.T1_DISPUTED]
    buckets: dict[Stream, list[Bucket]] = {}
    for stream in (Stream.T1_DISPUTED, Stream.T1_OVERPAID, Stream.T1_REFUSED, Stream.T3_MISMATCH):
        own = counted[stream]
        minutes = counted[Stream.T3_MISMATCH] if stream is Stream.T3_MISMATCH else decisions
        buckets[stream] = [
            Bucket(
                minute=minute,
                n=n,
                x=own[minute][1] if minute in own else 0,
                players=frozenset(players[(stream, minute)]),
                is_revised=flushed_at > minute + MINUTE + late_after,
            )
            for minute, (n, _, flushed_at) in sorted(minutes.items())
        ]
    return buckets


def _add_quiet(minutes: dict[datetime, tuple[int, int, datetime]], n: int, x: int, *, before: datetime) -> None:
    """Put what is left of the totals before a time, which is of minutes that were not read, into the last of them."""
    read = [counts for minute, counts in minutes.items() if minute < before]
    quiet_n, quiet_x = n - sum(each[0] for each in read), x - sum(each[1] for each in read)
    if quiet_n or quiet_x:
        last = before - MINUTE
        last_n, last_x, flushed_at = minutes.get(last, (0, 0, last))
        minutes[last] = (last_n + quiet_n, last_x + quiet_x, flushed_at)


async def list_swept(
    conn: Connection, tenant_id: UUID, *, since: datetime, until: datetime
) -> dict[datetime, frozenset[str]]:
    """Players whose opened wallets a census found to differ, by minute."""
    window = {"tenant_id": tenant_id, "since": since, "until": until, "limit": SUBJECTS_MAX}
    players: dict[datetime, set[str]] = defaultdict(set)
    for minute, subject in await (await conn.execute(SQL.list_swept, window)).fetchall():
        players[minute].add(subject)
    return {minute: frozenset(those) for minute, those in players.items()}


async def list_delivery_buckets(
    conn: Connection, provider: str, *, since: datetime, until: datetime, late_after: timedelta
) -> Buckets:
    """A provider's minutes in [since, until), by stream, in order."""
    window = {"provider": provider, "since": since, "until": until}
    players: dict[datetime, set[str]] = defaultdict(set)
    cursor = await conn.execute(SQL.list_delivery_subjects, {**window, "limit": SUBJECTS_MAX})
    for minute, subject in await cursor.fetchall():
        players[minute].add(subject)
    rejected: list[Bucket] = []
    noise: list[Bucket] = []
    cursor = await conn.execute(SQL.list_delivery_buckets, {**window, "limit": BUCKETS_MAX})
    for minute, n, x, outside, flushed_at in await cursor.fetchall():
        is_revised = flushed_at > minute + MINUTE + late_after
        if n:
            named = frozenset(players[minute])
            rejected.append(Bucket(minute=minute, n=n, x=x, players=named, is_revised=is_revised))
        if outside:
            noise.append(Bucket(minute=minute, n=outside, x=outside, is_revised=is_revised))
    return {Stream.T2_REJECTED: rejected, Stream.T2_NOISE: noise}


async def list_providers(conn: Connection, *, since: datetime, until: datetime) -> list[str]:
    """The providers of which deliveries came in."""
    cursor = await conn.execute(SQL.list_providers, {"since": since, "until": until, "limit": PROVIDERS_MAX})
    return [row[0] for row in await cursor.fetchall()]


async def list_delivery_results(conn: Connection, provider: str, *, since: datetime) -> list[ResultTotal]:
    """What was wrong with a provider's deliveries, the most frequent first."""
    cursor = await conn.execute(SQL.list_delivery_results, {"provider": provider, "since": since, "limit": TOP_MAX})
    return [ResultTotal._make(row) for row in await cursor.fetchall()]


async def summarize(conn: Connection, tenant_id: UUID, *, since: datetime) -> EvidenceSummary:
    """What a tenant's gates ask for."""
    row = await (await conn.execute(SQL.find_totals, {"tenant_id": tenant_id, "since": since})).fetchone()
    assert row is not None, "an aggregate returns a row"
    players = await (
        await conn.execute(
            SQL.count_subjects, {"tenant_id": tenant_id, "stream": Stream.T1_DISPUTED.value, "since": since}
        )
    ).fetchone()
    assert players is not None, "an aggregate returns a row"
    decisions, disputed, overpaid, comparisons, mismatches, traffic_minutes, first_minute, last_minute = row
    return EvidenceSummary(
        decisions=decisions,
        disputed=disputed,
        disputed_players=players[0],
        overpaid=overpaid,
        comparisons=comparisons,
        mismatches=mismatches,
        traffic_minutes=traffic_minutes,
        first_minute=first_minute,
        last_minute=last_minute,
    )


async def list_series(
    conn: Connection, tenant_id: UUID, *, since: datetime, step_seconds: int
) -> list[tuple[str, datetime, int, int]]:
    """(stream, at, n, x) of a tenant in steps of time."""
    cursor = await conn.execute(
        SQL.list_series,
        {"tenant_id": tenant_id, "since": since, "step": timedelta(seconds=step_seconds), "limit": BUCKETS_MAX},
    )
    return [(row[0], row[1], row[2], row[3]) for row in await cursor.fetchall()]


async def list_top_players(conn: Connection, tenant_id: UUID, *, since: datetime, limit: int) -> list[TopPlayer]:
    """Who is behind what is disputed, overpaid or differs, the most frequent first. Ids, and nothing else of them."""
    cursor = await conn.execute(SQL.list_top_players, {"tenant_id": tenant_id, "since": since, "limit": limit})
    return [TopPlayer._make(row) for row in await cursor.fetchall()]


async def list_classes(conn: Connection, tenant_id: UUID, *, since: datetime) -> list[ClassTotal]:
    """A tenant's mismatches by class."""
    cursor = await conn.execute(SQL.list_classes, {"tenant_id": tenant_id, "since": since})
    return [ClassTotal._make(row) for row in await cursor.fetchall()]


async def list_instances(conn: Connection, tenant_id: UUID, *, since: datetime) -> list[InstanceTotal]:
    """Which process counted what: two releases that disagree are told apart by this."""
    cursor = await conn.execute(SQL.list_instances, {"tenant_id": tenant_id, "since": since, "limit": INSTANCES_MAX})
    return [InstanceTotal._make(row) for row in await cursor.fetchall()]


async def list_top_tenants(conn: Connection, stream: Stream, *, since: datetime, limit: int) -> list[TopTenant]:
    """The tenants behind a stream's x, the most frequent first."""
    cursor = await conn.execute(SQL.list_top_tenants, {"stream": stream.value, "since": since, "limit": limit})
    return [TopTenant._make(row) for row in await cursor.fetchall()]


async def find_counters(conn: Connection) -> Counters:
    """Whether some live process has not been heard of for SILENT_FOR, and how far off the worst clock is."""
    row = await (
        await conn.execute(SQL.find_surroundings, {"silent_for": SILENT_FOR, "lock_namespace": LOCK_NAMESPACE})
    ).fetchone()
    assert row is not None, "an aggregate returns a row"
    return Counters._make(row)


async def prune(conn: Connection, *, before: datetime, limit: int) -> int:
    """Remove up to `limit` rows of each table that are about earlier minutes; how many in all."""
    pruned = 0
    for query in (SQL.prune_buckets, SQL.prune_subjects, SQL.prune_deliveries, SQL.prune_delivery_subjects):
        pruned += (await conn.execute(query, {"before": before, "limit": limit})).rowcount
    await conn.execute(SQL.prune_flushes, {"before": before})
    return pruned
