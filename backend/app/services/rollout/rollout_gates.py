"""The facts that gates are judged by: one set of reads, for the screen, before a flip, and inside its fence."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Final
from uuid import UUID

from backend.app.domain.rollout.gates import (
    QUIET_FOR,
    EvidenceSummary,
    GateFacts,
    PlatformFacts,
    TenantFacts,
    evidence_since,
)
from backend.app.domain.rollout.rollout_state import RolloutHold, Sides
from backend.app.repositories import schema
from backend.app.repositories.database import Connection
from backend.app.repositories.rollout import gate_repo, rollout_hold_repo, rollout_repo

MISMATCHES_SHOWN_FOR: Final = timedelta(hours=24)
# So many players of a tenant are counted anew each time it is shown; of larger ones the last census tells.
COUNTED_PLAYERS_MAX: Final = 500

EvidenceReader = Callable[[Connection, UUID, datetime], Awaitable[EvidenceSummary]]
VerdictReader = Callable[[Connection, UUID, datetime], Awaitable[str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceReaders:
    """Where evidence comes from: (conn, tenant_id, since) to a summary, and to the worst verdict or None."""

    summarise: EvidenceReader
    find_worst_verdict: VerdictReader


class GateReader:
    """Reads facts. Built once per process.

    app_version: this release, which no running process may be older than.
    """

    def __init__(self, *, app_version: str, readers: EvidenceReaders) -> None:
        self._app_version = app_version
        self._readers = readers

    async def read_platform(self, conn: Connection) -> PlatformFacts:
        """What is the same for every tenant."""
        found = await gate_repo.find_platform(conn)
        return PlatformFacts(
            revision=found.revision,
            expected_revision=_expected_revision(),
            missing_keys=found.missing_keys,
            writers=len(found.instances),
            old_writers=tuple(
                f"process {number} ({version})"
                for number, version in found.instances
                if is_older(version, than=self._app_version)
            ),
        )

    async def read_many(
        self,
        conn: Connection,
        tenant_ids: Sequence[UUID],
        *,
        now: datetime,
        counted_players_max: int = COUNTED_PLAYERS_MAX,
    ) -> list[GateFacts]:
        """The facts of these tenants, by their numbers. Small tenants are counted, large ones as their census said."""
        if not tenant_ids:
            return []
        platform = await self.read_platform(conn)
        holds = await rollout_hold_repo.list_active(conn, None)
        tenants = await gate_repo.list_tenant_facts(conn, tenant_ids, mismatches_since=now - MISMATCHES_SHOWN_FOR)
        facts = []
        for tenant in tenants:
            sides = await rollout_repo.attest_whole(conn, tenant.tenant_id, players_max=counted_players_max)
            counted = tenant if sides is None else with_sides(tenant, sides, now=now)
            facts.append(await self._complete(conn, platform, counted, holds=holds, now=now))
        return facts

    async def read_one(
        self, conn: Connection, tenant_id: UUID, *, sides: Sides, now: datetime, before: GateFacts | None = None
    ) -> GateFacts | None:
        """The facts of one tenant, with sides that the caller has counted; None for an unknown tenant.

        before: facts of a moment ago, whose evidence is taken over. Inside a fence nothing is decided that could change
        it, and nobody's money shall wait for sums over weeks.
        """
        tenants = await gate_repo.list_tenant_facts(conn, [tenant_id], mismatches_since=now - MISMATCHES_SHOWN_FOR)
        if not tenants:
            return None
        tenant = with_sides(tenants[0], sides, now=now)
        holds = await rollout_hold_repo.list_active(conn, tenant_id)
        platform = await self.read_platform(conn)
        if before is not None:
            return replace(before, platform=platform, tenant=tenant, holds=holds)
        return await self._complete(conn, platform, tenant, holds=holds, now=now)

    async def _complete(
        self,
        conn: Connection,
        platform: PlatformFacts,
        tenant: TenantFacts,
        *,
        holds: Sequence[RolloutHold],
        now: datetime,
    ) -> GateFacts:
        since = evidence_since(tenant, now=now)
        return GateFacts(
            platform=platform,
            tenant=tenant,
            holds=[hold for hold in holds if hold.tenant_id in (None, tenant.tenant_id)],
            evidence=await self._readers.summarise(conn, tenant.tenant_id, since),
            worst_verdict=await self._readers.find_worst_verdict(conn, tenant.tenant_id, now - QUIET_FOR),
        )


def with_sides(tenant: TenantFacts, sides: Sides, *, now: datetime) -> TenantFacts:
    """The tenant's facts with coverage and differences as they were counted just now."""
    return replace(
        tenant,
        players=sides.players,
        unopened=sides.unopened,
        unopened_ids=sides.unopened_ids,
        differing=sides.differing,
        differing_ids=sides.differing_ids,
        counted_at=now,
    )


def is_older(version: str, *, than: str) -> bool:
    """Whether a release is older than another; one whose name has no numbers may be anything, so it is."""
    if version == than:
        return False
    ours, theirs = _numbers(version), _numbers(than)
    return not ours or ours < theirs


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


@cache
def _expected_revision() -> str:
    return schema.head_revision()


async def summarise_stored(conn: Connection, tenant_id: UUID, since: datetime) -> EvidenceSummary:
    """Evidence counted from what the door itself stored."""
    return await gate_repo.summarise_decisions(conn, tenant_id, since=since)


async def find_worst_stored(conn: Connection, tenant_id: UUID, since: datetime) -> str | None:
    """What the door's own evidence comes to: light when anything was disputed or seen to differ, else ok."""
    evidence = await gate_repo.summarise_decisions(conn, tenant_id, since=since)
    return "light" if evidence.disputed or evidence.mismatches else "ok"


STORED_EVIDENCE: Final = EvidenceReaders(summarise=summarise_stored, find_worst_verdict=find_worst_stored)
