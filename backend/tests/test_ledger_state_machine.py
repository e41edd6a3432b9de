"""The judge: any order of money, flips, outside writes and replays, against a model in plain Python.

The model knows the design's sentences and nothing of the code: it predicts every answer and both balances after every
step, and the invariants are asked of the database.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from backend.app.domain.ledger import LedgerEvent, PostResult
from backend.app.domain.withdrawal import RequestWithdrawal
from backend.app.repositories import ledger_repo, withdrawal_repo
from backend.app.repositories.database import Database as Pools
from backend.tests.conftest import Database
from backend.tests.factories import (
    Owner,
    Player,
    Sides,
    connect_owner,
    deposit,
    make_player,
    make_tenant,
    new_key,
    open_pools,
    post_one,
    reject,
    set_enforce,
    set_legacy,
    sides,
    withdrawal,
)
from backend.tests.invariants import assert_sound

T = TypeVar("T")
AMOUNTS = st.integers(min_value=1, max_value=120)
PLAYERS = st.integers(min_value=0, max_value=1)


@dataclass(kw_only=True)
class Wallet:
    """What the design says one player has."""

    legacy: list[int]
    # None until the wallet is opened.
    ledger: list[int] | None = None
    answers: dict[str, tuple[str, int]] = field(default_factory=dict)

    def post(self, key: str, *, by_ledger: bool, available: int, held: int) -> tuple[str, int]:
        """The answer to an event, and the available balance that it tells: the arbiter's, after."""
        if key in self.answers:
            code, told = self.answers[key]
            return ("exists" if code == "applied" else code), told
        if self.ledger is None and (not by_ledger or min(available, held) >= 0):
            self.ledger = list(self.legacy)
        decides = self.legacy if not by_ledger else (self.ledger or [0, 0])
        is_covered = (by_ledger is False or self.ledger is not None) and not (
            (available < 0 and decides[0] + available < 0) or (held < 0 and decides[1] + held < 0)
        )
        if not is_covered:
            code = "insufficient_funds" if available < 0 or self.ledger is None else "insufficient_held"
            self.answers[key] = (code, decides[0])
            return self.answers[key]
        assert self.ledger is not None
        self.ledger = [self.ledger[0] + available, self.ledger[1] + held]
        self.legacy = list(self.ledger) if by_ledger else [self.legacy[0] + available, self.legacy[1] + held]
        self.answers[key] = ("applied", (self.ledger if by_ledger else self.legacy)[0])
        return self.answers[key]

    @property
    def sides(self) -> Sides:
        return Sides(*self.legacy, *(self.ledger or (None, None)))


class LedgerMachine(RuleBasedStateMachine):
    """Two players of one tenant. The database and a connection to it are the test's; each run makes a tenant."""

    runner: ClassVar[asyncio.Runner]
    owner: ClassVar[Owner]
    pools: ClassVar[Pools]

    events = Bundle("events")
    requests = Bundle("requests")
    holds = Bundle("holds")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize(balances=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 30)), min_size=2, max_size=2))
    def begin(self, balances: list[tuple[int, int]]) -> None:
        self.tenant_id = self.run(make_tenant(self.owner))
        self.players: list[Player] = []
        self.wallets: list[Wallet] = []
        for available, held in balances:
            self.players.append(self.run(make_player(self.owner, self.tenant_id, available=available, held=held)))
            self.wallets.append(Wallet(legacy=[available, held]))
        self.override: bool | None = None
        self.is_killed = False
        self.was_written_outside = False

    @property
    def by_ledger(self) -> bool:
        return bool(self.override) and not self.is_killed

    def check(self, result: PostResult, expected: tuple[str, int]) -> None:
        told = result.ledger_available_after if result.arbiter == "ledger" else result.legacy_available_after
        assert (result.code, told) == expected

    # -- money ---------------------------------------------------------------------------------------------------------

    @rule(target=events, number=PLAYERS, amount=AMOUNTS)
    def pay_in(self, number: int, amount: int) -> tuple[int, LedgerEvent]:
        paid = deposit(self.players[number], amount, provider_event_id=new_key())
        self._deposit(number, paid)
        return number, paid

    @rule(event=events)
    def pay_in_again(self, event: tuple[int, LedgerEvent]) -> None:
        self._deposit(*event)

    def _deposit(self, number: int, paid: LedgerEvent) -> None:
        expected = self.wallets[number].post(
            f"deposit {paid.idempotency_key}", by_ledger=self.by_ledger, available=paid.money.amount_minor, held=0
        )
        self.check(self.run(post_one(self.pools, paid)), expected)

    @rule(targets=(requests, holds), number=PLAYERS, amount=AMOUNTS)
    def withdraw(self, number: int, amount: int) -> Any:
        command = withdrawal(self.players[number], amount)
        self._withdraw((number, command))
        return (number, command)

    @rule(request=requests)
    def withdraw_again(self, request: tuple[int, RequestWithdrawal]) -> None:
        self._withdraw(request)

    @rule(
        targets=(requests, holds),
        wanted=st.lists(st.tuples(PLAYERS, AMOUNTS), min_size=2, max_size=5),
        earlier=st.none() | requests,
    )
    def withdraw_together(self, wanted: list[tuple[int, int]], earlier: tuple[int, RequestWithdrawal] | None) -> Any:
        """In one call, with a twin inside it and one that was answered before."""
        asked = [(number, withdrawal(self.players[number], amount)) for number, amount in wanted]
        self._withdraw(*asked, asked[0], *([earlier] if earlier else []))
        return multiple(*asked)

    def _withdraw(self, *requests: tuple[int, RequestWithdrawal]) -> None:
        expected = [
            self.wallets[number].post(
                f"withdraw {command.idempotency_key}",
                by_ledger=self.by_ledger,
                available=-command.money.amount_minor,
                held=command.money.amount_minor,
            )
            for number, command in requests
        ]

        async def request() -> list[PostResult]:
            async with self.pools.connection() as conn:
                return await withdrawal_repo.request(conn, [command for _, command in requests])

        for result, answer in zip(self.run(request()), expected, strict=True):
            self.check(result, answer)

    @rule(hold=holds)
    def release(self, hold: tuple[int, RequestWithdrawal]) -> None:
        number, command = hold
        wallet = self.wallets[number]
        if wallet.answers[f"withdraw {command.idempotency_key}"][0] != "applied":
            return
        amount = command.money.amount_minor
        expected = wallet.post(
            f"reject {command.withdrawal_id}", by_ledger=self.by_ledger, available=amount, held=-amount
        )
        self.check(self.run(reject(self.owner, self.pools, command)), expected)

    @rule(number=PLAYERS)
    def backfill(self, number: int) -> None:
        async def open_wallet() -> int:
            async with self.pools.transaction() as conn:
                return await ledger_repo.open_wallets(conn, self.tenant_id, player_ids=[self.players[number].id])

        wallet = self.wallets[number]
        assert self.run(open_wallet()) == (wallet.ledger is None)
        wallet.ledger = wallet.ledger or list(wallet.legacy)

    # -- what else happens ---------------------------------------------------------------------------------------------

    @rule(value=st.sampled_from([True, False, None]))
    def flip(self, value: bool | None) -> None:
        self.run(set_enforce(self.owner, self.tenant_id, value))
        self.override = value

    @rule(number=PLAYERS, available=st.integers(0, 300))
    def write_outside(self, number: int, available: int) -> None:
        self.run(set_legacy(self.owner, self.players[number], available=available))
        self.wallets[number].legacy[0] = available
        self.was_written_outside = True

    @rule(is_on=st.booleans())
    def kill_switch(self, is_on: bool) -> None:
        self.run(self._set_kill_switch(is_on=is_on))
        self.is_killed = is_on

    # -- always --------------------------------------------------------------------------------------------------------

    @invariant()
    def ledger_is_sound(self) -> None:
        self.run(assert_sound(self.owner, self.tenant_id, with_legacy=not self.was_written_outside))
        for player, wallet in zip(self.players, self.wallets, strict=True):
            assert self.run(sides(self.owner, player)) == wallet.sides

    def teardown(self) -> None:
        self.run(self._set_kill_switch(is_on=False))

    async def _set_kill_switch(self, *, is_on: bool) -> None:
        await self.owner.execute("DELETE FROM flag_settings")
        if is_on:
            await self.owner.execute(
                "INSERT INTO flag_settings (flag, scope, holder, value, set_by) "
                "VALUES ('ledger_enforce_balance', 'environment', '1', FALSE, 'environment')"
            )


def test_any_history_is_what_the_model_predicts(new_database: Callable[..., Database]) -> None:
    database = new_database()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        owner = runner.run(stack.enter_async_context(connect_owner(database)))
        pools = runner.run(stack.enter_async_context(open_pools(database)))
        bound = type("BoundMachine", (LedgerMachine,), {"runner": runner, "owner": owner, "pools": pools})
        try:
            run_state_machine_as_test(
                bound,
                settings=settings(
                    max_examples=25,
                    stateful_step_count=25,
                    deadline=None,
                    database=None,
                    phases=(Phase.generate, Phase.shrink),
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(stack.aclose())
