"""What the monitor looks at: the day's buckets of every tenant and provider, with what is usual and what is remembered.

Read only, as of any moment for which minutes are kept; one baseline is found on the way and kept, since what is usual
must not move with what is judged by it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from backend.app.domain.backfill.census import DifferenceClass
from backend.app.domain.monitor.assessment import Latched, Surroundings
from backend.app.domain.monitor.baseline import PAIRED_BASELINE, RATE_MIN, Baseline, control_ratio
from backend.app.domain.monitor.bucket import MINUTE, Bucket, Stream, Trigger
from backend.app.domain.monitor.detection import AssessmentInput
from backend.app.domain.monitor.monitor import STREAMS, KeptVerdict, Subject, SubjectKind, WatchedTenant
from backend.app.domain.monitor.thresholds import Thresholds
from backend.app.domain.monitor.usual import HISTORY, Usual
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.monitor import evidence_repo, monitor_repo, usual_repo

# What is usual while the legacy column decides is found anew so often; while the ledger does, never.
USUAL_LASTS: Final = timedelta(days=1)
# Of so many tenants in one evaluation.
FOUND_ANEW_MAX: Final = 20
NOTHING_USUAL: Final = Usual(hours={})
# A fleet of which nothing is known.
POOL_UNKNOWN: Final = 0.05
TENANT_STREAMS: Final = sum(len(STREAMS[trigger]) for trigger in (Trigger.T1, Trigger.T3))
CLASSES: Final = frozenset(DifferenceClass)

Kept = Mapping[tuple[str, Trigger], KeptVerdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A subject with all that its assessment depends on. tenant None: a provider."""

    subject: Subject
    inputs: tuple[AssessmentInput, ...]
    tenant: WatchedTenant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is the same for all subjects of one evaluation. is_past: nothing is remembered, and nothing is kept."""

    now: datetime
    thresholds: Thresholds
    surroundings: Surroundings
    pool: float
    ratio: float
    is_past: bool

    @property
    def since(self) -> datetime:
        """The first minute to look at: a day before the last closed one."""
        last = (self.now - MINUTE - timedelta(seconds=self.thresholds.grace_seconds)).replace(second=0, microsecond=0)
        return last - (self.thresholds.history_minutes - 1) * MINUTE

    @property
    def late_after(self) -> timedelta:
        """When a flush changes a minute that has been judged."""
        return timedelta(minutes=self.thresholds.late_minutes)


class Inputs:
    """Gathers inputs. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # By provider and hour: what is usual there needs no better, and costs a fortnight's rows.
        self._usual: dict[tuple[str, datetime], Usual] = {}
        # In this evaluation.
        self._found_anew = 0

    async def gather(
        self,
        *,
        now: datetime,
        kept: Kept,
        tenant_id: UUID | None = None,
        providers: Sequence[str] | None = None,
        thresholds: Thresholds | None = None,
        is_past: bool = False,
    ) -> AsyncIterator[Looked]:
        """Every subject at a moment, or one tenant, or that tenant and these providers.

        kept: verdicts as they stand, by subject and trigger. thresholds: in the place of those for this fleet.
        Tenants whose ledger decides come first.
        """
        self._found_anew = 0
        async with self._database.connection() as conn:
            tenants = await monitor_repo.list_tenants(conn, tenant_id)
            if is_past:
                tenants = [await _as_then(conn, tenant, at=now) for tenant in tenants]
            moment = await self._moment(conn, tenants, now=now, thresholds=thresholds, is_past=is_past)
            if providers is None and tenant_id is None:
                providers = await evidence_repo.list_providers(conn, since=now - HISTORY, until=now)
                providers = [provider for provider in providers if provider != SANDBOX_PROVIDER]
        for tenant in sorted(tenants, key=lambda each: not each.is_enforced):
            async with self._database.connection() as conn:
                looked = await self._look_at_tenant(conn, tenant, moment=moment, kept=kept)
            for each in looked:
                yield each
        for provider in providers or ():
            async with self._database.connection() as conn:
                looked_at_provider = await self._look_at_provider(conn, provider, moment=moment, kept=kept)
            yield looked_at_provider

    async def _moment(
        self,
        conn: Connection,
        tenants: Sequence[WatchedTenant],
        *,
        now: datetime,
        thresholds: Thresholds | None,
        is_past: bool,
    ) -> Moment:
        counters = await evidence_repo.find_counters(conn)
        return Moment(
            now=now,
            thresholds=thresholds or Thresholds.for_fleet(_round_up(len(tenants) * TENANT_STREAMS)),
            # Of the past it is not known who had not flushed then, and by now all have.
            surroundings=Surroundings(
                is_blind=counters.is_blind and not is_past,
                clock_skew_seconds=0.0 if is_past else counters.clock_skew_seconds,
            ),
            pool=await usual_repo.find_pool(conn, now=now) or POOL_UNKNOWN,
            ratio=await _find_ratio(conn, now=now),
            is_past=is_past,
        )

    async def _look_at_tenant(
        self, conn: Connection, tenant: WatchedTenant, *, moment: Moment, kept: Kept
    ) -> list[Looked]:
        buckets = await evidence_repo.list_buckets(
            conn,
            tenant.id,
            since=moment.since,
            until=moment.now,
            epoch=tenant.epoch,
            arbiter=tenant.arbiter,
            late_after=moment.late_after,
            recent_since=_recent_since(kept, tenant, moment=moment),
        )
        counted_from = tenant.counted_from or _first_minute(buckets)
        swept = await evidence_repo.list_swept(
            conn, tenant.id, since=max(moment.since, counted_from or moment.since), until=moment.now
        )
        buckets = {**buckets, Stream.T3_MISMATCH: with_swept(buckets[Stream.T3_MISMATCH], swept)}
        usual = await self._find_usual(conn, tenant, moment=moment)
        surroundings = Surroundings(
            counted_from=counted_from,
            is_blind=moment.surroundings.is_blind,
            clock_skew_seconds=moment.surroundings.clock_skew_seconds,
            broken=frozenset(DifferenceClass(each) for each in tenant.broken if each in CLASSES),
        )
        looked = []
        for trigger in (Trigger.T1, Trigger.T3):
            subject = Subject(
                kind=SubjectKind.TENANT,
                key=str(tenant.id),
                name=tenant.slug,
                trigger=trigger,
                tenant_id=tenant.id,
            )
            inputs = tuple(
                AssessmentInput(
                    stream=stream,
                    buckets=tuple(buckets[stream]),
                    baseline=_baseline(stream, usual, moment=moment),
                    thresholds=moment.thresholds,
                    now=moment.now,
                    previous=_latched(kept, subject, stream),
                    is_enforced=tenant.is_enforced,
                    surroundings=surroundings,
                )
                for stream in STREAMS[trigger]
            )
            looked.append(Looked(subject=subject, inputs=inputs, tenant=tenant))
        return looked

    async def _find_usual(self, conn: Connection, tenant: WatchedTenant, *, moment: Moment) -> Usual:
        """What is usual for a tenant. Finding it anew reads a fortnight, so that some tenants' turn comes later."""
        found = await usual_repo.find(conn, tenant.id, epoch=tenant.epoch, arbiter=tenant.arbiter)
        if found is not None and (tenant.is_enforced or found.found_at > moment.now - USUAL_LASTS):
            return found.usual
        if self._found_anew >= FOUND_ANEW_MAX:
            return NOTHING_USUAL if found is None else found.usual
        self._found_anew += 1
        # Of the time before the ledger decided, so that what enforcing brings is not taken for usual.
        until = tenant.counted_from if tenant.is_enforced and tenant.counted_from else _hour_of(moment.now)
        usual = await usual_repo.count_refusals(conn, tenant.id, until=until)
        if not moment.is_past:
            await usual_repo.keep(conn, tenant.id, usual, epoch=tenant.epoch, arbiter=tenant.arbiter, now=moment.now)
        return usual

    async def _look_at_provider(self, conn: Connection, provider: str, *, moment: Moment, kept: Kept) -> Looked:
        buckets = await evidence_repo.list_delivery_buckets(
            conn, provider, since=moment.since, until=moment.now, late_after=moment.late_after
        )
        hour = _hour_of(moment.now)
        if (provider, hour) not in self._usual:
            self._usual = {key: usual for key, usual in self._usual.items() if key[1] == hour}
            # Up to a day ago: a secret that is wrong since this morning must not become what is usual.
            until = hour - timedelta(days=1)
            self._usual[(provider, hour)] = await usual_repo.count_rejections(conn, provider, until=until)
        subject = Subject(kind=SubjectKind.PROVIDER, key=provider, name=provider, trigger=Trigger.T2)
        return Looked(
            subject=subject,
            inputs=(
                AssessmentInput(
                    stream=Stream.T2_REJECTED,
                    buckets=tuple(buckets[Stream.T2_REJECTED]),
                    baseline=self._usual[(provider, hour)].baseline(now=moment.now, pool=RATE_MIN),
                    thresholds=moment.thresholds,
                    now=moment.now,
                    previous=_latched(kept, subject, Stream.T2_REJECTED),
                    is_enforced=False,
                    surroundings=moment.surroundings,
                ),
            ),
        )


def with_swept(buckets: Sequence[Bucket], swept: Mapping[datetime, frozenset[str]]) -> list[Bucket]:
    """The minutes of comparisons with what censuses found in them: only the wallets that differ.

    The many that a census finds right would drown what the money path sees.
    """
    merged = {bucket.minute: bucket for bucket in buckets}
    for minute, players in swept.items():
        seen = merged.get(minute, Bucket(minute=minute, n=0, x=0))
        fresh = len(players - seen.players)
        merged[minute] = replace(seen, n=seen.n + fresh, x=seen.x + fresh, players=seen.players | players)
    return [merged[minute] for minute in sorted(merged)]


# Where the self-test's deliveries are counted; not among the providers of anybody.
SANDBOX_PROVIDER: Final = "sandbox"


async def _as_then(conn: Connection, tenant: WatchedTenant, *, at: datetime) -> WatchedTenant:
    """The tenant under the arbiter that it had at a time. What its census says is of today, and left out."""
    then = await monitor_repo.find_mode_then(conn, tenant.id, at=at)
    epoch, arbiter = then or (tenant.epoch, tenant.arbiter)
    return tenant._replace(epoch=epoch, arbiter=arbiter, counted_from=None, broken=())


async def _find_ratio(conn: Connection, *, now: datetime) -> float:
    control = await usual_repo.list_control(conn, since=now - timedelta(hours=1), until=now)
    return control_ratio(
        x=sum(tenant.x for tenant in control),
        expected=sum(tenant.n * tenant.usual_x / tenant.usual_n for tenant in control),
        tenants=len(control),
    )


def _baseline(stream: Stream, usual: Usual, *, moment: Moment) -> Baseline:
    if stream.is_paired:
        return PAIRED_BASELINE
    return usual.baseline(now=moment.now, pool=moment.pool, ratio=moment.ratio)


def _recent_since(kept: Kept, tenant: WatchedTenant, *, moment: Moment) -> datetime | None:
    """From when on every minute is needed: an hour before what is folded into all the scores. None: all of them."""
    checkpoints = []
    for trigger in (Trigger.T1, Trigger.T3):
        known = kept.get((str(tenant.id), trigger))
        for stream in STREAMS[trigger]:
            latched = None if known is None else known.latches.get(stream)
            if latched is None or latched.checkpoint is None or latched.version != moment.thresholds.version:
                return None
            checkpoints.append(latched.checkpoint.until)
    since = min(checkpoints)
    if tenant.counted_from is not None and since <= tenant.counted_from:
        return None
    return since - timedelta(minutes=moment.thresholds.window_minutes + moment.thresholds.cell_minutes)


def _latched(kept: Kept, subject: Subject, stream: Stream) -> Latched | None:
    known = kept.get((subject.key, subject.trigger))
    return None if known is None else known.latches.get(stream)


def _first_minute(buckets: Mapping[Stream, Sequence[Bucket]]) -> datetime | None:
    first = [counted[0].minute for counted in buckets.values() if counted]
    return min(first, default=None)


def _round_up(streams: int) -> int:
    """To a power of two, so that a tenant more is not another set of thresholds and does not reset every score."""
    return 1 << max(streams - 1, 15).bit_length()


def _hour_of(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0)
