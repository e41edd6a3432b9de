"""`hakem rollout` and `hakem flags`, as an operator types them, with no service running."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from backend.app.services.backfill.census import Census
from backend.tests import commands
from backend.tests.conftest import Database
from backend.tests.factories import connect_owner, make_player, open_pools
from backend.tests.rollout_desk import RolloutDesk, desk_on

SECONDS_MAX: Final = 120


@pytest.fixture
async def desk(new_database: Callable[..., Database]) -> AsyncIterator[RolloutDesk]:
    database = new_database()
    async with connect_owner(database) as owner, open_pools(database) as pools:
        yield desk_on(database, pools, owner)


class Typed(NamedTuple):
    """What a command said."""

    code: int
    out: str
    err: str


class Hakem:
    """Types commands on a database, one after the other."""

    def __init__(self, database: Database, home: Path) -> None:
        self._environment = commands.environment_of(database, home)

    async def __call__(self, *typed: tuple[str, ...]) -> list[Typed]:
        return [await asyncio.to_thread(self._type, command) for command in typed]

    def _type(self, command: tuple[str, ...]) -> Typed:
        done = subprocess.run(
            [*commands.words(), *command],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        return Typed(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def hakem(desk: RolloutDesk, tmp_path: Path) -> Hakem:
    return Hakem(desk.database, tmp_path)


async def test_tenant_goes_there_and_back_by_commands(desk: RolloutDesk, hakem: Hakem) -> None:
    tenant_id, _ = await desk.opened_tenant()
    slug = f"t-{tenant_id.hex}"
    refused, told, turkish, rehearsed, looked, dry, enforced, listed, as_json, unknown, back = await hakem(
        ("rollout", "enforce", slug, "--reason", "a try"),
        ("rollout", "status", slug),
        ("rollout", "status", str(tenant_id), "--language", "tr"),
        ("rollout", "rehearse", slug, "--reason", "before the first time"),
        ("rollout", "evaluate", "--act"),
        ("rollout", "enforce", slug, "--reason", "a try", "--dry-run"),
        ("rollout", "enforce", slug, "--reason", "ready"),
        ("rollout", "status"),
        ("rollout", "status", slug, "--json"),
        ("rollout", "status", "nobody"),
        ("rollout", "rollback", slug, "--reason", "enough"),
    )
    assert (refused.code, refused.out) == (5, "")
    assert (
        "rehearsal: The way back was never tried with this tenant. Rehearse it; nobody is affected.  "
        f"[hakem rollout rehearse {tenant_id} --reason …]"
    ) in refused.err
    assert "hakem: tenant" in refused.err.splitlines()[-1]
    assert f"{slug} ({tenant_id}) stage=observing" in told.out, told.err
    assert "gate coverage met: The wallets of all players are opened (3)." in told.out
    assert "flag ledger_enforce_balance=false from default" in told.out
    assert "gate coverage met: Bütün oyuncuların (3) cüzdanı açılmış." in turkish.out
    assert (rehearsed.code, "enforce_ms=" in rehearsed.out) == (0, True), rehearsed.err
    assert looked.code == 0, looked.out
    assert "dry run: every gate is met; nothing was changed" in dry.out, dry.out
    # Two epochs were the rehearsal's, and none the dry run's.
    assert enforced.out.split()[:4] == [slug, "arbiter=ledger", "epoch=3", "changed=true"], enforced.err
    assert listed.out.split()[:4] == [slug, "stage=enforced", "arbiter=ledger", "by=tenant"]
    assert json.loads(as_json.out)["changes"][0]["reason"] == "ready"
    assert (unknown.code, unknown.err.strip()) == (2, "hakem: there is no tenant nobody")
    assert back.out.split()[:4] == [slug, "arbiter=legacy", "epoch=4", "changed=true"], back.err
    cursor = await desk.owner.execute(
        "SELECT DISTINCT actor_kind FROM arbiter_changes WHERE tenant_id = %s", (tenant_id,)
    )
    assert await cursor.fetchall() == [("operator",)]


async def test_wave_takes_the_least_money_first_and_ends_at_the_first_refusal(desk: RolloutDesk, hakem: Hakem) -> None:
    least, _ = await desk.ready_tenant(players=1, available=10)
    broken, _ = await desk.ready_tenant(players=1, available=20)
    most, _ = await desk.ready_tenant(players=1, available=970)
    for tenant_id in (least, broken, most):
        await Census(desk.pools).run(tenant_id, started_by="a test")
    await make_player(desk.owner, broken, available=1)
    _, planned, usage, done, everybody = await hakem(
        ("rollout", "evaluate", "--act"),
        ("rollout", "enforce", "--share", "5%", "--dry-run", "--reason", "a look"),
        ("rollout", "enforce", "--reason", "nobody is named"),
        ("rollout", "enforce", "--wave", "3", "--reason", "wave 1"),
        ("rollout", "rollback", "--all", "--reason", "an incident"),
    )
    assert planned.out.splitlines()[0] == "wave tenants=2 share=3.00% left=1", planned.err
    assert f"later t-{most.hex}: with it the wave would move more than 5.0% of the balances of a cur" in planned.out
    assert usage.code == 2
    assert done.code == 5
    assert "enforced=1 of=3" in done.out
    assert f"stopped at t-{broken.hex}; those before it stay enforced" in done.err
    assert "coverage:" in done.err
    assert (everybody.code, everybody.out.splitlines()[-1]) == (0, "rolled_back=1"), everybody.err
    made = {
        each: [flip.arbiter for flip in await desk.flips(each) if flip.kind == "flip"] for each in (least, broken, most)
    }
    assert made == {least: ["ledger", "legacy"], broken: [], most: []}


async def test_holds_and_flags_by_commands(desk: RolloutDesk, hakem: Hakem) -> None:
    tenant_id, _ = await desk.ready_tenant()
    slug = f"t-{tenant_id.hex}"
    held, frozen, flags, unknown, reasonless, refused, lifted, set_, endless = await hakem(
        ("rollout", "hold", slug, "--reason", "look first", "--hours", "2"),
        ("rollout", "hold", "--fleet", "--reason", "quarter end"),
        ("flags", "list", "--tenant", slug),
        ("flags", "set", "nothing", "true", "--reason", "x"),
        ("rollout", "rollback", slug),
        ("rollout", "enforce", slug, "--reason", "now"),
        ("rollout", "lift", slug, "--reason", "looked"),
        ("flags", "set", "ledger_balance_mismatch_log", "false", "--tenant", slug, "--reason", "noise", "--hours", "1"),
        ("flags", "set", "ledger_enforce_balance", "false", "--hours", "1", "--reason", "x"),
    )
    assert held.out.startswith(f"hold {slug} id="), held.err
    assert frozen.out.startswith("freeze fleet id="), frozen.err
    assert flags.out.splitlines()[1] == "ledger_enforce_balance=false from default", flags.err
    assert (unknown.code, reasonless.code) == (2, 2)
    assert refused.code == 5
    assert "holds: Held (freeze): quarter end" in refused.err
    assert lifted.out.startswith(f"lifted hold {slug}"), lifted.err
    assert "ledger_balance_mismatch_log=false from tenant by " in set_.out, set_.err
    assert endless.code == 2
    assert "only True of one tenant may end" in endless.err
