"""Which PostgreSQL is in use, and as whom: the embedded one, or what DATABASE_URL names."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psycopg
from psycopg.conninfo import conninfo_to_dict

from backend.app.repositories import schema
from backend.app.repositories.embedded import postgres as embedded_postgres
from backend.app.repositories.embedded.postgres import EmbeddedPostgres
from backend.app.repositories.faults import DatabaseUnavailable, DatabaseUnsuitable
from backend.app.repositories.schema import SERVICE_ROLE, SchemaStatus, one_line
from backend.config import Settings

OLDEST_SUPPORTED = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The database of this installation; close it, since an embedded server stops with its last user.

    Connections made with `service_url` run `SET ROLE` to `set_role` when that is not None.
    `weaker_form`: the service logs in as the owner and merely steps down, so a breach could step up again.
    """

    owner_url: str
    service_url: str
    set_role: str | None
    service_login: str
    embedded: EmbeddedPostgres | None

    @property
    def weaker_form(self) -> bool:
        """Whether the service's login role also owns the schema."""
        return self.owner_url == self.service_url

    def migrate(self) -> SchemaStatus:
        """Bring the schema to this release. Raises DatabaseUnavailable or DatabaseUnsuitable."""
        return schema.migrate(self.owner_url, service_login=self.service_login)

    def status(self) -> SchemaStatus:
        """How far the schema is. Raises DatabaseUnavailable or DatabaseUnsuitable."""
        return schema.status(self.owner_url)

    def close(self) -> None:
        """Leave the embedded server, which the last user stops; nothing to do for an external one."""
        if self.embedded is not None:
            self.embedded.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def resolve(settings: Settings) -> Engine:
    """The engine that the settings name, proven to answer; the embedded one is started if need be.

    Raises EmbeddedPostgresError, DatabaseUnavailable, or DatabaseUnsuitable for a PostgreSQL too old.
    """
    if settings.database_url is None:
        if settings.database_owner_url is not None:
            raise DatabaseUnsuitable("DATABASE_OWNER_URL is set without DATABASE_URL: set both or none")
        embedded = embedded_postgres.start(settings.hakem_home)
        return Engine(
            owner_url=embedded.owner_url,
            service_url=embedded.service_url,
            set_role=None,
            service_login=SERVICE_ROLE,
            embedded=embedded,
        )
    service_url = settings.database_url.get_secret_value()
    owner_url = (settings.database_owner_url or settings.database_url).get_secret_value()
    timeout_seconds = settings.database_connect_timeout_seconds
    login = _prove(service_url, name="DATABASE_URL", timeout_seconds=timeout_seconds)
    if owner_url != service_url:
        _prove(owner_url, name="DATABASE_OWNER_URL", timeout_seconds=timeout_seconds)
    return Engine(
        owner_url=owner_url,
        service_url=service_url,
        # Whoever logs in, the service's rights are those of hakem_service and no others.
        set_role=None if login == SERVICE_ROLE else SERVICE_ROLE,
        service_login=login,
        embedded=None,
    )


def _prove(url: str, *, name: str, timeout_seconds: float) -> str:
    """The login role of a URL whose server answers and is new enough; no message repeats the password."""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise DatabaseUnsuitable(f"{name} is not a PostgreSQL URL") from None
    try:
        # libpq counts whole seconds and takes less than two for two.
        with psycopg.connect(url, autocommit=True, connect_timeout=max(2, round(timeout_seconds))) as conn:
            major = conn.info.server_version // 10000
            if major < OLDEST_SUPPORTED:
                raise DatabaseUnsuitable(f"{name} leads to PostgreSQL {major}; Hakem needs {OLDEST_SUPPORTED} or newer")
            return conn.info.user
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"{name}: the database does not answer: {one_line(error)}") from error
