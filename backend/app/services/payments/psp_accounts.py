"""Accounts of tenants at payment providers, as an operator sets them up."""

from uuid import UUID

from backend.app.domain.audit import Actor, AuditEntry
from backend.app.domain.errors import FieldError
from backend.app.domain.payments.psp_account import AccountKey, PspAccountNotFound, SignedAccount
from backend.app.psp.registry import PROVIDERS, SCHEMES
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Database
from backend.app.repositories.payments import psp_account_repo


class PspAccounts:
    """The service of accounts at providers. Built once per command."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tenant_id: UUID, *, key: AccountKey, secret_name: str | None, actor: Actor) -> None:
        """Give a tenant an account. Raises FieldError for an unknown provider, PspAccountExists, InvalidTenant."""
        if key.provider not in SCHEMES:
            raise FieldError("provider", f"is none of {', '.join(PROVIDERS)}")
        async with self._database.transaction() as conn:
            await psp_account_repo.insert(conn, tenant_id, key=key, secret_name=secret_name)
            await audit_repo.insert(
                conn,
                tenant_id,
                AuditEntry(
                    actor=actor,
                    action="psp_account.added",
                    object_kind="psp_account",
                    object_id=f"{key.provider}/{key.account_id}",
                    after={"webhook_secret_name": secret_name},
                ),
            )

    async def set_secret_name(self, key: AccountKey, *, secret_name: str | None, actor: Actor) -> None:
        """Name the secret that signs for an account; None: the one that accounts share. Raises PspAccountNotFound."""
        async with self._database.transaction() as conn:
            account = await psp_account_repo.lock(conn, key=key)
            if account is None:
                raise PspAccountNotFound(f"no account {key.account_id} at {key.provider}")
            await psp_account_repo.set_secret_name(conn, key=key, secret_name=secret_name)
            await audit_repo.insert(
                conn,
                account.tenant_id,
                AuditEntry(
                    actor=actor,
                    action="psp_account.secret_named",
                    object_kind="psp_account",
                    object_id=f"{key.provider}/{key.account_id}",
                    before={"webhook_secret_name": account.secret_name},
                    after={"webhook_secret_name": secret_name},
                ),
            )

    async def list_page(self, tenant_id: UUID | None, *, after: AccountKey, limit: int) -> list[SignedAccount]:
        """Accounts of a tenant, or of all when it is None, from after a key."""
        async with self._database.connection() as conn:
            return await psp_account_repo.list_page(conn, tenant_id, after=after, limit=limit)
