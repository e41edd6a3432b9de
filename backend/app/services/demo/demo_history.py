"""Lives through the demo's story (domain/demo/demo_story.py): months in a few seconds, scene by scene, each as
services/demo/demo_acts.py does it.

What cannot be had by the door is the past, so it is made up for at the end: which moment of the story each real moment
was is kept, and the owner of the database stretches the times accordingly. repositories/demo_repo.py says what is
rewritten by that, and what never.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from backend.app.domain.demo import demo_scenes as story
from backend.app.domain.tenant import account_id_of
from backend.app.repositories import demo_repo
from backend.app.repositories.demo_repo import Piece
from backend.app.services.demo.demo_acts import Acts, Services, Stage, Tempo

# From so long ago on MockPSP's webhooks are really sent; earlier ones are left out, for they take most of the time.
TOLD_FOR: Final = timedelta(hours=60)
# Tenants and their people were there so long before the first scene.
PREPARED_FOR: Final = timedelta(days=2)
LASTS: Final = timedelta(seconds=30)
AT_ONCE_MAX: Final = 24
QUIET_SECONDS_MAX: Final = 15.0
QUIET_POLL_SECONDS: Final = 0.01

Told = tuple[UUID, story.Scene]


async def live_through(services: Services, stages: Sequence[Stage], *, began_at: datetime, now: datetime) -> None:
    """Do everything that the stories tell, then put it into the past.

    began_at: when the first of the tenants was about to be made; what lies between then and now is moved.
    """
    account_ids = [account_id_of(stage.tenant_id) for stage in stages]
    acts = {stage.tenant_id: Acts(services, stage) for stage in stages}
    pieces: list[Piece] = []
    tempo = Tempo.QUIET
    async with AsyncExitStack() as stack:
        for each in (Tempo.QUIET, Tempo.SLOW):
            await stack.enter_async_context(services.desks[each].running())
        services.inbox.start()
        stack.push_async_callback(services.inbox.stop)
        for batch in batches(merged(stages)):
            first_at, last_at = batch[0][1].at, batch[-1][1].at
            if not pieces:
                pieces.append(Piece(began_at, datetime.now(UTC), first_at - PREPARED_FOR, first_at))
            if tempo is Tempo.QUIET and first_at >= now - TOLD_FOR:
                tempo = Tempo.TELLING
                await demo_repo.forget_webhooks(services.owner, account_ids)
                await stack.enter_async_context(services.desks[tempo].running())
            # Nothing of ours lasts for days: between two batches time passes, and what is done takes moments of it.
            pieces.append(_piece(pieces[-1], past_to=max(pieces[-1].past_to, first_at - LASTS)))
            await asyncio.gather(*(acts[tenant_id].do(scene, tempo=tempo) for tenant_id, scene in batch))
            if tempo is Tempo.TELLING:
                await _until_quiet(services, account_ids)
            pieces.append(_piece(pieces[-1], past_to=last_at))
    await demo_repo.move_into_the_past(
        services.owner,
        [stage.tenant_id for stage in stages],
        account_ids=account_ids,
        pieces=[piece for piece in pieces if piece.real_from < piece.real_to],
    )


def _piece(before: Piece, *, past_to: datetime) -> Piece:
    """From the end of a piece to this moment, which is to have been past_to."""
    return Piece(before.real_to, datetime.now(UTC), before.past_to, past_to)


def merged(stages: Sequence[Stage]) -> Iterator[Told]:
    """All tenants' scenes in one order of time: there is only one clock to be stretched."""
    told = [(scene.at, number, scene) for number, stage in enumerate(stages) for scene in stage.scenes]
    # By time alone, and as told where times are equal.
    for _, number, scene in sorted(told, key=lambda each: each[0]):
        yield stages[number].tenant_id, scene


def batches(told: Iterable[Told]) -> Iterator[list[Told]]:
    """Events that may be done at once, since they are about different players; what is about a tenant is done alone."""
    batch: list[Told] = []
    busy: set[tuple[UUID, int]] = set()
    for tenant_id, scene in told:
        who = (tenant_id, scene.person.number) if isinstance(scene, story.PersonScene) else None
        if batch and (who is None or who in busy or len(batch) == AT_ONCE_MAX):
            yield batch
            batch, busy = [], set()
        batch.append((tenant_id, scene))
        if who is None:
            yield batch
            batch = []
        else:
            busy.add(who)
    if batch:
        yield batch


async def _until_quiet(services: Services, account_ids: Sequence[str]) -> None:
    """Wait until all is told and applied, so that it belongs to its own time; what takes longer, to a later one."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(QUIET_SECONDS_MAX):
            # MockPSP is another program: there is nothing of its to wait on but its books.
            while await demo_repo.count_webhooks_under_way(services.owner, account_ids):  # noqa: ASYNC110
                await asyncio.sleep(QUIET_POLL_SECONDS)
