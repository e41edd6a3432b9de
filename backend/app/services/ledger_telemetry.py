"""Evidence that the two sides differ: counter, metric, log line and a row for each wallet and class."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

import prometheus_client
import psycopg
import structlog

from backend.app.domain.errors import TemporarilyUnavailable
from backend.app.domain.ledger import Arbiter, PostResult
from backend.app.domain.mismatch import Mismatch, MismatchClass, compare
from backend.app.repositories import ledger_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.group_commit import GroupCommit
from backend.app.services.evidence import Evidence

log = structlog.get_logger()

# Mismatches seen by this process, by (tenant, class). For people and tests; the monitor reads the database.
mismatch_counter: Final[Counter[tuple[UUID, MismatchClass]]] = Counter()
# Never by player: a label per player would never stop growing.
mismatch_total: Final = prometheus_client.Counter(
    "ledger_balance_mismatch",
    "Decisions that saw legacy column and snapshot differ",
    ("tenant", "mismatch_class"),
)


def record_balance_mismatch(
    tenant_id: UUID,
    player_id: UUID,
    currency: str,
    player_available: int,
    ledger_available: int,
    *,
    player_held: int = 0,
    ledger_pending: int = 0,
    mismatch_class: MismatchClass = MismatchClass.AVAILABLE_DIFF,
    arbiter: Arbiter = Arbiter.LEGACY,
) -> None:
    """Count and log one difference; amounts in minor units. `MismatchRecorder.note` also keeps the evidence row."""
    mismatch_counter[(tenant_id, mismatch_class)] += 1
    mismatch_total.labels(str(tenant_id), mismatch_class.value).inc()
    log.warning(
        "ledger.balance_mismatch",
        tenant_id=str(tenant_id),
        player_id=str(player_id),
        currency=currency,
        mismatch_class=mismatch_class.value,
        arbiter=arbiter.value,
        player_available=player_available,
        ledger_available=ledger_available,
        player_held=player_held,
        ledger_pending=ledger_pending,
    )


class MismatchRecorder:
    """Looks at every decision that saw both sides, and keeps what differs. Built once per process.

    is_enabled: the flag ledger_balance_mismatch_log for everybody; is_enabled_for: the same by tenant, where it is
    known. evidence: where comparisons are counted, by the minute. is_metered: whether mismatches go to the counters for
    people as well; those that were planted do not.
    """

    def __init__(
        self,
        database: Database,
        *,
        is_enabled: bool,
        is_enabled_for: Callable[[UUID], bool] | None = None,
        evidence: Evidence | None = None,
        is_metered: bool = True,
    ) -> None:
        self._is_enabled_for = is_enabled_for or (lambda _: is_enabled)
        self._evidence = evidence
        self._is_metered = is_metered
        self._writer: GroupCommit[Mismatch, None] = GroupCommit("mismatch", database, _store)
        self._under_way: set[asyncio.Task[None]] = set()

    async def note(self, result: PostResult, *, tenant_id: UUID, player_id: UUID, currency: str) -> None:
        """Record the difference that a decision saw, if any. Never fails the money path: evidence that cannot be stored
        now is logged, and the next decision on the wallet sees the same difference again.
        """
        mismatch = self._compare(result, tenant_id=tenant_id, player_id=player_id, currency=currency)
        if mismatch is not None:
            await self._keep(mismatch)

    def note_soon(self, result: PostResult, *, tenant_id: UUID, player_id: UUID, currency: str) -> None:
        """The same without waiting: for a caller who holds the wallet's locks until its own commit."""
        mismatch = self._compare(result, tenant_id=tenant_id, player_id=player_id, currency=currency)
        if mismatch is not None:
            task = asyncio.create_task(self._keep(mismatch), name="mismatch")
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    def _compare(self, result: PostResult, *, tenant_id: UUID, player_id: UUID, currency: str) -> Mismatch | None:
        if not self._is_enabled_for(tenant_id):
            return None
        mismatch = compare(result, tenant_id=tenant_id, player_id=player_id, currency=currency)
        if self._evidence is not None:
            self._evidence.count_comparison(result, mismatch, tenant_id=tenant_id)
        return mismatch

    async def _keep(self, mismatch: Mismatch) -> None:
        if not self._is_metered:
            return
        record_balance_mismatch(
            mismatch.tenant_id,
            mismatch.player_id,
            mismatch.currency,
            mismatch.legacy_available,
            mismatch.ledger_available,
            player_held=mismatch.legacy_held,
            ledger_pending=mismatch.ledger_pending,
            mismatch_class=mismatch.mismatch_class,
            arbiter=mismatch.arbiter,
        )
        try:
            await self._writer.submit(mismatch)
        except (TemporarilyUnavailable, psycopg.Error) as error:
            log.error("ledger.mismatch_not_stored", tenant_id=str(mismatch.tenant_id), error=str(error))

    async def drain(self, *, deadline_seconds: float) -> None:
        """Wait for evidence under way."""
        await asyncio.gather(*self._under_way)
        await self._writer.drain(deadline_seconds=deadline_seconds)


async def _store(conn: Connection, mismatches: Sequence[Mismatch]) -> list[None]:
    await ledger_repo.record_mismatches(conn, mismatches)
    return [None] * len(mismatches)
