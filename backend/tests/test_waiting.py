"""`hakem waiting`: whatever is not finished can be seen, with the reason."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from backend.tests import commands
from backend.tests.api_client import WalletClient
from backend.tests.conftest import Database
from backend.tests.factories import Owner, make_player, make_tenant
from backend.tests.test_cli_people import environment


async def waiting(database: Database, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [*commands.words(), "waiting", *arguments],
        env=environment(database, home),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


async def test_what_waits_is_named_with_its_reason(
    owner: Owner, database: Database, http: httpx.AsyncClient, home: Path
) -> None:
    tenant_id = await make_tenant(owner)
    player = await make_player(owner, tenant_id, available=100_00)
    client = WalletClient(http=http, player=player)
    withdrawal = (await client.withdraw("40.00")).json()["transaction"]["id"]
    deposit = (await client.deposit("5.00", method="mock:other_currency")).json()["transaction"]["id"]
    event_id = uuid4()
    await owner.execute(
        "INSERT INTO psp_events (id, provider, account_id, provider_event_id, signature_status, signature_result, "
        "state, body, body_size, body_sha256, headers, received_at, attempts, last_error, tenant_id) "
        "VALUES (%s, 'stripe', 'acct_1', 'evt_1', 'valid', 'valid', 'dead', '', 0, '', '{}', now(), 12, "
        "'insufficient_held', %s)",
        (event_id, tenant_id),
    )

    shown = await waiting(database, home, "--tenant-id", str(tenant_id), "--json")
    assert shown.returncode == 0, shown.stderr
    document: dict[str, Any] = json.loads(shown.stdout)
    items = {item["kind"]: item for item in document["items"]}
    assert (items["deposit"]["subject"], items["deposit"]["state"]) == (deposit, "pending_provider")
    assert "currency_mismatch" in items["deposit"]["reason"]
    assert items["deposit"]["next_at"] is not None
    assert (items["event"]["subject"], items["event"]["reason"]) == ("stripe:acct_1:evt_1", "insufficient_held")
    assert items["event"]["next_at"] is None, "only a person can move it"
    (queue,) = document["withdrawals"]
    assert (queue["state"], queue["withdrawals"], queue["amount"]) == ("requested", 1, "40.00"), withdrawal

    table = await waiting(database, home, "--tenant-id", str(tenant_id))
    assert "needs a person" in table.stdout
    assert "40.00 USD" in table.stdout


async def test_nothing_waits_for_a_new_tenant(owner: Owner, database: Database, home: Path) -> None:
    shown = await waiting(database, home, "--tenant-id", str(await make_tenant(owner)))
    assert (shown.returncode, shown.stdout.strip()) == (0, "nothing waits")


async def test_unknown_tenant_is_told(database: Database, home: Path) -> None:
    shown = await waiting(database, home, "--tenant-id", str(uuid4()))
    assert shown.returncode == 2
    assert "tenant" in shown.stderr.lower()
