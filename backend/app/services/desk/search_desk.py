"""The search that every page offers: by an id, by the name of an attempt, by what a provider calls its own."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

from backend.app.domain.desk.search_desk import Found, FoundKind
from backend.app.domain.ids import find_uuid
from backend.app.domain.payments.payout import find_attempt_name
from backend.app.psp.registry import PROVIDERS
from backend.app.repositories.database import Database
from backend.app.repositories.desk import reconciliation_desk_repo, search_desk_repo

# More than anybody looks through; who gets so many has to say more exactly what is looked for.
FOUND_MAX: Final = 20


class SearchDesk:
    """The desk's reading service. Built once per process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, scope_tenant_id: UUID | None, *, text: str, kinds: Collection[FoundKind]
    ) -> tuple[Sequence[Found], Mapping[UUID, str]]:
        """What a text names exactly, of these kinds, in a tenant or anywhere; and what the tenants are called."""
        id_ = find_uuid(text)
        attempt = find_attempt_name(text.lower())
        async with self._database.connection() as conn:
            if id_ is not None:
                found = await search_desk_repo.find_by_id(conn, scope_tenant_id, id_=id_, kinds=kinds, limit=FOUND_MAX)
            elif attempt is not None:
                found = (
                    await search_desk_repo.find_attempt(conn, scope_tenant_id, name=attempt)
                    if FoundKind.ATTEMPT in kinds
                    else []
                )
            else:
                found = await search_desk_repo.find_by_reference(
                    conn, scope_tenant_id, reference=text, providers=PROVIDERS, kinds=kinds, limit=FOUND_MAX
                )
            tenant_ids = {each.tenant_id for each in found if each.tenant_id is not None} if len(found) > 1 else set()
            # One is gone to and not shown.
            names = await reconciliation_desk_repo.list_names(conn, sorted(tenant_ids)) if tenant_ids else {}
        return found, names
