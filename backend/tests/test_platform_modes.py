"""The platform's flags as one row: whatever changes them, the row says what the statements together mean."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection, errors

from backend.app.repositories.database import Database as Pools
from backend.tests.conftest import Database
from backend.tests.factories import (
    Owner,
    connect_owner,
    eventually,
    make_tenant,
    set_global,
    until_blocked,
)

ENFORCE = "ledger_enforce_balance"
SHADOW = "ledger_shadow_write"

# What the environments of processes say; what is set for the platform, and when it ends, seen from now.
ENVIRONMENTS: tuple[tuple[bool, ...], ...] = ((), (True,), (False,), (True, False))
HOUR = timedelta(hours=1)
GLOBALS: tuple[tuple[bool, timedelta | None] | None, ...] = (
    None,
    *itertools.product((True, False), (None, HOUR, -HOUR)),
)
SAID = list(itertools.product(ENVIRONMENTS, GLOBALS))


@pytest.fixture
async def alone(new_database: Callable[..., Database]) -> AsyncIterator[tuple[Database, Owner]]:
    """A database of the test's own: its flags bind every tenant."""
    database = new_database()
    async with connect_owner(database) as owner:
        yield database, owner


def level_of(environment: tuple[bool, ...], set_to: tuple[bool, timedelta | None] | None) -> tuple[bool | None, str]:
    """The value and the level below the tenant's override, by the sentences of decision 0009."""
    if set_to is not None and (set_to[1] is None or set_to[1] > timedelta(0)):
        return set_to[0], "global"
    if environment:
        return all(environment), "environment"
    return None, "default"


async def say(
    owner: Owner, flag: str, environment: tuple[bool, ...], set_to: tuple[bool, timedelta | None] | None
) -> None:
    for holder, value in enumerate(environment):
        await owner.execute(
            "INSERT INTO flag_settings (flag, scope, holder, value, set_by) VALUES (%s, 'environment', %s, %s, 'test')",
            (flag, str(holder), value),
        )
    if set_to is not None:
        await owner.execute(
            "INSERT INTO flag_settings (flag, scope, value, set_by, expires_at) "
            "VALUES (%s, 'global', %s, 'test', clock_timestamp() + %s)",
            (flag, *set_to),
        )


async def modes(owner: Owner) -> dict[Any, tuple[str, str, bool, bool]]:
    cursor = await owner.execute(
        "SELECT tenant_id, arbiter, enforce_source, shadow_write, is_refused FROM tenant_modes"
    )
    return {row[0]: row[1:] for row in await cursor.fetchall()}


@pytest.mark.parametrize("step", [1, 5, 11])
async def test_modes_are_what_the_statements_mean(alone: tuple[Database, Owner], step: int) -> None:
    _, owner = alone
    tenants = {value: await make_tenant(owner, enforce_override=value) for value in (None, True, False)}
    for number, said in enumerate(SAID):
        said_of_shadow = SAID[number * step % len(SAID)]
        await owner.execute("DELETE FROM flag_settings")
        await say(owner, ENFORCE, *said)
        await say(owner, SHADOW, *said_of_shadow)
        found = await modes(owner)
        value, source = level_of(*said)
        shadow, _ = level_of(*said_of_shadow)
        is_shadow_on = shadow is not False
        for override, tenant_id in tenants.items():
            if False in said[0]:
                expected = False, "environment_false"
            elif override is not None:
                expected = override, "tenant"
            else:
                expected = bool(value), source
            assert found[tenant_id] == (
                "ledger" if expected[0] else "legacy",
                expected[1],
                is_shadow_on,
                expected[0] and not is_shadow_on,
            ), f"enforce {said}, shadow {said_of_shadow}, override {override}"


async def test_setting_expires_by_itself(alone: tuple[Database, Owner]) -> None:
    _, owner = alone
    tenant_id = await make_tenant(owner)
    await say(owner, ENFORCE, (), (True, timedelta(seconds=0.5)))

    async def has_expired() -> bool:
        return (await modes(owner))[tenant_id][:2] == ("legacy", "default")

    await eventually(has_expired, what="the setting says nothing any more")


async def test_truncated_settings_and_changed_defaults_count(alone: tuple[Database, Owner]) -> None:
    _, owner = alone
    tenant_id = await make_tenant(owner)
    await set_global(owner, ENFORCE, True)
    await owner.execute("TRUNCATE flag_settings")
    assert (await modes(owner))[tenant_id][:2] == ("legacy", "default")
    await owner.execute("UPDATE flags SET default_value = TRUE WHERE flag = %s", (ENFORCE,))
    assert (await modes(owner))[tenant_id][:2] == ("ledger", "default")


@pytest.mark.parametrize("first", [True, False])
async def test_two_who_state_at_once_are_both_heard(alone: tuple[Database, Owner], first: bool) -> None:
    database, owner = alone
    tenant_id = await make_tenant(owner, enforce_override=True)
    statement = (
        "INSERT INTO flag_settings (flag, scope, holder, value, set_by) VALUES (%s, 'environment', %s, %s, 'test')"
    )
    async with (
        await AsyncConnection.connect(database.service_url) as one,
        await AsyncConnection.connect(database.service_url) as other,
    ):
        await one.execute(statement, (ENFORCE, "1", first))
        other_waits = asyncio.create_task(other.execute(statement, (ENFORCE, "2", not first)))
        await until_blocked(owner, other)
        await one.commit()
        await other_waits
        await other.commit()
    assert (await modes(owner))[tenant_id][:2] == ("legacy", "environment_false")


async def test_a_change_that_is_rolled_back_changes_nothing(alone: tuple[Database, Owner]) -> None:
    database, owner = alone
    tenant_id = await make_tenant(owner)
    async with await AsyncConnection.connect(database.owner_url) as other:
        await set_global(other, ENFORCE, True)
        await other.rollback()
    assert (await modes(owner))[tenant_id][:2] == ("legacy", "default")


@pytest.mark.parametrize(
    ("scope", "holder", "expires"),
    [
        pytest.param("global", "somebody", None, id="a second global value"),
        pytest.param("environment", "1", "2099-01-01", id="an environment that ends by the clock"),
    ],
)
async def test_what_the_row_could_not_say_cannot_be_set(
    owner: Owner, scope: str, holder: str, expires: str | None
) -> None:
    with pytest.raises(errors.CheckViolation):
        await owner.execute(
            "INSERT INTO flag_settings (flag, scope, holder, value, set_by, expires_at) "
            "VALUES (%s, %s, %s, TRUE, 'test', %s)",
            (ENFORCE, scope, holder, expires),
        )


async def test_service_may_not_write_the_row_itself(pools: Pools) -> None:
    async with pools.connection() as conn:
        with pytest.raises(errors.InsufficientPrivilege):
            await conn.execute("UPDATE platform_modes SET enforce_is_killed = FALSE")
