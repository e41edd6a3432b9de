"""Requests that share a round trip share nothing else: each has its own outcome, trouble and deadline."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import psycopg
import pytest

from backend.app.domain.ledger import PostCode, PostResult
from backend.app.domain.withdrawal import RequestWithdrawal
from backend.app.repositories import group_commit, withdrawal_repo
from backend.app.repositories.database import Connection
from backend.app.repositories.database import Database as Pools
from backend.app.repositories.group_commit import LONG_LINE, GroupCommit, OutcomeUnknown, Overloaded
from backend.tests.conftest import Database
from backend.tests.factories import (
    DEADLINE_SECONDS,
    Owner,
    both,
    connect_owner,
    count,
    eventually,
    make_player,
    make_players,
    make_tenant,
    open_pools,
    row_held,
    sides,
    unopened,
    until_somebody_waits_for,
    withdrawal,
)
from backend.tests.invariants import assert_sound

Writer = GroupCommit[RequestWithdrawal, PostResult]
Write = Callable[[Connection, Sequence[RequestWithdrawal]], Awaitable[Sequence[PostResult]]]


@pytest.fixture
async def tenant_id(owner: Owner) -> UUID:
    return await make_tenant(owner)


class Gate:
    """A write that waits at a gate before it goes to the database, and remembers what it was given."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.is_reached = asyncio.Event()
        self.batches: list[list[RequestWithdrawal]] = []

    async def write(self, conn: Connection, commands: Sequence[RequestWithdrawal]) -> Sequence[PostResult]:
        self.batches.append(list(commands))
        self.is_reached.set()
        await self.is_open.wait()
        return await withdrawal_repo.request(conn, commands)


async def submit_all(writer: Writer, commands: Sequence[RequestWithdrawal]) -> list[PostResult | BaseException]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await asyncio.gather(*(writer.submit(command) for command in commands), return_exceptions=True)


def codes(outcomes: Sequence[PostResult | BaseException]) -> list[str]:
    """What each command was told: a code, or the kind of error."""
    return [outcome.code if isinstance(outcome, PostResult) else type(outcome).__name__ for outcome in outcomes]


# ---------------------------------------------------------------------------------------------------------------------
# Outcomes
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lanes", [1, 2, 5])
async def test_outcomes_stay_with_their_owners(owner: Owner, pools: Pools, tenant_id: UUID, lanes: int) -> None:
    shuffle = random.Random(7)
    players = await make_players(owner, tenant_id, 60, available=1000)
    # The amount tells whose outcome it is; every third asks for more than there is, every fourth asks twice.
    commands = [withdrawal(player, 2000 if number % 3 == 0 else number) for number, player in enumerate(players)]
    commands += commands[::4]
    shuffle.shuffle(commands)
    batches: Counter[int] = Counter()

    async def write(conn: Connection, batch: Sequence[RequestWithdrawal]) -> Sequence[PostResult]:
        batches[len(batch)] += 1
        return await withdrawal_repo.request(conn, batch)

    outcomes = await submit_all(GroupCommit("test", pools, write, lanes=lanes, batch_max=12), commands)

    first_seen: set[UUID] = set()
    for command, outcome in zip(commands, outcomes, strict=True):
        assert isinstance(outcome, PostResult)
        assert outcome.reference == command.withdrawal_id
        asked = command.money.amount_minor
        if asked == 2000:
            assert (outcome.code, outcome.legacy_available_after) == (PostCode.INSUFFICIENT_FUNDS, 1000)
        else:
            assert outcome.code in (PostCode.APPLIED, PostCode.EXISTS)
            assert outcome.ledger_available_after == 1000 - asked
        first_seen.add(command.withdrawal_id)
    replays = [outcome for outcome in outcomes if isinstance(outcome, PostResult) and outcome.is_replay]
    assert len(replays) == len(commands) - len(first_seen)
    assert max(batches) == 12, "nobody is alone, and no batch is longer than allowed"
    await assert_sound(owner, tenant_id)


async def test_lone_command_is_written_at_once_and_alone(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    gate = Gate()
    gate.is_open.set()
    writer = Writer("test", pools, gate.write, lanes=1)
    player = await make_player(owner, tenant_id, available=100)
    async with asyncio.timeout(DEADLINE_SECONDS):
        for _ in range(50):
            # Each comes at the very moment the lane of the one before it closes.
            assert (await writer.submit(withdrawal(player, 1))).code == PostCode.APPLIED
    assert [len(batch) for batch in gate.batches] == [1] * 50
    assert await sides(owner, player) == both(50, 50)


async def test_whoever_arrives_while_a_batch_is_written_shares_the_next(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    gate = Gate()
    writer = Writer("test", pools, gate.write, lanes=1)
    players = await make_players(owner, tenant_id, 10, available=100)
    first = asyncio.create_task(writer.submit(withdrawal(players[0], 1)))
    await gate.is_reached.wait()
    rest = asyncio.create_task(submit_all(writer, [withdrawal(player, 1) for player in players[1:]]))
    await asyncio.sleep(0)
    gate.is_open.set()
    assert codes([await first, *await rest]) == ["applied"] * 10
    assert [len(batch) for batch in gate.batches] == [1, 9]


async def test_long_line_is_shared_by_the_lanes(
    owner: Owner, pools: Pools, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever this machine does: no lane is opened because a batch takes long.
    monkeypatch.setattr(group_commit, "STALLED_SECONDS", math.inf)
    gate = Gate()
    writer = Writer("test", pools, gate.write, lanes=2)
    players = await make_players(owner, tenant_id, 2 * LONG_LINE + 1, available=100)
    commands = [withdrawal(player, 10) for player in players]
    submitted = asyncio.create_task(submit_all(writer, commands))

    async def are_both_writing() -> bool:
        return len(gate.batches) == 2

    await eventually(are_both_writing, what="both lanes write")
    assert [len(batch) for batch in gate.batches] == [LONG_LINE + 1, LONG_LINE]
    gate.is_open.set()
    outcomes = await submitted
    assert codes(outcomes) == ["applied"] * len(commands)
    assert [outcome.reference for outcome in outcomes if isinstance(outcome, PostResult)] == [
        command.withdrawal_id for command in commands
    ]
    await assert_sound(owner, tenant_id)


async def test_line_too_short_to_be_shared_is_one_batch(
    owner: Owner, pools: Pools, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "STALLED_SECONDS", math.inf)
    gate = Gate()
    gate.is_open.set()
    writer = Writer("test", pools, gate.write, lanes=2)
    players = await make_players(owner, tenant_id, 2 * LONG_LINE - 1, available=100)
    outcomes = await submit_all(writer, [withdrawal(player, 10) for player in players])
    assert codes(outcomes) == ["applied"] * len(players)
    assert [len(batch) for batch in gate.batches] == [len(players)]


async def test_short_line_waits_for_the_lane_that_writes(
    owner: Owner, pools: Pools, tenant_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "STALLED_SECONDS", math.inf)
    gate = Gate()
    writer = Writer("test", pools, gate.write, lanes=2)
    first, *rest = [withdrawal(player, 1) for player in await make_players(owner, tenant_id, LONG_LINE, available=9)]
    writing = asyncio.create_task(writer.submit(first))
    await gate.is_reached.wait()
    waiting = asyncio.create_task(submit_all(writer, rest))
    # One turn to start them all, one for a lane that any of them may have opened.
    for _ in range(3):
        await asyncio.sleep(0)
    assert [len(batch) for batch in gate.batches] == [1]
    gate.is_open.set()
    assert codes([await writing, *await waiting]) == ["applied"] * LONG_LINE
    assert [len(batch) for batch in gate.batches] == [1, LONG_LINE - 1]


# ---------------------------------------------------------------------------------------------------------------------
# Trouble
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", [{"amount": 2**63}, {"amount": 1, "key": "nul\0"}], ids=["amount", "key"])
async def test_command_that_cannot_be_written_harms_only_itself(
    owner: Owner, pools: Pools, tenant_id: UUID, poison: dict[str, object]
) -> None:
    players = await make_players(owner, tenant_id, 12, available=100)
    commands = [withdrawal(player, 10) for player in players]
    commands[5] = withdrawal(players[5], **poison)  # type: ignore[arg-type]  # one of the two shapes above
    outcomes = await submit_all(Writer("test", pools, withdrawal_repo.request), commands)
    assert isinstance(outcomes[5], psycopg.DataError)
    assert codes(outcomes[:5] + outcomes[6:]) == ["applied"] * 11
    assert await sides(owner, players[5]) == unopened(100)
    await assert_sound(owner, tenant_id)


async def test_bug_in_writing_reaches_every_caller_and_the_next_batch_is_written(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    is_broken = True

    async def write(conn: Connection, commands: Sequence[RequestWithdrawal]) -> Sequence[PostResult]:
        assert not is_broken, "a bug"
        return await withdrawal_repo.request(conn, commands)

    writer = Writer("test", pools, write)
    players = await make_players(owner, tenant_id, 5, available=100)
    commands = [withdrawal(player, 10) for player in players]
    assert codes(await submit_all(writer, commands)) == ["AssertionError"] * 5
    is_broken = False
    assert codes(await submit_all(writer, commands)) == ["applied"] * 5


async def test_row_that_somebody_holds_delays_only_its_own_player(
    owner: Owner, pools: Pools, database: Database, tenant_id: UUID
) -> None:
    players = await make_players(owner, tenant_id, 12, available=100)
    held, *neighbours = players
    writer = Writer("test", pools, withdrawal_repo.request)
    async with row_held(database, held):
        waiting = asyncio.create_task(writer.submit(withdrawal(held, 10)))
        outcomes = await submit_all(writer, [withdrawal(player, 10) for player in neighbours])
        assert codes(outcomes) == ["applied"] * 11
        assert not waiting.done()
    assert codes([await waiting]) == ["applied"]
    assert [await sides(owner, player) for player in players] == [both(90, 10)] * 12
    await assert_sound(owner, tenant_id)


async def test_several_commands_for_a_held_row_do_not_stop_the_others(
    owner: Owner, pools: Pools, database: Database, tenant_id: UUID
) -> None:
    held, *neighbours = await make_players(owner, tenant_id, 20, available=100)
    writer = Writer("test", pools, withdrawal_repo.request)
    async with row_held(database, held) as holder:
        waiting = []
        # More of them than there are lanes, each in a batch of its own.
        for _ in range(4):
            waiting.append(asyncio.create_task(writer.submit(withdrawal(held, 10))))
            await until_somebody_waits_for(owner, holder)
        outcomes = await submit_all(writer, [withdrawal(player, 10) for player in neighbours])
        assert codes(outcomes) == ["applied"] * len(neighbours)
        assert not any(task.done() for task in waiting)
    assert codes(await asyncio.gather(*waiting)) == ["applied"] * 4
    await assert_sound(owner, tenant_id)


@pytest.mark.parametrize(
    ("strangers", "stalled_seconds"), [(LONG_LINE, math.inf), (1, 0.0)], ids=["long line", "stalled"]
)
async def test_batch_that_does_not_end_stops_no_strangers(
    owner: Owner,
    pools: Pools,
    tenant_id: UUID,
    monkeypatch: pytest.MonkeyPatch,
    strangers: int,
    stalled_seconds: float,
) -> None:
    monkeypatch.setattr(group_commit, "STALLED_SECONDS", stalled_seconds)
    slow, *others = [
        withdrawal(player, 1) for player in await make_players(owner, tenant_id, strangers + 1, available=9)
    ]
    is_begun, may_end = asyncio.Event(), asyncio.Event()

    async def write(conn: Connection, commands: Sequence[RequestWithdrawal]) -> Sequence[PostResult]:
        if slow in commands:
            is_begun.set()
            await may_end.wait()
        return await withdrawal_repo.request(conn, commands)

    writer = Writer("test", pools, write)
    waiting = asyncio.create_task(writer.submit(slow))
    await is_begun.wait()
    assert codes(await submit_all(writer, others)) == ["applied"] * strangers
    assert not waiting.done()
    may_end.set()
    assert codes([await waiting]) == ["applied"]
    await assert_sound(owner, tenant_id)


async def test_connections_lost_in_a_storm_lose_and_double_nothing(new_database: Callable[..., Database]) -> None:
    database = new_database()
    async with (
        connect_owner(database) as owner,
        open_pools(database) as pools,
        await psycopg.AsyncConnection.connect(database.service_url, autocommit=True) as killer,
    ):
        tenant_id = await make_tenant(owner)
        players = await make_players(owner, tenant_id, 10, available=1000)
        writer = Writer("test", pools, withdrawal_repo.request, batch_max=4)
        commands = [withdrawal(player, 7) for player in players for _ in range(30)]
        answered: list[PostResult] = []

        async def submit(command: RequestWithdrawal) -> None:
            answered.append(await writer.submit(command))

        storm = asyncio.gather(*(submit(command) for command in commands))
        for share in (0, 1, 2, 3, 4):

            async def is_so_far(share: int = share) -> bool:
                return len(answered) >= len(commands) * share // 5

            await eventually(is_so_far, what=f"{share} fifths are answered")
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'hakem-batch' AND datname = current_database()"
            )
        await storm
        assert {result.code for result in answered} <= {PostCode.APPLIED, PostCode.EXISTS}
        assert {result.reference for result in answered} == {command.withdrawal_id for command in commands}
        assert [await sides(owner, player) for player in players] == [both(1000 - 30 * 7, 30 * 7)] * 10
        await assert_sound(owner, tenant_id)


# ---------------------------------------------------------------------------------------------------------------------
# Limits
# ---------------------------------------------------------------------------------------------------------------------


async def test_deadline_says_outcome_unknown_and_the_key_tells_it_later(
    owner: Owner, pools: Pools, database: Database, tenant_id: UUID
) -> None:
    player = await make_player(owner, tenant_id, available=100)
    writer = Writer("test", pools, withdrawal_repo.request, deadline_seconds=0.1)
    command = withdrawal(player, 80)
    async with row_held(database, player) as holder:
        late = asyncio.create_task(writer.submit(command))
        await until_somebody_waits_for(owner, holder)
        with pytest.raises(OutcomeUnknown):
            await late
    await writer.drain(deadline_seconds=DEADLINE_SECONDS)
    patient = Writer("test", pools, withdrawal_repo.request)
    assert (await patient.submit(command)).code in (PostCode.APPLIED, PostCode.EXISTS)
    assert (await patient.submit(command)).code == PostCode.EXISTS
    assert await sides(owner, player) == both(20, 80)
    await assert_sound(owner, tenant_id)


async def test_overload_is_refused_at_once_and_nothing_of_it_is_written(
    owner: Owner, pools: Pools, tenant_id: UUID
) -> None:
    gate = Gate()
    writer = Writer("test", pools, gate.write, lanes=1, waiting_max=2)
    players = await make_players(owner, tenant_id, 4, available=100)
    commands = [withdrawal(player, 10) for player in players]
    tasks = [asyncio.create_task(writer.submit(commands[0]))]
    await gate.is_reached.wait()
    tasks += [asyncio.create_task(writer.submit(command)) for command in commands[1:3]]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await writer.submit(commands[3])
    gate.is_open.set()
    assert codes(await asyncio.gather(*tasks)) == ["applied"] * 3
    assert await sides(owner, players[3]) == unopened(100)
    assert (await writer.submit(commands[3])).code == PostCode.APPLIED
    await assert_sound(owner, tenant_id)


async def test_caller_who_hangs_up_breaks_nobody_else(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    gate = Gate()
    writer = Writer("test", pools, gate.write, lanes=1)
    writing, in_line, neighbour = await make_players(owner, tenant_id, 3, available=100)
    being_written = asyncio.create_task(writer.submit(withdrawal(writing, 10)))
    await gate.is_reached.wait()
    in_the_line = asyncio.create_task(writer.submit(withdrawal(in_line, 10)))
    beside_it = asyncio.create_task(writer.submit(withdrawal(neighbour, 10)))
    await asyncio.sleep(0)
    for task in (being_written, in_the_line):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    gate.is_open.set()
    assert (await beside_it).code == PostCode.APPLIED
    assert await sides(owner, writing) == both(90, 10), "it was under way already"
    assert await sides(owner, in_line) == unopened(100), "it had not begun"
    assert await count(owner, "withdrawals", in_line) == 0
    await assert_sound(owner, tenant_id)


async def test_drain_waits_for_what_is_under_way_and_not_for_ever(owner: Owner, pools: Pools, tenant_id: UUID) -> None:
    gate = Gate()
    writer = Writer("test", pools, gate.write)
    await writer.drain(deadline_seconds=0.1)
    submitted = asyncio.create_task(writer.submit(withdrawal(await make_player(owner, tenant_id, available=9), 9)))
    await gate.is_reached.wait()
    with pytest.raises(TimeoutError):
        await writer.drain(deadline_seconds=0.01)
    gate.is_open.set()
    await writer.drain(deadline_seconds=DEADLINE_SECONDS)
    assert (await submitted).code == PostCode.APPLIED
