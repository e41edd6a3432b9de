"""`hakem admin`, `hakem token` and the demo, typed as an operator types them."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from backend.scripts import cli
from backend.tests import commands
from backend.tests.api_client import JWT_SECRET
from backend.tests.conftest import Database
from backend.tests.fixtures import new_email
from backend.tests.processes import ServeProcess

PASSWORD = "correct horse"


@pytest.fixture
def hakem(database: Database, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command on this worker's database, without a terminal."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*commands.words(), *arguments],
            env=environment(database, tmp_path) | variables,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )

    return run


def environment(database: Database, home: Path) -> dict[str, str]:
    return commands.environment_of(database, home, JWT_SECRET=JWT_SECRET)


def one(database: Database, query: Any, *values: Any) -> tuple[Any, ...] | None:
    with psycopg.connect(database.owner_url) as conn:
        return conn.execute(query, values).fetchone()


def new_tenant(database: Database) -> str:
    tenant = one(
        database,
        "INSERT INTO tenants (slug, name, base_currency) VALUES (%s, 'A tenant', 'USD') RETURNING id",
        f"t-{uuid4().hex}",
    )
    assert tenant is not None
    return str(tenant[0])


async def test_made_admin_signs_in_with_a_password_or_a_token(
    hakem: Any, database: Database, http: httpx.AsyncClient
) -> None:
    email, tenant_id = new_email(), new_tenant(database)
    made = hakem(
        "admin", "create", "--email", email, "--role", "finance", "--tenant-id", tenant_id, HAKEM_PASSWORD=PASSWORD
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith(f"created finance {email} id=")
    assert PASSWORD not in made.stdout + made.stderr
    signed_in = await http.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
    assert signed_in.status_code == 200, signed_in.text
    printed = hakem("token", "--email", email.upper())
    assert (printed.returncode, printed.stdout.count("\n")) == (0, 1), printed.stderr
    me = await http.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {printed.stdout.strip()}"})
    assert (me.json()["email"], me.json()["tenant_id"]) == (email, tenant_id)
    audited = one(database, "SELECT actor_kind, action FROM audit_events WHERE state_after ->> 'email' = %s", email)
    assert audited == ("operator", "admin.created")


async def test_token_of_a_player_opens_their_wallet(hakem: Any, database: Database, http: httpx.AsyncClient) -> None:
    email, tenant_id = new_email(), new_tenant(database)
    body = {"tenant_id": tenant_id, "email": email, "username": "someone", "password": PASSWORD}
    assert (await http.post("/api/v1/auth/player/register", json=body)).status_code == 201
    printed = hakem("token", "--email", email, "--player", "--tenant-id", tenant_id)
    assert printed.returncode == 0, printed.stderr
    headers = {"Authorization": f"Bearer {printed.stdout.strip()}"}
    assert (await http.get("/api/v1/player/wallet/balance", headers=headers)).status_code == 200


async def test_mistakes_are_one_clear_line_and_exit_2(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment(database, tmp_path).items():
        monkeypatch.setenv(name, value)
    email = new_email()
    owner = ("admin", "create", "--email", email, "--role", "owner")

    async def typed(*arguments: str, password: str | None = PASSWORD) -> tuple[int, str, str]:
        """The command in a thread of this process: the entry point is the same, its start is not paid for each line."""
        if password is None:
            monkeypatch.delenv("HAKEM_PASSWORD", raising=False)
        else:
            monkeypatch.setenv("HAKEM_PASSWORD", password)
        exit_code = await asyncio.to_thread(cli.run, cli.app, arguments)
        printed = capsys.readouterr()
        return exit_code, printed.out, " ".join(printed.err.split())

    assert (await typed(*owner))[0] == 0
    for arguments, password, said in (
        (owner, PASSWORD, "exists"),
        (owner, "short", "8 to 128"),
        (owner, None, "HAKEM_PASSWORD"),
        ((*owner, "--tenant-id", str(uuid4())), PASSWORD, "an owner has no tenant"),
        (("admin", "create", "--email", "x", "--role", "owner"), PASSWORD, "email"),
        (("admin", "create", "--email", email, "--role", "king"), PASSWORD, "king"),
        (
            ("admin", "create", "--email", new_email(), "--role", "viewer", "--tenant-id", str(uuid4())),
            PASSWORD,
            "tenant does not exist",
        ),
        (("token", "--email", new_email()), None, "no active admin"),
        (("token", "--email", email, "--player", "--tenant-id", str(uuid4())), None, "no active player"),
        (("token", "--email", email, "--player"), None, "--tenant-id"),
    ):
        exit_code, out, err = await typed(*arguments, password=password)
        assert (exit_code, out) == (2, ""), (arguments, err)
        assert said in err, (arguments, err)


def test_database_without_a_schema_is_an_environment_to_repair(new_database: Any, tmp_path: Path) -> None:
    database: Database = new_database(migrated=False)
    ended = subprocess.run(
        [sys.executable, "-m", "backend.scripts", "token", "--email", "a@example.com"],
        env=environment(database, tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, "hakem db migrate" in ended.stderr) == (3, True), ended.stderr


def test_password_is_asked_for_twice_on_a_terminal(database: Database, tmp_path: Path) -> None:
    email = new_email()
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "backend.scripts", "admin", "create", "--email", email, "--role", "owner"],
        env=environment(database, tmp_path),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        start_new_session=True,
    ) as asking:
        os.close(theirs)
        answer(ours, "Password: ", PASSWORD)
        answer(ours, "Repeat for confirmation: ", PASSWORD)
        assert asking.stdout is not None
        assert asking.stdout.read().startswith(f"created owner {email}")
    os.close(ours)
    assert asking.returncode == 0


def answer(terminal: int, question: str, text: str) -> None:
    """Type the text once the question stands on the terminal."""
    seen = ""
    while not seen.endswith(question):
        seen += os.read(terminal, 1024).decode()
    assert PASSWORD not in seen
    os.write(terminal, f"{text}\n".encode())


async def test_demo_prints_sign_ins_that_work_and_stay(new_database: Any, tmp_path: Path) -> None:
    database: Database = new_database()
    told = []
    for workers in ("1", "2"):
        service = ServeProcess(
            tmp_path,
            environment={"DATABASE_URL": database.service_url, "DATABASE_OWNER_URL": database.owner_url},
            arguments=("--demo", "--workers", workers),
        )
        try:
            await service.start()
            assert '"demo.seeding"' in service.log
            assert '"players.imported"' not in service.log, "months are not told line by line"
            told.append(guidance := service.read_until("curl -sw", times=2))
            await try_demo(guidance, url=service.url)
        finally:
            service.stop()
    assert told[0].split("to try it")[0] == told[1].split("to try it")[0]
    deposits = one(database, "SELECT count(*), sum(amount) FROM deposits WHERE idempotency_key = 'demo-first-deposit'")
    assert deposits == (1, 250_00)


async def try_demo(guidance: str, *, url: str) -> None:
    lines = guidance.splitlines()
    tenant_id = next(line.split()[-1] for line in lines if line.startswith("demo tenant"))
    people = [line.split()[-2:] for line in lines if "@demo.example" in line and "curl" not in line]
    assert len(people) == 8
    async with httpx.AsyncClient(base_url=url) as client:
        for email, password in people:
            is_player = "verified" in email
            body = {"email": email, "password": password} | ({"tenant_id": tenant_id} if is_player else {})
            path = "/api/v1/auth/player/login" if is_player else "/api/v1/auth/login"
            answer = await client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["access_token"]
    script = "\n".join(line for line in lines if "curl" in line)
    pasted = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)  # noqa: ASYNC221
    deposit, withdrawal = (json.loads(line) for line in pasted.stdout.splitlines())
    assert (deposit["transaction"]["state"], withdrawal["transaction"]["state"]) == ("completed", "requested")


def test_demo_is_refused_outside_dev(hakem: Any, database: Database) -> None:
    strong = {
        "ENV": "staging",
        "JWT_SECRET": "q8Zr1vT5yWmK2sXcD4fG6hJ9lP0oN3bA",
        "WEBHOOK_SECRET_MOCKPSP": "Zr1vT5yWmK2sXcD4fG6hJ9lP0oN3bAq8",
    }
    ended = hakem("serve", "--demo", "--port", "0", **strong)
    assert (ended.returncode, "ENV=dev" in ended.stderr) == (2, True), ended.stderr


def test_accounts_at_providers_are_added_named_and_listed(
    hakem: Callable[..., subprocess.CompletedProcess[str]], database: Database
) -> None:
    tenant_id, account = new_tenant(database), f"acct-{uuid4().hex}"
    added = hakem("psp", "accounts", "add", "stripe", account, "--tenant-id", tenant_id, "--secret-name", "ACME")
    assert (added.returncode, added.stderr) == (0, "")
    again = hakem("psp", "accounts", "add", "stripe", account, "--tenant-id", tenant_id)
    assert (again.returncode, "belongs to a tenant already" in again.stderr) == (2, True)
    for name in ("acme", "ACME_PREVIOUS", "A B", ""):
        assert hakem("psp", "accounts", "set-secret", "stripe", account, "--secret-name", name).returncode == 2
    assert hakem("psp", "accounts", "set-secret", "stripe", "no-such", "--secret-name", "OTHER").returncode == 2
    assert hakem("psp", "accounts", "set-secret", "stripe", account, "--secret-name", "OTHER").returncode == 0
    listed = hakem("psp", "accounts", "list", "--tenant-id", tenant_id)
    assert listed.stdout.splitlines() == [f"stripe {account} {tenant_id} OTHER"]
    assert one(
        database, "SELECT count(*) FROM audit_events WHERE tenant_id = %s AND object_kind = 'psp_account'", tenant_id
    ) == (2,)
