"""Findings as people work on them: look, resolve, reopen, assign, export, and have the provider asked again."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final
from uuid import UUID

from backend.app.domain.audit import Actor, AuditEntry
from backend.app.domain.errors import FieldError
from backend.app.domain.finding import (
    FindingChanged,
    FindingFilter,
    FindingNotFound,
    FindingStatus,
    NotReplayable,
    ResolutionCode,
    StoredFinding,
)
from backend.app.domain.payments.payout import find_attempt_name
from backend.app.domain.payments.psp_event import Applied, PspEvent
from backend.app.domain.tenant import account_id_of
from backend.app.psp.adapter import Lookup, NotFound, PspAdapter
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.reconciliation import finding_repo, reconciliation_repo
from backend.app.services.payments.deposit_observations import NotBooked
from backend.app.services.payments.psp_hints import Observer

OBJECT_KIND: Final = "finding"
EXPORTS_AT_ONCE: Final = 2
_DEPOSIT_KINDS: Final = frozenset({"deposit", "refund"})
_PAYOUT_KINDS: Final = frozenset({"payout", "return"})


class Findings:
    """The findings' service. Built once per process. adapters: by provider, those that can be asked."""

    def __init__(
        self,
        database: Database,
        adapters: Mapping[str, PspAdapter],
        *,
        deposits: Observer,
        payouts: Observer,
    ) -> None:
        self._database = database
        self._adapters = adapters
        self._deposits = deposits
        self._payouts = payouts
        self._export_slots = asyncio.Semaphore(EXPORTS_AT_ONCE)

    async def list_page(
        self, scope_tenant_id: UUID | None, *, asked: FindingFilter, before_id: UUID | None, limit: int, offset: int
    ) -> tuple[list[StoredFinding], int]:
        """A page of findings of a tenant, or of all when it is None, newest first; and how many match."""
        async with self._database.connection() as conn:
            return await finding_repo.list_page(
                conn, scope_tenant_id, asked=asked, before_id=before_id, limit=limit, offset=offset
            )

    async def get(self, scope_tenant_id: UUID | None, *, finding_id: UUID) -> StoredFinding:
        """One finding. Raises FindingNotFound, also for another tenant's."""
        async with self._database.connection() as conn:
            found = await finding_repo.find(conn, scope_tenant_id, finding_id=finding_id)
        if found is None:
            raise FindingNotFound
        return found

    async def export(
        self, scope_tenant_id: UUID | None, *, asked: FindingFilter, actor: Actor
    ) -> AsyncIterator[list[StoredFinding]]:
        """All that match, as of one moment, some at a time. The export is audited before it begins."""
        async with self._database.transaction() as conn:
            await audit_repo.insert(
                conn,
                scope_tenant_id,
                AuditEntry(actor=actor, action="finding.exported", object_kind=OBJECT_KIND, object_id="*"),
            )

        async def pages() -> AsyncIterator[list[StoredFinding]]:
            async with self._export_slots, self._database.snapshot() as conn:
                async for page in finding_repo.export(conn, scope_tenant_id, asked=asked):
                    yield page

        return pages()

    async def resolve(
        self,
        scope_tenant_id: UUID | None,
        *,
        finding_id: UUID,
        code: ResolutionCode,
        note: str | None,
        actor: Actor,
        seen_version: str | None = None,
    ) -> StoredFinding:
        """Be done with it; a resolved one stays as it was resolved. seen_version: the one that was looked at.

        Raises FindingNotFound or FindingChanged.
        """
        async with self._database.transaction() as conn:
            before = await _lock(conn, scope_tenant_id, finding_id, seen_version)
            if before.status == FindingStatus.RESOLVED:
                return before
            await finding_repo.resolve(
                conn, before.tenant_id, finding_id=finding_id, code=code, note=note, admin_id=actor.actor_id
            )
            return await _audited(conn, before, action="finding.resolved", reason=note, actor=actor)

    async def reopen(
        self,
        scope_tenant_id: UUID | None,
        *,
        finding_id: UUID,
        note: str,
        actor: Actor,
        seen_version: str | None = None,
    ) -> StoredFinding:
        """Open it again; an open one stays as it is. Raises FindingNotFound, FindingChanged or FieldError."""
        if not note.strip():
            raise FieldError("note", "is required to open a finding again")
        async with self._database.transaction() as conn:
            before = await _lock(conn, scope_tenant_id, finding_id, seen_version)
            if before.status == FindingStatus.OPEN:
                return before
            await finding_repo.reopen(conn, before.tenant_id, finding_id=finding_id)
            return await _audited(conn, before, action="finding.reopened", reason=note, actor=actor)

    async def assign(
        self,
        scope_tenant_id: UUID | None,
        *,
        finding_id: UUID,
        assigned_to: UUID | None,
        note: str | None,
        actor: Actor,
        seen_version: str | None = None,
    ) -> StoredFinding:
        """Give it to an admin of the tenant, or to nobody. Raises FindingNotFound, FindingChanged or FieldError."""
        async with self._database.transaction() as conn:
            before = await _lock(conn, scope_tenant_id, finding_id, seen_version)
            if not await finding_repo.assign(conn, before.tenant_id, finding_id=finding_id, assigned_to=assigned_to):
                raise FieldError("assigned_to", "is no active admin of the finding's tenant")
            return await _audited(conn, before, action="finding.assigned", reason=note, actor=actor)

    async def note(self, scope_tenant_id: UUID | None, *, finding_id: UUID, note: str, actor: Actor) -> StoredFinding:
        """Add a remark to its history, which is the audit. Raises FindingNotFound or FieldError."""
        if not note.strip():
            raise FieldError("note", "is required")
        async with self._database.transaction() as conn:
            before = await _lock(conn, scope_tenant_id, finding_id)
            return await _audited(conn, before, action="finding.noted", reason=note, actor=actor)

    async def replay(self, scope_tenant_id: UUID | None, *, finding_id: UUID, actor: Actor) -> Applied:
        """Ask the provider about the payment again, and apply its answer as a webhook's would be.

        What the answer repairs the next run clears. Raises FindingNotFound or NotReplayable.
        """
        finding = await self.get(scope_tenant_id, finding_id=finding_id)
        is_deposit = await self._is_deposit(finding)
        event = await self._ask(finding, is_deposit=is_deposit)
        observer = self._deposits if is_deposit else self._payouts
        account_id = finding.account_id or account_id_of(finding.tenant_id)
        try:
            async with self._database.transaction() as conn:
                applied = await observer.observe(conn, event, account_id=account_id)
                await audit_repo.insert(
                    conn,
                    finding.tenant_id,
                    AuditEntry(
                        actor=actor,
                        action="finding.replayed",
                        object_kind=OBJECT_KIND,
                        object_id=str(finding_id),
                        after={"effect": applied.effect.value, "detail": applied.detail},
                    ),
                )
        except NotBooked as error:
            raise NotReplayable(f"the ledger refused what the provider said: {error}") from None
        return applied

    async def _is_deposit(self, finding: StoredFinding) -> bool:
        kind = str(finding.evidence.get("theirs_kind") or finding.evidence.get("ours_kind") or "")
        if kind in _DEPOSIT_KINDS | _PAYOUT_KINDS:
            return kind in _DEPOSIT_KINDS
        if finding.tx_id is not None:
            async with self._database.connection() as conn:
                payment = await reconciliation_repo.find_payment(conn, finding.tenant_id, tx_id=finding.tx_id)
            if payment is not None:
                return payment.kind == "deposit"
        raise NotReplayable

    async def _ask(self, finding: StoredFinding, *, is_deposit: bool) -> PspEvent:
        adapter = self._adapters.get(finding.provider)
        if adapter is None:
            raise NotReplayable(f"there is nobody to ask about {finding.provider}")
        account_id = finding.account_id or account_id_of(finding.tenant_id)
        reference = _reference_of(finding, is_deposit=is_deposit)
        found: Lookup
        if finding.provider_ref is not None:
            get = adapter.get_payment if is_deposit else adapter.get_payout
            found = await get(finding.provider_ref, account_id=account_id)
        elif reference is not None:
            look_up = adapter.find_payment_by_reference if is_deposit else adapter.find_payout_by_reference
            found = await look_up(reference, account_id=account_id)
        else:
            raise NotReplayable
        if isinstance(found, PspEvent):
            return found
        if isinstance(found, NotFound):
            raise NotReplayable("the provider knows of no such payment")
        raise NotReplayable(f"the provider did not say: {found.reason}")


def _reference_of(finding: StoredFinding, *, is_deposit: bool) -> str | None:
    for name in ("theirs_reference", "ours_reference", "attempt"):
        reference = finding.evidence.get(name)
        if isinstance(reference, str) and (is_deposit or find_attempt_name(reference) is not None):
            return reference
    return str(finding.tx_id) if is_deposit and finding.tx_id is not None else None


async def _lock(
    conn: Connection, scope_tenant_id: UUID | None, finding_id: UUID, seen_version: str | None = None
) -> StoredFinding:
    found = await finding_repo.lock(conn, scope_tenant_id, finding_id=finding_id)
    if found is None:
        raise FindingNotFound
    if seen_version is not None and seen_version != found.version:
        raise FindingChanged
    return found


async def _audited(
    conn: Connection, before: StoredFinding, *, action: str, reason: str | None, actor: Actor
) -> StoredFinding:
    after = await finding_repo.find(conn, before.tenant_id, finding_id=before.id)
    assert after is not None, "its row is ours"
    await audit_repo.insert(
        conn,
        before.tenant_id,
        AuditEntry(
            actor=actor,
            action=action,
            object_kind=OBJECT_KIND,
            object_id=str(before.id),
            reason=reason,
            before=before.audit_state,
            after=after.audit_state,
        ),
    )
    return after
