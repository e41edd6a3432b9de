"""Declaring how a provider's settlement files are to be read: what makes a provider without an interface known."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from backend.app.domain.audit import Actor, AuditEntry
from backend.app.domain.errors import FieldError
from backend.app.domain.payments.psp_account import AccountKey
from backend.app.domain.reconciliation.settlement_mapping import (
    SettlementMapping,
    SettlementMappingInvalid,
    SettlementMappingNotFound,
    digest_of,
    flatten,
    parse_mapping,
)
from backend.app.domain.tenant import InvalidTenant, account_id_of
from backend.app.psp import mockpsp
from backend.app.psp.registry import SCHEMES
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.payments import psp_account_repo
from backend.app.repositories.reconciliation import reconciliation_repo, settlement_repo
from backend.app.repositories.reconciliation.settlement_repo import DeclaredMapping

# As the ledger's clearing accounts have it in their names.
PROVIDER_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
# Whose statements come from an interface as well (wiring.sources_of). An item is one and the same in both only under
# the name that the interface gives it.
WITH_INTERFACE: Final = frozenset({mockpsp.PROVIDER})


class SettlementMappings:
    """The service of declarations. Built once per command."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def declare(
        self, tenant_id: UUID, *, provider: str, document: Mapping[str, Any], actor: Actor, now: datetime
    ) -> bool:
        """Check and keep a declaration; False when it was declared just so before.

        An account that it names at a provider without webhooks becomes the tenant's. Raises FieldError,
        SettlementMappingInvalid, InvalidTenant or PspAccountExists, and then nothing has changed.
        """
        if not PROVIDER_NAME.fullmatch(provider):
            raise FieldError("provider", "has small letters, digits and _, at most 40, and begins with a letter")
        mapping = parse_mapping(document)
        if provider in WITH_INTERFACE and mapping.columns.line is None:
            raise _invalid(
                "columns.line", f"is needed: {provider} has an interface too, and lines are known by its names for them"
            )
        async with self._database.transaction() as conn:
            if not await reconciliation_repo.tenant_exists(conn, tenant_id):
                raise InvalidTenant
            before = await settlement_repo.lock_mapping(conn, tenant_id, provider=provider)
            await self._settle_accounts(conn, tenant_id, provider=provider, mapping=mapping, actor=actor)
            if before is not None and before.document == document:
                return False
            # From here on the declaration holds.
            await settlement_repo.save_mapping(conn, tenant_id, provider=provider, document=document, now=now)
            await audit_repo.insert(
                conn,
                tenant_id,
                AuditEntry(
                    actor=actor,
                    action="settlement_mapping.declared",
                    object_kind="settlement_mapping",
                    object_id=provider,
                    before=None if before is None else flatten(before.document),
                    after={"sha256": digest_of(document), **flatten(document)},
                ),
            )
        return True

    async def get(self, tenant_id: UUID, *, provider: str) -> DeclaredMapping:
        """What is declared. Raises SettlementMappingNotFound."""
        async with self._database.connection() as conn:
            declared = await settlement_repo.find_mapping(conn, tenant_id, provider=provider)
        if declared is None:
            raise SettlementMappingNotFound(
                f"the tenant has declared no mapping for {provider!r}: hakem reconcile mapping set"
            )
        return declared

    async def list_page(self, tenant_id: UUID, *, after_provider: str, limit: int) -> list[DeclaredMapping]:
        """What a tenant has declared, by provider, from after one."""
        async with self._database.connection() as conn:
            return await settlement_repo.list_mappings(conn, tenant_id, after_provider=after_provider, limit=limit)

    async def _settle_accounts(
        self, conn: Connection, tenant_id: UUID, *, provider: str, mapping: SettlementMapping, actor: Actor
    ) -> None:
        """See to it that the accounts that the file is about are the tenant's."""
        known = set(await reconciliation_repo.list_accounts(conn, tenant_id, provider=provider))
        if provider == mockpsp.PROVIDER:
            known.add(account_id_of(tenant_id))
        for account_id in mapping.accounts:
            if account_id in known:
                continue
            if provider in SCHEMES:
                # Who has the account gets its webhooks as well: that is not declared in passing.
                raise _invalid(
                    "accounts", f"{account_id!r} is no account of the tenant at {provider}: hakem psp accounts add"
                )
            await psp_account_repo.insert(conn, tenant_id, key=AccountKey(provider, account_id), secret_name=None)
            await audit_repo.insert(
                conn,
                tenant_id,
                AuditEntry(
                    actor=actor,
                    action="psp_account.added",
                    object_kind="psp_account",
                    object_id=f"{provider}/{account_id}",
                    after={"webhook_secret_name": None},
                ),
            )
            known.add(account_id)
        if not known:
            raise _invalid("accounts", f"is needed: the tenant has no account at {provider} yet")
        if mapping.columns.account is None and not mapping.accounts and len(known) > 1:
            raise _invalid("accounts", f"is needed: which of the tenant's {len(known)} accounts is the file about?")


def _invalid(field: str, message: str) -> SettlementMappingInvalid:
    return SettlementMappingInvalid(f"{field}: {message}", errors=[{"field": field, "message": message}])
