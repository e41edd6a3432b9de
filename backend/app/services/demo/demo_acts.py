"""Does what one scene of the demo's story tells, by the services that everybody uses.

Everybody's door, everybody's rules: a refusal in the story is a refusal that was really given. Only two things are done
with the owner's rights: another system's write to a legacy column, which no service could do, and the closing of
findings.
"""

import io
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from backend.app.domain.audit import Actor, ActorKind, AuditEntry
from backend.app.domain.backfill.backfill import BackfillWallets
from backend.app.domain.backfill.player_import import COLUMNS, ImportPlayers
from backend.app.domain.demo import demo_scenes as story
from backend.app.domain.deposit import OpenDeposit
from backend.app.domain.errors import AppError
from backend.app.domain.identity import AdminIdentity, Role
from backend.app.domain.money import Money, format_amount
from backend.app.domain.payments.finance import Deed, Sort, WithdrawalFilter
from backend.app.domain.payments.psp_delivery import Delivery
from backend.app.domain.payments.withdrawal_lifecycle import LEGACY_HOLD, Action
from backend.app.domain.player import CreatePlayer
from backend.app.domain.tenant import account_id_of
from backend.app.domain.withdrawal import RequestWithdrawal
from backend.app.psp import mockpsp, standard_webhooks
from backend.app.repositories import audit_repo, demo_repo
from backend.app.repositories.database import Connection, Database
from backend.app.services.backfill.backfill import WalletBackfill
from backend.app.services.backfill.census import Census
from backend.app.services.backfill.player_import import PlayerImport
from backend.app.services.payments.deposits import Deposits
from backend.app.services.payments.finance import Finance
from backend.app.services.payments.psp_inbox import PspInbox
from backend.app.services.payments.webhooks import Webhooks
from backend.app.services.players import Players
from backend.app.services.withdrawals import Withdrawals

log = structlog.get_logger()

# All that an unverified player pays in over the months falls on one real day here: the cap of a day says nothing of it.
NO_CAP_MINOR: Final = 10**12
LEGACY_HOLDS_MAX: Final = 50
# Who ran what an operator runs.
OPERATOR: Final = Actor(kind=ActorKind.OPERATOR, actor_id=None, label="demo")


class Tempo(Enum):
    """How MockPSP behaves: what it plans for later happens at once, and it tells nobody, or tells; or hours later."""

    QUIET = auto()
    TELLING = auto()
    SLOW = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The services that deal with MockPSP at one tempo. running: MockPSP at work."""

    deposits: Deposits
    finance: Finance
    running: Callable[[], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the history is made with. owner: a connection of the database's owner, in autocommit."""

    owner: Connection
    database: Database
    players: Players
    withdrawals: Withdrawals
    webhooks: Webhooks
    inbox: PspInbox
    desks: Mapping[Tempo, Desk]
    webhook_secret: str
    rejects_folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A tenant with its staff and its story. staff: one admin for each role that acts."""

    tenant_id: UUID
    currency: str
    staff: Mapping[Role, AdminIdentity]
    scenes: Iterable[story.Scene]


class Acts:
    """One tenant's scenes, done in their order. What the story calls by its names is kept by its ids."""

    def __init__(self, services: Services, stage: Stage) -> None:
        self._services = services
        self._stage = stage
        self._player_ids: dict[int, UUID] = {}
        self._asked: dict[str, story.Ask] = {}
        self._withdrawal_ids: dict[str, UUID] = {}

    async def do(self, scene: story.Scene, *, tempo: Tempo) -> None:
        """Do it. What the story did not want to be refused and was is logged, and the story goes on."""
        try:
            match scene:
                case story.Import():
                    await self._import(scene)
                case story.OpenWallets():
                    await self._open_wallets(scene)
                case story.TakeCensus():
                    await Census(self._services.database).run(
                        self._stage.tenant_id, started_by=OPERATOR.label, is_fresh=True
                    )
                case story.SettleLegacyHolds():
                    await self._settle_legacy_holds(scene)
                case story.ResolveFindings():
                    await self._resolve_findings(scene)
                case story.StrayWebhooks():
                    await self._send_stray_webhooks(scene)
                case story.PersonScene():
                    await self._do_as_person(scene, tempo=tempo)
        except AppError as refusal:
            if not (isinstance(scene, story.Ask) and scene.is_refused):
                log.warning("demo.scene_refused", told=type(scene).__name__, error_code=refusal.error_code)

    async def _do_as_person(self, scene: story.PersonScene, *, tempo: Tempo) -> None:
        match scene:
            case story.Join():
                await self._join(scene)
            case story.Identify():
                await self._services.players.set_kyc_status(
                    self._stage.tenant_id,
                    player_id=self._player_ids[scene.person.number],
                    kyc_status=scene.kyc_status,
                    reason=scene.reason,
                    actor=_actor(self._stage.staff[Role.TENANT_ADMIN]),
                )
            case story.PayIn():
                await self._pay_in(scene, tempo=_tempo_of(scene.method, otherwise=tempo))
            case story.Ask():
                await self._ask(scene)
            case story.Decide():
                method = self._asked[scene.key].method
                await self._decide(scene, finance=self._services.desks[_tempo_of(method, otherwise=tempo)].finance)
            case story.Drift():
                await demo_repo.change_legacy_balance(
                    self._services.owner,
                    self._stage.tenant_id,
                    player_id=self._player_ids[scene.person.number],
                    change_minor=scene.change_minor,
                )

    async def _import(self, scene: story.Import) -> None:
        currency = self._stage.currency
        rows = [
            (
                f"old-{person.number}",
                person.email,
                person.username,
                currency,
                format_amount(person.available_minor, currency=currency),
                format_amount(person.held_minor, currency=currency),
                person.kyc_status.value,
            )
            for person in scene.people
        ]
        text = "\n".join(",".join(row) for row in (COLUMNS, *rows))
        command = ImportPlayers(
            tenant_id=self._stage.tenant_id,
            file_name=scene.file_name,
            actor=OPERATOR,
            is_dry_run=False,
            now=datetime.now(UTC),
        )
        file = io.BytesIO(text.encode())
        folder = self._services.rejects_folder
        await PlayerImport(self._services.database, command, file=file, rejects_folder=folder).run(lambda _: None)
        for person in scene.people:
            player_id = await self._services.players.find_active_id(self._stage.tenant_id, email=person.email)
            assert player_id is not None, "every row of the story is good"
            self._player_ids[person.number] = player_id

    async def _open_wallets(self, scene: story.OpenWallets) -> None:
        command = BackfillWallets(tenant_id=self._stage.tenant_id, actor=OPERATOR, reason=scene.reason)
        await WalletBackfill(self._services.database, command).run()

    async def _settle_legacy_holds(self, scene: story.SettleLegacyHolds) -> None:
        finance = self._services.desks[Tempo.QUIET].finance
        found, _ = await finance.list_page(
            self._stage.tenant_id,
            asked=WithdrawalFilter(method=LEGACY_HOLD),
            sort=Sort.OLDEST,
            after=None,
            limit=LEGACY_HOLDS_MAX,
            offset=0,
        )
        for withdrawal in found[: len(found) - scene.keep]:
            for deed in (
                Deed(withdrawal_id=withdrawal.id, action=Action.APPROVE),
                Deed(withdrawal_id=withdrawal.id, action=Action.PAY_MANUALLY, evidence_ref=f"OLD-{withdrawal.id}"),
            ):
                await self._perform(deed, by=Role.FINANCE, finance=finance)

    async def _resolve_findings(self, scene: story.ResolveFindings) -> None:
        by = self._stage.staff[Role.RECON]
        note = "Compared with the provider's statement; nothing is missing"
        async with self._services.owner.transaction():
            resolved = await demo_repo.resolve_findings(
                self._services.owner, self._stage.tenant_id, admin_id=by.admin_id, note=note, keep=scene.keep
            )
            for finding_id, finding_type in resolved:
                await audit_repo.insert(
                    self._services.owner,
                    self._stage.tenant_id,
                    AuditEntry(
                        actor=_actor(by),
                        action="finding.resolved",
                        object_kind="finding",
                        object_id=str(finding_id),
                        reason=note,
                        after={"finding_type": finding_type, "status": "RESOLVED"},
                    ),
                )

    async def _send_stray_webhooks(self, scene: story.StrayWebhooks) -> None:
        """Payouts that are none of ours: one delivery is signed and becomes a finding, one is not and stays a hint, and
        perhaps one is signed and cannot be read.
        """
        account_id = account_id_of(self._stage.tenant_id)
        kinds = [(True, True), (False, True), *([(True, False)] if scene.is_one_unreadable else [])]
        for number, (is_signed, is_readable) in enumerate(kinds, start=1):
            now = datetime.now(UTC)
            data = {
                "account": account_id,
                "payout_id": f"po_stray_{number}",
                "reference": f"wd_{uuid7()}_1",
                "status": "paid",
                "sequence": 1,
                "amount_minor": 75_00 if is_readable else "seventy-five",
                "currency": self._stage.currency,
            }
            body = json.dumps({"type": "payout.paid", "timestamp": now.isoformat(), "data": data}).encode()
            delivery_id = f"evt_stray_{self._stage.tenant_id.hex}_{number}"
            secrets = [self._services.webhook_secret] if is_signed else ["whsec_bm9ib2R5J3Mgc2VjcmV0LCBub2JvZHkncw=="]
            receipt = await self._services.webhooks.receive(
                Delivery(
                    provider=mockpsp.PROVIDER,
                    # What cannot be read does not say whose it is: that one names its account in its address.
                    account_id=None if is_readable else account_id,
                    raw_body=body,
                    headers=standard_webhooks.sign(body, delivery_id=delivery_id, signed_at=now, secrets=secrets),
                    request_id=f"demo-stray-{number}",
                    received_at=now,
                )
            )
            self._services.inbox.apply_soon(receipt.event_id)

    async def _join(self, scene: story.Join) -> None:
        command = CreatePlayer(
            tenant_id=self._stage.tenant_id,
            email=scene.person.email,
            username=scene.person.username,
            # Nobody signs in as a player of the story, and a hash takes its time.
            password=None,
            currency=self._stage.currency,
        )
        player = await self._services.players.register(command, request_id=None)
        self._player_ids[scene.person.number] = player.id

    async def _pay_in(self, scene: story.PayIn, *, tempo: Tempo) -> None:
        await self._services.desks[tempo].deposits.deposit(
            OpenDeposit(
                deposit_id=uuid7(),
                tenant_id=self._stage.tenant_id,
                player_id=self._player_ids[scene.person.number],
                money=Money(amount_minor=scene.amount_minor, currency=self._stage.currency),
                method=scene.method,
                provider=mockpsp.PROVIDER,
                idempotency_key=scene.key,
                unverified_cap_minor=NO_CAP_MINOR,
            )
        )

    async def _ask(self, scene: story.Ask) -> None:
        self._asked[scene.key] = scene
        answer = await self._services.withdrawals.request(
            RequestWithdrawal(
                withdrawal_id=uuid7(),
                tenant_id=self._stage.tenant_id,
                player_id=self._player_ids[scene.person.number],
                money=Money(amount_minor=scene.amount_minor, currency=self._stage.currency),
                method=scene.method,
                address=f"DE{scene.person.number % 89 + 10} 1001 0010 {scene.person.number:010d}",
                idempotency_key=scene.key,
            )
        )
        self._withdrawal_ids[scene.key] = answer.withdrawal.id

    async def _decide(self, scene: story.Decide, *, finance: Finance) -> None:
        withdrawal_id = self._withdrawal_ids.get(scene.key)
        if withdrawal_id is None:
            return
        deed = Deed(
            withdrawal_id=withdrawal_id, action=scene.action, reason=scene.reason, evidence_ref=scene.evidence_ref
        )
        await self._perform(deed, by=scene.by, finance=finance)

    async def _perform(self, deed: Deed, *, by: Role, finance: Finance) -> None:
        admin = self._stage.staff[by]
        await finance.perform(deed, admin=admin, actor=_actor(admin))


def _actor(admin: AdminIdentity) -> Actor:
    return Actor(kind=ActorKind.ADMIN, actor_id=admin.admin_id, label=admin.email)


def _tempo_of(method: str, *, otherwise: Tempo) -> Tempo:
    """What is pending in the story is to stay so while people look at it."""
    return Tempo.SLOW if method == "mock:pending" else otherwise
