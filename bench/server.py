"""The benchmark's own PostgreSQL: embedded, durable (fsync on), in a temporary home, with players and open wallets."""

import os
import platform
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg
from psycopg import sql

from backend.app.repositories import schema
from backend.app.repositories.embedded import postgres as embedded_postgres
from backend.app.repositories.embedded.cluster import SUPERUSER
from backend.app.repositories.embedded.postgres import DATABASE, OWNER_ROLE, SERVICE_ROLE
from backend.app.repositories.engine import Engine
from bench.workload import CURRENCY, EMPTY_EVERY, PLAYERS, TENANT

RICH_MINOR = 100_000_000_000

INSERT_TENANT = "INSERT INTO tenants (id, slug, name, base_currency) VALUES (%s, 'bench', 'Bench', %s)"
INSERT_PLAYERS = """
INSERT INTO players (id, tenant_id, email, username, currency, kyc_status, balance_real_available)
SELECT
    ('01900000-0000-7000-8000-' || lpad(to_hex(series.number), 12, '0'))::UUID,
    %(tenant_id)s,
    'player-' || series.number || '@bench.invalid',
    'player-' || series.number,
    %(currency)s,
    'verified',
    CASE WHEN series.number %% %(empty_every)s = 0 THEN 0 ELSE %(rich)s END
FROM generate_series(1, %(players)s) AS series (number)
"""
OPEN_WALLETS = """
SELECT wallet_open_v1(%(tenant_id)s, array_agg(page.id))
FROM (SELECT player.id, ntile(40) OVER (ORDER BY player.id) AS number FROM players AS player) AS page
GROUP BY page.number
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """A database, by the roles that use it."""

    owner: str
    service: str
    superuser: str


class BenchServer:
    """Started once for a run and stopped by its own handle."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="hakem-bench-"))
        started_at = time.perf_counter()
        try:
            self._postgres = embedded_postgres.start(self._home)
            schema.migrate(self._postgres.owner_url)
        except BaseException:
            shutil.rmtree(self._home, ignore_errors=True)
            raise
        # From nothing to a database that the service could use.
        self.start_seconds = time.perf_counter() - started_at
        _load_players(self._postgres.owner_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._postgres.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def clone(self, name: str, *, is_empty: bool = False) -> Urls:
        """A database of its own: a copy of the loaded one, or an empty one; an older one of the name is dropped."""
        template = "template0" if is_empty else DATABASE
        with psycopg.connect(self._postgres.url_of(SUPERUSER, database="postgres"), autocommit=True) as conn:
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
            conn.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(OWNER_ROLE), sql.Identifier(template)
                )
            )
        urls = self.urls(name)
        with psycopg.connect(urls.superuser, autocommit=True) as conn:
            # Statistics and visibility as after a while, and no checkpoint of the copy in the middle of a measurement.
            conn.execute("VACUUM (ANALYZE)")
            conn.execute("CHECKPOINT")
        return urls

    def urls(self, name: str) -> Urls:
        """URLs of a database of this server."""
        return Urls(
            owner=self._postgres.url_of(OWNER_ROLE, database=name),
            service=self._postgres.url_of(SERVICE_ROLE, database=name),
            superuser=self._postgres.url_of(SUPERUSER, database=name),
        )

    def engine(self, urls: Urls) -> Engine:
        """The engine that the repositories take, on one of these databases."""
        return Engine(
            owner_url=urls.owner,
            service_url=urls.service,
            set_role=None,
            service_login=SERVICE_ROLE,
            embedded=None,
        )

    def facts(self) -> list[str]:
        """What somebody must know who compares figures; nothing that names the machine."""
        with psycopg.connect(self._postgres.owner_url) as conn:
            version, fsync, synchronous_commit = (
                _scalar(conn, "SELECT current_setting(%s)", name)
                for name in ("server_version", "fsync", "synchronous_commit")
            )
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        memory_gib = psutil.virtual_memory().total / 2**30
        return [
            f"{cores} cores ({platform.machine()}), {memory_gib:.0f} GiB, shared by server and load",
            f"PostgreSQL {version}, fsync {fsync}, synchronous_commit {synchronous_commit}; "
            f"Python {platform.python_version()}",
            f"{PLAYERS:,} wallets, every {EMPTY_EVERY}th empty",
            f"load average of the machine when the run began: {os.getloadavg()[0]:.1f} (idle: 0)",
        ]


def _load_players(owner_url: str) -> None:
    with psycopg.connect(owner_url, autocommit=True) as conn:
        conn.execute(INSERT_TENANT, (TENANT, CURRENCY))
        conn.execute(
            INSERT_PLAYERS,
            {
                "tenant_id": TENANT,
                "currency": CURRENCY,
                "empty_every": EMPTY_EVERY,
                "rich": RICH_MINOR,
                "players": PLAYERS,
            },
        )
        conn.execute(OPEN_WALLETS, {"tenant_id": TENANT})


def _scalar(conn: psycopg.Connection, query: str, *parameters: object) -> str:
    row = conn.execute(query.encode(), parameters).fetchone()
    assert row is not None, "the query always returns a row"
    return str(row[0])
