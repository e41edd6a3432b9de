"""Every page of the console over a long past: how long the service takes for it, and whether it grows with the past."""

import asyncio
import http.client
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
from psycopg import AsyncConnection

from backend.app.domain.people.console_session import hash_token
from backend.tests.console_load import Load, Scale, load, load_fleet
from backend.tests.console_places import PAGES, Place, address_of, name_of
from bench.context import Context
from bench.measure import Measurement, percentiles_ms
from bench.server import Urls
from bench.serving import Serving

REQUESTS: Final = 25
# Of the tenth only the best is looked at.
REQUESTS_OF_TENTH: Final = 10
TENTH: Final = 10
FLEET: Final = 200
# What a page of the console may take , in milliseconds.
PROMISED_MS: Final = 150.0
# A page that takes this much more over ten times the rows, and is no trifle, grows with them.
GROWN: Final = 2.0
TRIFLE_MS: Final = 20.0
# The one page that reads nothing: what each request costs before a page is made.
SIGN_IN: Final = "/console/sign-in"
TENANTS: Final = (("console", 1), ("console-other", 10))

INSERT_TENANT: Final = "INSERT INTO tenants (id, slug, name, base_currency) VALUES (%s, %s, %s, 'USD')"
INSERT_OWNER: Final = """
INSERT INTO admins (id, email, password_hash, role) VALUES (%s, 'console@bench.invalid', 'none', 'owner')
"""
INSERT_SESSION: Final = """
INSERT INTO console_sessions (token_hash, admin_id, scope_tenant_id, opened_at, seen_at)
VALUES (%s, %s, %s, clock_timestamp(), clock_timestamp())
"""
FIND_ADMIN: Final = "SELECT id FROM admins WHERE tenant_id = %s ORDER BY id LIMIT 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A loaded database, and what the addresses of pages name in it."""

    urls: Urls
    here: Load
    admin_id: UUID

    def path(self, place: Place) -> str:
        """The place's whole address."""
        return f"/console{address_of(place, self.here, admin_id=self.admin_id)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One page in one view: the seconds of each request."""

    name: str
    seconds: Sequence[float]

    @property
    def median_ms(self) -> float:
        """The one in the middle."""
        return median(self.seconds) * 1000

    @property
    def best_ms(self) -> float:
        """The one that nobody disturbed: two runs are compared by it, since the machine is never quite the same."""
        return min(self.seconds) * 1000


def measure(context: Context) -> list[Measurement]:
    """All pages over a tenth of the rows, then over all of them."""
    small = prepare(context, "console_tenth", transactions=context.console_transactions // TENTH)
    tenth = {line.name: line.best_ms for line in measure_pages(small, requests=REQUESTS_OF_TENTH)}
    large = prepare(context, "console", transactions=context.console_transactions)
    return report(measure_pages(large, requests=REQUESTS), tenth=tenth)


def scale_of(transactions: int) -> Scale:
    """What a tenant has beside so many transactions."""
    return Scale(
        players=transactions // 50,
        transactions=transactions,
        withdrawals=transactions // 10,
        events=transactions // 4,
        statement_items=transactions // 4,
        audit_events=transactions // 4,
        findings=transactions // 33,
        runs=max(50, transactions // 400),
        adjustments=transactions // 500,
        days=max(9, transactions * 90 // 1_000_000),
        rejects=max(10, transactions // 1_000),
    )


def prepare(context: Context, name: str, *, transactions: int) -> Past:
    """A database with two tenants' pasts, the second one smaller, and a fleet beside them."""
    urls = context.server.clone(name)
    here = asyncio.run(_load(urls, transactions=transactions))
    with psycopg.connect(urls.superuser, autocommit=True) as conn:
        conn.execute("VACUUM (ANALYZE)")
        conn.execute("CHECKPOINT")
        row = conn.execute(FIND_ADMIN.encode(), (here.tenant_id,)).fetchone()
        assert row is not None, "the loader makes admins"
    return Past(urls=urls, here=here, admin_id=row[0])


async def _load(urls: Urls, *, transactions: int) -> Load:
    async with await AsyncConnection.connect(urls.owner, autocommit=True) as owner:
        await owner.execute("SET synchronous_commit = off")
        await load_fleet(owner, tenants=FLEET)
        loads = []
        for slug, part in TENANTS:
            tenant_id = uuid4()
            await owner.execute(INSERT_TENANT.encode(), (tenant_id, slug, slug))
            loads.append(await load(owner, tenant_id, scale_of(transactions // part)))
    return loads[0]


def measure_pages(past: Past, *, requests: int) -> list[Line]:
    """Each page for the owner, in the loaded tenant and in all tenants, one request after another."""
    admin_id, lines = uuid4(), []
    with psycopg.connect(past.urls.owner, autocommit=True) as conn, _serving(past.urls) as browser:
        conn.execute(INSERT_OWNER.encode(), (admin_id,))
        lines.append(Line(name="sign-in", seconds=browser.ask(SIGN_IN, token="", requests=requests)))
        for view, tenant_id in (("one tenant", past.here.tenant_id), ("all tenants", None)):
            token = secrets.token_urlsafe(32)
            conn.execute(INSERT_SESSION.encode(), (hash_token(token), admin_id, tenant_id))
            lines.extend(
                Line(
                    name=f"{name_of(place)}, {view}",
                    seconds=browser.ask(past.path(place), token=token, requests=requests),
                )
                for place in PAGES
                if tenant_id is None or not place.is_of_all
            )
        conn.execute("DELETE FROM console_sessions WHERE admin_id = %s", (admin_id,))
        conn.execute("DELETE FROM admins WHERE id = %s", (admin_id,))
    return lines


def report(lines: Sequence[Line], *, tenth: dict[str, float]) -> list[Measurement]:
    """The table: beside each page how many times the sign-in page it is, and what it was over a tenth of the rows."""
    sign_in_ms = lines[0].median_ms
    slow = [line.name for line in lines if line.median_ms > PROMISED_MS]
    grown = [line.name for line in lines if line.best_ms > max(TRIFLE_MS, GROWN * tenth.get(line.name, line.best_ms))]
    verdicts = [
        Measurement(
            group="console", name=f"medians over {PROMISED_MS:g} ms", note=", ".join(f"`{n}`" for n in slow) or "none"
        ),
        Measurement(
            group="console",
            name=f"more than {GROWN:g} times a tenth's",
            note=", ".join(f"`{name}`" for name in grown) or "none",
        ),
    ]
    return verdicts + [
        Measurement(
            group="console",
            name=f"`{line.name}`",
            latencies_ms=percentiles_ms(line.seconds),
            note=f"{line.median_ms / sign_in_ms:.0f} × sign-in; best {line.best_ms:.1f} ms, "
            f"over a tenth of the rows {tenth[line.name]:.1f} ms",
        )
        for line in lines
    ]


class _Browser:
    """One kept connection. What it adds to the service's time is the loopback's.

    A page is there when its end is; of a file it is the first bytes that somebody waits for, the rest is its length.
    """

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        assert target.hostname is not None, "the service printed a whole URL"
        self._conn = http.client.HTTPConnection(target.hostname, target.port, timeout=60)

    def ask(self, path: str, *, token: str, requests: int) -> list[float]:
        """Seconds of each request after a first one, which makes plans and templates."""
        seconds = [self._get(path, token=token) for _ in range(requests + 1)]
        return seconds[1:]

    def _get(self, path: str, *, token: str) -> float:
        headers = {"Cookie": f"hakem-session={token}"} if token else {}
        started_at = time.perf_counter()
        self._conn.request("GET", path, headers=headers)
        answer = self._conn.getresponse()
        answer.read(1 if ".csv" in path else None)
        seconds = time.perf_counter() - started_at
        answer.read()
        # A page that refuses, or sends its reader to sign in, is fast and says nothing.
        is_shown = answer.status == 200 or (answer.status == 303 and "/search" in path)
        assert is_shown, f"{path}: {answer.status} {answer.getheader('location', '')}"
        return seconds


@contextmanager
def _serving(urls: Urls) -> Iterator[_Browser]:
    """A service process without jobs: they would work on the rows that are measured."""
    with (
        tempfile.TemporaryDirectory(prefix="hakem-bench-console-") as folder,
        Serving(
            Path(folder) / "home",
            environment={"DATABASE_URL": urls.service, "DATABASE_OWNER_URL": urls.owner},
            options=("--no-worker",),
        ) as serving,
    ):
        yield _Browser(serving.url)
