"""Flags: what each comes to and why, and setting them. What moves an arbiter goes the way of the flip
(services/rollout/rollout.py).
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from backend.app.domain.audit import Actor
from backend.app.domain.errors import FieldError
from backend.app.domain.rollout.flags import (
    EffectiveFlag,
    Flag,
    FlagChanged,
    FlagsContradict,
    FlagScope,
    SetFlag,
    ensure_settable,
)
from backend.app.domain.rollout.rollout_state import FenceBusy, TooManyTenants
from backend.app.domain.tenant import TenantNotFound
from backend.app.psp.registry import SCHEMES
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.rollout import flag_repo, rollout_repo
from backend.app.repositories.rollout.rollout_documents import facts_document
from backend.app.services.rollout.rollout import Prepared, Rollout
from backend.app.services.rollout.rollout_fence import (
    FENCE_SECONDS_MAX,
    FENCED_MS_MAX,
    PAUSE_SECONDS_FIRST,
    PAUSE_SECONDS_MAX,
    guarded,
    lock_control,
)

log = structlog.get_logger()

# Each of them stands still while the others' fences are taken. More go one after the other, in waves.
ENFORCED_AT_ONCE_MAX: Final = 20
# For the fences of a change that only rolls back, or that only moves whom it moves by the way; then without.
SETTLE_BUDGET_MS: Final = 1_000


class Flags:
    """The flag service. Built once per process."""

    def __init__(self, database: Database, rollout: Rollout) -> None:
        self._database = database
        self._rollout = rollout

    async def list_effective(self, tenant_id: UUID | None, *, provider: str | None = None) -> list[EffectiveFlag]:
        """What each flag comes to for a tenant, for a provider, or for who has nothing of its own; and why."""
        async with self._database.connection() as conn:
            return await flag_repo.list_effective(conn, tenant_id, provider=provider)

    async def set(
        self, wish: SetFlag, *, actor: Actor, now: datetime, seen: str | None = None
    ) -> Sequence[EffectiveFlag]:
        """Set a flag, or leave it to the levels below; what every flag then comes to where it was set.

        To enforce is to pass the gates, at every level. seen: the mark of the flag as somebody looked at it. Raises
        FieldError, TenantNotFound, GatesNotMet, FenceBusy, TooManyTenants, FlagChanged, and FlagsContradict when a
        tenant would be enforced without shadow writing.
        """
        ensure_settable(wish, now=now)
        if wish.provider is not None and wish.provider not in SCHEMES:
            raise FieldError(
                "provider", f"there is no provider {wish.provider[:40]}; there are {', '.join(sorted(SCHEMES))}"
            )
        if wish.tenant_id is not None:
            async with self._database.connection() as conn:
                if await rollout_repo.find_mode(conn, wish.tenant_id) is None:
                    raise TenantNotFound(f"there is no tenant {wish.tenant_id}")
        if wish.flag is Flag.LEDGER_ENFORCE_BALANCE:
            await self._set_enforce(wish, actor=actor)
        elif wish.flag is Flag.LEDGER_SHADOW_WRITE:
            await self._set_shadow(wish, actor=actor, seen=seen)
        else:
            async with self._database.transaction() as conn:
                await _ensure_unchanged(conn, wish, seen=seen)
                await _write(conn, wish, actor=actor)
        log.warning(
            "flag.changed",
            flag=wish.flag.value,
            value=wish.value,
            scope=wish.scope.value,
            tenant_id=str(wish.tenant_id),
        )
        return await self.list_effective(wish.tenant_id, provider=wish.provider)

    async def _set_enforce(self, wish: SetFlag, *, actor: Actor) -> None:
        if wish.tenant_id is None:
            await self._set_enforce_globally(wish, actor=actor)
            return
        async with self._database.connection() as conn:
            is_default = await rollout_repo.is_enforced_by_default(conn)
        if wish.value or (wish.value is None and is_default):
            await self._rollout.enforce(
                wish.tenant_id, reason=wish.reason, actor=actor, override=wish.value, expires_at=wish.expires_at
            )
        else:
            await self._rollout.rollback(wish.tenant_id, reason=wish.reason, actor=actor, override=wish.value)

    async def _set_shadow(self, wish: SetFlag, *, actor: Actor, seen: str | None) -> None:
        async with self._database.transaction() as conn:
            await _ensure_unchanged(conn, wish, seen=seen)
            if wish.tenant_id is not None:
                await guarded(
                    flag_repo.write_tenant_shadow(
                        conn,
                        wish.tenant_id,
                        value=wish.value,
                        expires_at=wish.expires_at,
                        reason=wish.reason,
                        actor=actor,
                    )
                )
                return
            await lock_control(conn, is_alone=True)
            await _write(conn, wish, actor=actor)
            await _ensure_agreed(conn)

    async def _set_enforce_globally(self, wish: SetFlag, *, actor: Actor) -> None:
        """A value that binds everybody without one of their own: fences in the order of numbers, gates inside them, and
        epochs of exactly those whose arbiter is another one then.
        """
        started, pause = time.monotonic(), PAUSE_SECONDS_FIRST
        # A rollback does not wait for verification; only who would be enforced is looked at.
        async with AsyncExitStack() as stack:
            seen: dict[UUID, Prepared] = {}
            while True:
                for tenant_id in await self._list_newly_enforced(wish, actor=actor):
                    if tenant_id not in seen:
                        seen[tenant_id] = await stack.enter_async_context(
                            self._rollout.prepared(tenant_id, actor=actor)
                        )
                if await self._flip_globally(wish, seen, actor=actor):
                    return
                if time.monotonic() - started >= FENCE_SECONDS_MAX:
                    raise FenceBusy("not all fences came at the same time; enforce the tenants in waves")
                await asyncio.sleep(pause)
                pause = min(pause * 2, PAUSE_SECONDS_MAX)

    async def _list_newly_enforced(self, wish: SetFlag, *, actor: Actor) -> list[UUID]:
        """Whom the value would enforce who is not enforced now: tried, and taken back."""
        async with self._database.connection() as conn, conn.transaction(force_rollback=True):
            await lock_control(conn, is_alone=True)
            before = set(await rollout_repo.list_enforced_ids(conn))
            await _write(conn, wish, actor=actor)
            newly = [id_ for id_ in await rollout_repo.list_enforced_ids(conn) if id_ not in before]
        if len(newly) > ENFORCED_AT_ONCE_MAX:
            raise TooManyTenants(
                f"{len(newly)} tenants would be enforced at once, and at most {ENFORCED_AT_ONCE_MAX} may be: "
                "enforce them in waves, then set the global value"
            )
        return newly

    async def _flip_globally(self, wish: SetFlag, seen: dict[UUID, Prepared], *, actor: Actor) -> bool:
        """Try once; False when a fence did not come, or somebody changed who would be enforced."""
        try:
            async with self._database.transaction() as conn:
                await rollout_repo.keep_short(conn, timeout_ms=FENCED_MS_MAX)
                await lock_control(conn, is_alone=True)
                before = await rollout_repo.list_enforced_ids(conn)
                await _write(conn, wish, actor=actor)
                newly = [id_ for id_ in await rollout_repo.list_enforced_ids(conn) if id_ not in before]
                await _ensure_agreed(conn)
                if set(newly) - seen.keys() or set(newly) - await rollout_repo.take_fences(conn, newly):
                    raise _Again
                # From here on no call of these tenants is under way.
                for tenant_id in newly:
                    if await self._rollout.judge_inside(conn, seen[tenant_id]) is None:
                        raise _Again
                await rollout_repo.settle(
                    conn,
                    before,
                    reason=wish.reason,
                    actor=actor,
                    facts=facts_document(),
                    budget_ms=SETTLE_BUDGET_MS,
                )
                return True
        except _Again:
            return False


class _Again(Exception):
    """The attempt is taken back and made again."""


async def _ensure_unchanged(conn: Connection, wish: SetFlag, *, seen: str | None) -> None:
    """Raise FlagChanged when the flag is not what was looked at; from here on nobody else who looks changes it."""
    if seen is None:
        return
    await lock_control(conn, is_alone=True)
    flags = await flag_repo.list_effective(conn, wish.tenant_id, provider=wish.provider)
    if all(flag.mark != seen for flag in flags if flag.flag is wish.flag):
        raise FlagChanged


async def _write(conn: Connection, wish: SetFlag, *, actor: Actor) -> None:
    if wish.provider is not None:
        scope, holder = "provider", wish.provider
    elif wish.scope is FlagScope.TENANT:
        scope, holder = "tenant", str(wish.tenant_id)
    else:
        scope, holder = "global", ""
    await flag_repo.write(
        conn,
        wish.flag,
        scope=scope,
        holder=holder,
        value=wish.value,
        expires_at=wish.expires_at,
        reason=wish.reason,
        actor=actor,
    )


async def _ensure_agreed(conn: Connection) -> None:
    refused = await flag_repo.list_refused(conn)
    if refused:
        raise FlagsContradict(
            f"the ledger would decide about balances that it does not write, for: {', '.join(refused)}",
            tenants=refused,
        )
