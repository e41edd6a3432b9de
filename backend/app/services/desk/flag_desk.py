"""Looking at flags before they are changed. Setting them is services/rollout/flags.py."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from backend.app.domain.audit import AuditEvent
from backend.app.domain.desk.flag_desk import FlagDetail
from backend.app.domain.errors import FieldError
from backend.app.domain.rollout.flags import EffectiveFlag, Flag
from backend.app.domain.tenant import TenantNotFound
from backend.app.psp.registry import PROVIDERS
from backend.app.repositories import audit_repo
from backend.app.repositories.database import Connection, Database
from backend.app.repositories.desk import rollout_desk_repo
from backend.app.repositories.rollout import flag_repo

HISTORY: Final = 20
# The only flag with values of providers.
FLAG_OF_PROVIDERS: Final = Flag.WEBHOOK_SIGNATURE_ENFORCED


class FlagDesk:
    """The desk's reading service. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_platform(self) -> tuple[Sequence[EffectiveFlag], Sequence[tuple[str, EffectiveFlag]]]:
        """What every flag comes to for who has nothing of its own; and of each provider the one that it may have."""
        async with self._database.connection() as conn:
            flags = await flag_repo.list_effective(conn, None)
            of_providers = [
                (provider, await _effective(conn, None, flag=FLAG_OF_PROVIDERS, provider=provider))
                for provider in PROVIDERS
            ]
            return flags, of_providers

    async def of_tenant(self, scope_tenant_id: UUID | None, *, tenant_id: UUID, flag: Flag) -> FlagDetail:
        """A flag as it is for a tenant. Raises TenantNotFound, also for another one than the request is about."""
        if scope_tenant_id not in (None, tenant_id):
            raise TenantNotFound
        async with self._database.connection() as conn:
            tenant = await rollout_desk_repo.find_tenant(conn, tenant_id)
            if tenant is None:
                raise TenantNotFound
            return FlagDetail(
                tenant_id=tenant_id,
                tenant_name=tenant.name,
                arbiter=tenant.arbiter,
                provider=None,
                effective=await _effective(conn, tenant_id, flag=flag, provider=None),
                levels=await flag_repo.find_levels(conn, flag),
                history=await _history(conn, tenant_id, flag=flag),
            )

    async def of_platform(self, scope_tenant_id: UUID | None, *, flag: Flag, provider: str | None) -> FlagDetail:
        """A flag as it is for everybody, or for a provider. Raises FieldError; TenantNotFound for who looks at one
        tenant, since it is no tenant's.
        """
        if scope_tenant_id is not None:
            raise TenantNotFound
        if provider is not None and (provider not in PROVIDERS or flag is not FLAG_OF_PROVIDERS):
            raise FieldError("provider", "has no value of this flag")
        async with self._database.connection() as conn:
            return FlagDetail(
                tenant_id=None,
                tenant_name=None,
                arbiter=None,
                provider=provider,
                effective=await _effective(conn, None, flag=flag, provider=provider),
                levels=await flag_repo.find_levels(conn, flag),
                history=[deed for deed in await _history(conn, None, flag=flag) if _holder(deed) == (provider or "")],
            )


async def _effective(conn: Connection, tenant_id: UUID | None, *, flag: Flag, provider: str | None) -> EffectiveFlag:
    flags = await flag_repo.list_effective(conn, tenant_id, provider=provider)
    return next(each for each in flags if each.flag is flag)


async def _history(conn: Connection, tenant_id: UUID | None, *, flag: Flag) -> list[AuditEvent]:
    return await audit_repo.list_of_object(conn, tenant_id, object_kind="flag", object_id=flag.value, limit=HISTORY)


def _holder(deed: AuditEvent) -> object:
    return (deed.state_after or {}).get("holder", "")
