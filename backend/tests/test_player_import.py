"""`hakem players import` on a real database: what it writes, rejects and skips; running it again is harmless."""

import asyncio
import csv
import io
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from backend.app.domain.audit import Actor, ActorKind
from backend.app.domain.backfill.player_import import COLUMNS, ImportPlayers
from backend.app.repositories import presence
from backend.app.repositories.database import Database as Pool
from backend.app.repositories.engine import Engine
from backend.app.services.backfill import player_import
from backend.app.services.backfill.player_import import ImportReport, PlayerImport
from backend.config import Settings
from backend.tests import commands
from backend.tests.conftest import Database

HEADER = ",".join(COLUMNS)
DEADLINE_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One tenant, a home and a folder for files."""

    tenant_id: UUID
    folder: Path
    database: Database

    @property
    def environment(self) -> dict[str, str]:
        return commands.environment_of(self.database, self.folder / "home")

    def file(self, *lines: str, name: str = "players.csv", header: str = HEADER) -> Path:
        path = self.folder / name
        path.write_text("\n".join((header, *lines, "")), "utf-8")
        return path

    def start(self, file: Path, *options: str) -> subprocess.Popen[str]:
        """As a process that can be killed."""
        return self._start(("-m", "backend.scripts"), file, *options)

    def _start(self, words: Sequence[str], file: Path, *options: str) -> subprocess.Popen[str]:
        arguments = ["players", "import", str(file), "--tenant-id", str(self.tenant_id), *options]
        return subprocess.Popen(
            [sys.executable, *words, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, file: Path, *options: str) -> "Ran":
        with self._start(commands.words()[1:], file, *options) as process:
            out, err = process.communicate(timeout=DEADLINE_SECONDS * 2)
        return Ran(code=process.returncode, out=out, err=err)

    def query(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database.owner_url) as conn:
            return conn.execute(query.encode(), {"tenant_id": self.tenant_id}).fetchall()

    def players(self) -> list[tuple[object, ...]]:
        return self.query(
            "SELECT external_id, email, username, currency, balance_real_available, balance_real_held, kyc_status"
            " FROM players WHERE tenant_id = %(tenant_id)s ORDER BY id"
        )

    def audits(self) -> list[tuple[object, ...]]:
        return self.query(
            "SELECT actor_kind, action, state_after->>'read', state_after->>'imported', state_after->>'rejected'"
            " FROM audit_events WHERE tenant_id = %(tenant_id)s ORDER BY id"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def summary(self) -> str:
        return self.out.splitlines()[-1]

    @property
    def rejects(self) -> list[dict[str, str]]:
        (line,) = (line for line in self.out.splitlines() if line.startswith("rejects "))
        return list(csv.DictReader(io.StringIO(Path(line.removeprefix("rejects ")).read_text("utf-8"))))


@pytest.fixture
def place(database: Database, tmp_path: Path) -> Place:
    return new_place(database, tmp_path)


def new_place(database: Database, folder: Path) -> Place:
    with psycopg.connect(database.owner_url) as conn:
        row = conn.execute(
            "INSERT INTO tenants (slug, name, base_currency) VALUES (%s, 'Import', 'TRY') RETURNING id",
            (f"import-{uuid4().hex[:12]}",),
        ).fetchone()
    assert row is not None
    return Place(tenant_id=row[0], folder=folder, database=database)


def rows(count: int, *, start: int = 0) -> list[str]:
    return [f"x{n:07d},p{n}@example.com,player {n},TRY,{n}.25,1.00,verified" for n in range(start, start + count)]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.01)


def test_import_fills_the_legacy_columns_and_opens_no_wallet(place: Place) -> None:
    file = place.file("x1,A@B.C,Ayşe,USD,12.50,1.00,verified", ",d@e.f,Bo,,,,")
    ran = place.run(file)
    assert (ran.code, ran.summary) == (0, "read=2 imported=2 exists=0 rejected=0"), ran.err
    assert place.players() == [
        ("x1", "a@b.c", "Ayşe", "USD", 1250, 100, "verified"),
        (None, "d@e.f", "Bo", "TRY", 0, 0, "pending"),
    ]
    assert place.query("SELECT count(*) FROM wallet_balances WHERE tenant_id = %(tenant_id)s") == [(0,)]
    assert place.query("SELECT count(*) FROM ledger_transactions WHERE tenant_id = %(tenant_id)s") == [(0,)]
    assert place.audits() == [("operator", "players.imported", "2", "2", "0")]
    assert not (place.folder / "home" / "rejects").exists()


def test_running_again_changes_nothing(place: Place) -> None:
    file = place.file(*rows(50))
    assert place.run(file).code == 0
    place.query("UPDATE players SET balance_real_available = 1 WHERE tenant_id = %(tenant_id)s RETURNING id")
    before = place.players()
    again = place.run(file)
    assert (again.code, again.summary) == (0, "read=50 imported=0 exists=50 rejected=0")
    assert place.players() == before
    assert len(place.audits()) == 2


def test_overlapping_files_import_each_player_once(place: Place) -> None:
    assert place.run(place.file(*rows(60))).summary == "read=60 imported=60 exists=0 rejected=0"
    assert place.run(place.file(*rows(60, start=40))).summary == "read=60 imported=40 exists=20 rejected=0"
    assert len(place.players()) == 100


def test_same_addresses_in_another_tenant_are_other_players(place: Place) -> None:
    other = new_place(place.database, place.folder)
    assert place.run(place.file(*rows(3))).code == 0
    assert other.run(place.file(*rows(3))).summary == "read=3 imported=3 exists=0 rejected=0"


def test_contradictions_with_existing_players_are_rejected(place: Place) -> None:
    assert place.run(place.file("x1,a1@b.c,u,,1,,", "x2,a2@b.c,u,,1,,", ",a3@b.c,u,,1,,")).code == 0
    before = place.players()
    ran = place.run(
        place.file(
            "x9,a1@b.c,u,,5,,",  # the address has another external_id
            "x2,new@b.c,u,,5,,",  # the external_id has another address
            "x1,a2@b.c,u,,5,,",  # two different players
            "x3,a3@b.c,u,,5,,",  # an external_id that was not known: the same player
            ",a1@b.c,u,,5,,",  # none given: the same player
        )
    )
    assert (ran.code, ran.summary) == (1, "read=5 imported=0 exists=1 rejected=4")
    assert place.players() == before
    assert [(reject["line_number"], reject["reason"]) for reject in ran.rejects] == [
        ("2", "email: belongs to a player with another external_id"),
        ("3", "external_id: belongs to a player with another email"),
        ("4", "email and external_id belong to two different players"),
        ("6", "line 2 has the same email or external_id with other values; the first one counts"),
    ]


def test_rejects_file_has_the_row_the_line_and_the_reason(place: Place) -> None:
    file = place.file(
        "good@b.c,u,,,,,g1",
        "=cmd@b.c x,u,,,,,g2",
        "a@b.c,@SUM(A1),,-5.00,,,g3",
        "only,three,cells",
        '"never closed,u,,,,,',
        header="email,username,currency,balance_available,balance_held,kyc_status,external_id",
    )
    ran = place.run(file)
    assert (ran.code, ran.summary) == (1, "read=5 imported=1 exists=0 rejected=4")
    rejects = ran.rejects
    assert list(rejects[0]) == file.read_text("utf-8").splitlines()[0].split(",") + ["line_number", "reason"]
    assert [reject["line_number"] for reject in rejects] == ["3", "4", "5", "6"]
    assert rejects[0]["email"] == "'=cmd@b.c x"
    assert (rejects[1]["username"], rejects[1]["balance_available"]) == ("'@SUM(A1)", "-5.00")
    assert rejects[2]["email"] == "only,three,cells"
    assert [reject["reason"].split(":")[0] for reject in rejects] == [
        "email",
        "balance_available",
        "3 cells where the header has 7",
        "a quote is opened and never closed (read to line 6)",
    ]
    (written,) = (place.folder / "home" / "rejects").iterdir()
    assert written.stat().st_mode & 0o777 == 0o600


def test_repeats_in_the_file_are_skipped_or_rejected(place: Place) -> None:
    ran = place.run(
        place.file("x1,a@b.c,u,,1.00,,", "x1,A@B.C,u,TRY,1,0,pending", "x1,a@b.c,u,,2.00,,", "x2,a@b.c,u,,1,,")
    )
    assert (ran.code, ran.summary) == (1, "read=4 imported=1 exists=1 rejected=2")
    assert [row[4] for row in place.players()] == [100]
    assert {reject["reason"][:6] for reject in ran.rejects} == {"line 2"}


def test_dry_run_writes_nothing_and_says_the_same(place: Place) -> None:
    assert place.run(place.file(*rows(10))).code == 0
    lines = [*rows(30, start=5), *rows(30, start=5), "x1,bad,u,,,,", ",usd@b.c,u,USD,7.50,0.50,"]
    before = contents(place)
    dry = place.run(place.file(*lines), "--dry-run")
    assert contents(place) == before
    assert (dry.code, dry.summary) == (1, "read=62 imported=26 exists=35 rejected=1"), dry.err
    assert "money currency=USD players=1 available=7.50 held=0.50" in dry.out
    real = place.run(place.file(*lines))
    assert real.summary == dry.summary
    assert [line for line in real.out.splitlines() if line.startswith("money")] == [
        line for line in dry.out.splitlines() if line.startswith("money")
    ]


def contents(place: Place) -> dict[str, object]:
    """Every row of every table."""
    with psycopg.connect(place.database.owner_url) as conn:
        tables = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return {
            table: sorted(conn.execute(sql.SQL("SELECT t::TEXT FROM {} t").format(sql.Identifier(table))))
            for (table,) in tables
        }


def test_two_imports_of_one_file_at_once_share_the_work(place: Place) -> None:
    file = place.file(*rows(25_000))
    processes = [place.start(file), place.start(file)]
    ended = [process.communicate(timeout=DEADLINE_SECONDS * 2) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    summaries = [dict(part.split("=") for part in out.splitlines()[-1].split()) for out, _ in ended]
    assert sum(int(summary["imported"]) for summary in summaries) == 25_000
    assert sum(int(summary["exists"]) for summary in summaries) == 25_000
    assert len(place.players()) == 25_000


def test_player_who_registers_meanwhile_is_skipped(place: Place) -> None:
    file = place.file(*rows(20))
    with psycopg.connect(place.database.owner_url) as conn:
        conn.execute(
            "INSERT INTO players (tenant_id, email, username, currency) VALUES (%s, 'p7@example.com', 'own', 'TRY')",
            (place.tenant_id,),
        )
        process = place.start(file)
        # Not committed yet: the import judges the address as free, and then waits for it.
        wait_until(lambda: is_import_waiting(place) or process.poll() is not None)
    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == "read=20 imported=19 exists=1 rejected=0"
    assert ("own",) in place.query("SELECT username FROM players WHERE tenant_id = %(tenant_id)s")


def is_import_waiting(place: Place) -> bool:
    # The superuser, since others do not see what a stranger's session does.
    with psycopg.connect(place.database.superuser_url) as conn:
        found = conn.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND query LIKE '%INSERT INTO players%'"
        )
        return found.fetchone() is not None


def test_killed_import_keeps_whole_chunks_and_the_next_one_completes_it(place: Place) -> None:
    file = place.file(*rows(60_000))
    process = place.start(file)
    count = "SELECT count(*) FROM players WHERE tenant_id = %(tenant_id)s"
    wait_until(lambda: place.query(count) != [(0,)] or process.poll() is not None)
    process.kill()
    process.communicate()
    ((kept,),) = place.query(count)
    assert isinstance(kept, int)
    assert kept % player_import.CHUNK_ROWS == 0
    assert 0 < kept < 60_000, "killed too late to prove anything"
    assert place.audits() == []
    ran = place.run(file)
    assert (ran.code, ran.summary) == (0, f"read=60000 imported={60_000 - kept} exists={kept} rejected=0")
    assert len(place.audits()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["players", "import", "{file}", "--tenant-id", str(uuid4())], 2, "there is no tenant"),
        (["players", "import", "{file}", "--tenant-id", "not-a-uuid"], 2, "valid UUID"),
        (["players", "import", "{file}"], 2, "--tenant-id"),
        (["players", "import", "{file}.gone", "--tenant-id", str(uuid4())], 2, "does not exist"),
        (["players", "import", "{folder}", "--tenant-id", str(uuid4())], 2, "directory"),
    ],
)
def test_wrong_usage_is_exit_code_2(place: Place, arguments: list[str], code: int, said: str) -> None:
    file = place.file(*rows(1))
    done = subprocess.run(
        [
            *commands.words(),
            *(argument.format(file=file, folder=place.folder) for argument in arguments),
        ],
        env=place.environment | {"TERMINAL_WIDTH": "300", "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_refused_file_is_exit_code_2(place: Place) -> None:
    ran = place.run(place.file("a@b.c", header="email"))
    assert (ran.code, ran.out) == (2, "")
    assert "columns missing: external_id" in ran.err


def test_database_without_the_right_or_the_schema_is_exit_code_3(
    new_database: Callable[..., Database], tmp_path: Path
) -> None:
    database = new_database()
    place = new_place(database, tmp_path)
    with psycopg.connect(database.owner_url) as conn:
        conn.execute(f"REVOKE TEMPORARY ON DATABASE {database.name} FROM PUBLIC".encode())
    ran = place.run(place.file(*rows(1)))
    assert ran.code == 3
    assert f"GRANT TEMPORARY ON DATABASE {database.name} TO hakem_service" in ran.err
    empty = Place(tenant_id=place.tenant_id, folder=tmp_path, database=new_database(migrated=False))
    ran = empty.run(place.file(*rows(1)))
    assert ran.code == 3
    assert "hakem db migrate" in ran.err


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_file(place: Place) -> None:
    small, large = (peak_memory(place, place.file(*rows(count), name=f"{count}.csv")) for count in (20_000, 200_000))
    # All rows of the large file would be some 100 MB, more than the program itself.
    assert large / small < 1.15, (small, large)
    assert large < 150_000


def peak_memory(place: Place, file: Path) -> int:
    """Peak resident memory in kB of a dry run over the file; from /proc, since getrusage starts from the parent's."""
    script = (
        "import re, sys; from pathlib import Path; from backend.scripts.cli import app, run;"
        "code = run(app, sys.argv[1:]);"
        "print(code, re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])"
    )
    arguments = ["players", "import", str(file), "--tenant-id", str(place.tenant_id), "--dry-run"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS * 2,
        check=True,
    )
    code, kilobytes = done.stdout.splitlines()[-1].split()
    assert code == "0", done.stderr
    return int(kilobytes)


# --- the service against an independent model: chunks, dry runs and repetition must not change what a file comes to


@dataclass(frozen=True, slots=True)
class Wish:
    external_id: str | None
    email: str
    available: int


def model(players: list[tuple[str | None, str]], wishes: Iterable[Wish]) -> tuple[int, int, int]:
    """(imported, exists, rejected), one row after the other; adds to `players`."""
    firsts: list[Wish] = []
    imported = exists = rejected = 0
    for wish in wishes:
        same = [
            first
            for first in firsts
            if first.email == wish.email or (wish.external_id and first.external_id == wish.external_id)
        ]
        if not same:
            firsts.append(wish)
        by_email = next((player for player in players if player[1] == wish.email), None)
        by_external_id = next(
            (player for player in players if wish.external_id and player[0] == wish.external_id), None
        )
        is_contradiction = by_external_id is not None and by_external_id != by_email
        if by_email and by_email[0] and wish.external_id and by_email[0] != wish.external_id:
            is_contradiction = True
        if any(first != wish for first in same) or is_contradiction:
            rejected += 1
        elif by_email:
            exists += 1
        else:
            assert not same
            players.append((wish.external_id, wish.email))
            imported += 1
    return imported, exists, rejected


@pytest.mark.parametrize("seed", range(8))
async def test_chunks_and_dry_runs_agree_with_the_model(
    seed: int, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pick = random.Random(seed)
    known = [(pick.choice([None, f"x{n}"]), f"p{n + pick.randrange(2) * 10}@b.c") for n in range(4)]
    await asyncio.to_thread(insert_known, place, known)
    wishes = [
        Wish(pick.choice([None, f"x{pick.randrange(9)}"]), f"p{pick.randrange(14)}@b.c", pick.randrange(2))
        for _ in range(60)
    ]
    raw = "\n".join([HEADER, *(f"{w.external_id or ''},{w.email},u,,{w.available},," for w in wishes)]).encode()
    expected = model(list(known), wishes)
    again = model([*known, *added(known, wishes)], wishes)
    results = []
    for chunk_rows, is_dry_run in ((1, True), (7, True), (100, True), (pick.choice([1, 3, 100]), False), (5, False)):
        monkeypatch.setattr(player_import, "CHUNK_ROWS", chunk_rows)
        counts = (await run_service(place, raw, is_dry_run=is_dry_run)).counts
        results.append((counts.imported, counts.exists, counts.rejected))
    assert results == [expected] * 4 + [again]
    assert len(place.players()) == len(known) + expected[0]


def added(known: list[tuple[str | None, str]], wishes: list[Wish]) -> list[tuple[str | None, str]]:
    players = list(known)
    model(players, wishes)
    return players[len(known) :]


def insert_known(place: Place, known: list[tuple[str | None, str]]) -> None:
    with psycopg.connect(place.database.owner_url) as conn, conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO players (tenant_id, external_id, email, username, currency) VALUES (%s, %s, %s, 'k', 'TRY')",
            [(place.tenant_id, external_id, email) for external_id, email in known],
        )


async def run_service(place: Place, raw: bytes, *, is_dry_run: bool) -> ImportReport:
    settings = Settings(database_pool_min_size=1)
    engine = Engine(
        owner_url=place.database.owner_url,
        service_url=place.database.service_url,
        set_role=None,
        service_login="hakem_service",
        embedded=None,
    )
    pool = Pool(engine, settings)
    await pool.open()
    try:
        command = ImportPlayers(
            tenant_id=place.tenant_id,
            file_name="model.csv",
            actor=Actor(kind=ActorKind.OPERATOR, actor_id=None, label="tests"),
            is_dry_run=is_dry_run,
            now=datetime.now(UTC),
        )
        run = PlayerImport(pool, command, file=io.BytesIO(raw), rejects_folder=place.folder / "rejects")
        return await run.run(lambda _: None)
    finally:
        await pool.close()


def test_import_is_not_held_up_by_a_service_that_runs(place: Place) -> None:
    # A process proves its life by an advisory lock on its number, and tenants are numbered likewise.
    with psycopg.connect(place.database.owner_url) as service:
        service.execute(
            "SELECT pg_advisory_lock(%s, number) FROM tenants WHERE id = %s", (presence.LOCK_NAMESPACE, place.tenant_id)
        )
        ran = place.run(place.file(*rows(3)))
    assert (ran.code, ran.summary) == (0, "read=3 imported=3 exists=0 rejected=0")
