"""`hakem rollout`: where tenants stand, the flip, and the way back; works beside a running service and without one."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
import typer

from backend.app.api.rollout_schemas import detail_out, status_out
from backend.app.domain.rollout.flags import parse_reason
from backend.app.domain.rollout.gate_texts import command as command_of
from backend.app.domain.rollout.gate_texts import explain, remedy
from backend.app.domain.rollout.gates import Gate, GateResult, GatesNotMet, Language, parse_waived
from backend.app.domain.rollout.rollout_state import ArbiterChange, HoldKind
from backend.app.domain.rollout.waves import Candidate, parse_share
from backend.app.domain.tenant import TenantNotFound
from backend.app.repositories.database import Database
from backend.app.repositories.engine import resolve
from backend.app.repositories.rollout import rollout_repo
from backend.app.services import logs
from backend.app.services.monitor.monitor_reader import read_triggers
from backend.app.services.rollout import rollout_holds
from backend.app.services.rollout.rollout import Rollout
from backend.app.services.rollout.rollout_status import RolloutStatus, TenantStatus
from backend.app.services.rollout.rollout_waves import RolloutWaves, WaveReport
from backend.app.wiring import build_gates
from backend.config import Settings
from backend.scripts.connection import open_database, open_pools, operator

PAGE: Final = 50
WARNINGS_ONLY: Final = 40

app = typer.Typer(help="The rollout: let the ledger decide, tenant by tenant, and back.", no_args_is_help=True)

Tenant = Annotated[str, typer.Argument(help="The tenant's id or slug.")]
MaybeTenant = Annotated[str | None, typer.Argument(help="The tenant's id or slug.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit.")]
Lang = Annotated[Language, typer.Option("--language", help="The language of the sentences.")]
Override = Annotated[str, typer.Option(help="Soft gates to override, by name: evidence,quiet,rehearsal.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a command works with."""

    database: Database
    rollout: Rollout
    status: RolloutStatus

    async def tenant_id(self, name: str) -> UUID:
        """The tenant of an id or a slug. Raises TenantNotFound."""
        async with self.database.connection() as conn:
            tenant_id = await rollout_repo.find_tenant_id(conn, name=name)
        if tenant_id is None:
            raise TenantNotFound(f"there is no tenant {name}")
        return tenant_id


@app.command()
def status(tenant: MaybeTenant = None, as_json: AsJson = False, language: Lang = Language.ENGLISH) -> None:
    """Say where every tenant stands, or one of them with its gates, what is missing and what to do."""
    logs.configure(level=WARNINGS_ONLY)
    asyncio.run(_status(tenant, as_json=as_json, language=language))


@app.command()
def enforce(
    reason: Reason,
    tenant: MaybeTenant = None,
    override_gates: Override = "",
    wave: Annotated[
        int | None, typer.Option(min=1, help="The next so many tenants, those with least money first.")
    ] = None,
    share: Annotated[
        str | None, typer.Option(help="Tenants with at most this share of all balances, such as 5%.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Judge the gates, change nothing.")] = False,
    language: Lang = Language.ENGLISH,
) -> None:
    """Let the ledger decide about a tenant, or about a wave of tenants, one after the other until one is refused.

    Returns when no request anywhere is judged by the legacy column any more. Exit 5 when gates stand against it.
    """
    logs.configure(level=WARNINGS_ONLY)
    if (tenant is None) == (wave is None and share is None):
        raise typer.BadParameter("name a tenant, or say --wave or --share", param_hint="TENANT")
    work = _Enforce(
        reason=parse_reason(reason), waived=_parse_waived(override_gates), language=language, dry_run=dry_run
    )
    if tenant is not None:
        asyncio.run(work.one(tenant))
    else:
        asyncio.run(work.many(count_max=wave, share_max=None if share is None else parse_share(share)))


@app.command()
def rollback(
    reason: Reason,
    tenant: MaybeTenant = None,
    all_: Annotated[bool, typer.Option("--all", help="Every tenant.")] = False,
) -> None:
    """Let the legacy column decide again. Never refused; nothing else has to run."""
    logs.configure(level=WARNINGS_ONLY)
    if (tenant is None) != all_:
        raise typer.BadParameter("name a tenant, or say --all", param_hint="TENANT")
    asyncio.run(_rollback(tenant, reason=reason))


@app.command()
def rehearse(tenant: Tenant, reason: Reason = "rehearsal") -> None:
    """Flip and flip back inside one transaction that nobody sees, and say how long both took."""
    logs.configure(level=WARNINGS_ONLY)
    asyncio.run(_rehearse(tenant, reason=parse_reason(reason)))


@app.command()
def hold(
    reason: Reason,
    tenant: MaybeTenant = None,
    fleet: Annotated[bool, typer.Option("--fleet", help="Every tenant.")] = False,
    hours: Annotated[float | None, typer.Option(min=0.01, help="For so long; else until it is lifted.")] = None,
) -> None:
    """Stand against enforcing a tenant, or the fleet. A rollback stays possible."""
    logs.configure(level=WARNINGS_ONLY)
    until = None if hours is None else datetime.now(UTC) + timedelta(hours=hours)
    asyncio.run(_hold(_target(tenant, fleet=fleet), reason=parse_reason(reason), until=until))


@app.command()
def lift(
    reason: Reason,
    tenant: MaybeTenant = None,
    fleet: Annotated[bool, typer.Option("--fleet", help="The holds of every tenant together.")] = False,
    kind: Annotated[HoldKind | None, typer.Option(help="Only holds of this kind.")] = None,
) -> None:
    """Lift what stands against enforcing a tenant, or the fleet."""
    logs.configure(level=WARNINGS_ONLY)
    asyncio.run(_lift(_target(tenant, fleet=fleet), reason=parse_reason(reason), kind=kind))


@asynccontextmanager
async def open_desk(*, is_schema_checked: bool = True) -> AsyncIterator[Desk]:
    """The database and the services on it. A rollback does not ask which release migrated the schema."""
    settings = Settings.load()
    if is_schema_checked:
        async with open_database(settings) as database:
            yield _desk(database)
        return
    with resolve(settings) as engine:
        async with open_pools(engine, settings) as database:
            yield _desk(database)


def _desk(database: Database) -> Desk:
    gates = build_gates()
    return Desk(
        database=database,
        rollout=Rollout(database, gates),
        status=RolloutStatus(database, gates, read_triggers=read_triggers),
    )


async def _status(tenant: str | None, *, as_json: bool, language: Language) -> None:
    async with open_desk() as desk:
        if tenant is not None:
            detail = await desk.status.get(None, tenant_id=await desk.tenant_id(tenant))
            if as_json:
                print(_json(detail_out(detail)))
            else:
                _print_tenant(detail.status, language=language)
            return
        documents: list[Any] = []
        offset = 0
        while True:
            page, total = await desk.status.list_page(None, limit=PAGE, offset=offset)
            for each in page:
                if as_json:
                    documents.append(status_out(each))
                else:
                    _print_line(each)
            offset += PAGE
            if offset >= total:
                break
        if as_json:
            print(_json(documents))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Enforce:
    reason: str
    waived: frozenset[Gate]
    language: Language
    dry_run: bool

    async def one(self, tenant: str) -> None:
        async with open_desk() as desk:
            tenant_id = await desk.tenant_id(tenant)
            if self.dry_run:
                self._print_gates(tenant_id, await desk.rollout.check(tenant_id, waived_gates=self.waived))
                return
            try:
                change = await desk.rollout.enforce(
                    tenant_id, reason=self.reason, actor=operator(), waived_gates=self.waived
                )
            except GatesNotMet as refusal:
                _print_refusal(refusal, language=self.language)
                raise
            _print_change(tenant, change)

    async def many(self, *, count_max: int | None, share_max: Any) -> None:
        async with open_desk() as desk:
            waves = RolloutWaves(desk.database, desk.rollout)
            plan = await waves.plan(count_max=count_max, share_max=share_max)
            print(f"wave tenants={len(plan.taken)} share={plan.share:.2%} left={len(plan.left)}")
            for candidate, why in plan.left:
                print(f"later {candidate.slug}: {why}")
            if self.dry_run:
                for candidate, gates in await waves.check(plan, waived_gates=self.waived):
                    print(f"tenant {candidate.slug}")
                    self._print_gates(candidate.tenant_id, gates)
                return
            report = await waves.run(
                plan, reason=self.reason, actor=operator(), waived_gates=self.waived, on_change=_print_candidate
            )
            _end_wave(report, language=self.language)

    def _print_gates(self, tenant_id: UUID, gates: Sequence[GateResult]) -> None:
        for each in gates:
            print(_gate_line(each, tenant_id=tenant_id, language=self.language))
        met = not any(each.stands_against for each in gates)
        print(f"dry run: {'every gate is met' if met else 'gates stand against it'}; nothing was changed")


async def _rollback(tenant: str | None, *, reason: str) -> None:
    async with open_desk(is_schema_checked=False) as desk:
        if tenant is None:
            changes = await desk.rollout.rollback_all(reason=reason, actor=operator())
            for change in changes:
                _print_change(str(change.tenant_id), change)
            print(f"rolled_back={len(changes)}")
            return
        tenant_id = await desk.tenant_id(tenant)
        _print_change(tenant, await desk.rollout.rollback(tenant_id, reason=reason, actor=operator()))


async def _rehearse(tenant: str, *, reason: str) -> None:
    async with open_desk() as desk:
        done = await desk.rollout.rehearse(await desk.tenant_id(tenant), reason=reason, actor=operator())
    print(
        f"rehearsed {tenant} enforce_ms={done.enforce_ms:.1f} rollback_ms={done.rollback_ms:.1f} "
        f"fence_waited_ms={done.fence_waited_ms} epoch={done.epoch}"
    )


async def _hold(tenant: str | None, *, reason: str, until: datetime | None) -> None:
    async with open_desk() as desk:
        tenant_id = None if tenant is None else await desk.tenant_id(tenant)
        kind = HoldKind.FREEZE if tenant_id is None else HoldKind.HOLD
        async with desk.database.transaction() as conn:
            placed = await rollout_holds.place(conn, kind, tenant_id, reason=reason, until=until, actor=operator())
    print(f"{placed.kind} {tenant or 'fleet'} id={placed.id} until={placed.ends_at or 'lifted'}")


async def _lift(tenant: str | None, *, reason: str, kind: HoldKind | None) -> None:
    async with open_desk() as desk:
        tenant_id = None if tenant is None else await desk.tenant_id(tenant)
        async with desk.database.transaction() as conn:
            lifted = await rollout_holds.lift(conn, tenant_id, reason=reason, actor=operator(), kind=kind)
    for each in lifted:
        print(f"lifted {each.kind} {tenant or 'fleet'} id={each.id}")


def _target(tenant: str | None, *, fleet: bool) -> str | None:
    if (tenant is None) != fleet:
        raise typer.BadParameter("name a tenant, or say --fleet", param_hint="TENANT")
    return tenant


def _parse_waived(text: str) -> frozenset[Gate]:
    return parse_waived([name for name in text.split(",") if name.strip()], field="--override-gates")


def _end_wave(report: WaveReport, *, language: Language) -> None:
    print(f"enforced={len(report.changes)} of={len(report.wave.taken)}")
    if report.refused is None:
        return
    candidate, refusal = report.refused
    print(f"stopped at {candidate.slug}; those before it stay enforced", file=sys.stderr)
    if isinstance(refusal, GatesNotMet):
        _print_refusal(refusal, language=language)
    raise refusal


def _print_candidate(candidate: Candidate, change: ArbiterChange) -> None:
    _print_change(candidate.slug, change)


def _print_change(tenant: str, change: ArbiterChange) -> None:
    told = f"{tenant} arbiter={change.arbiter} epoch={change.epoch} changed={str(change.is_changed).lower()}"
    if change.is_changed:
        told += f" fenced={str(change.is_fenced).lower()} fence_waited_ms={change.fence_waited_ms}"
    print(told)


def _print_refusal(refusal: GatesNotMet, *, language: Language) -> None:
    gates: Any = refusal.extras["gates"]
    for gate in gates:
        told = f"{gate['gate']}: {gate['text'][language.value]} {gate['remedy'][language.value]}".rstrip()
        print(f"{told}  [{gate['command']}]" if gate["command"] else told, file=sys.stderr)


def _print_line(status: TenantStatus) -> None:
    tenant = status.facts.tenant
    failing = ",".join(gate.gate.value for gate in status.gates if gate.stands_against)
    enforce_flag = next(flag for flag in status.flags if flag.flag == "ledger_enforce_balance")
    print(
        f"{tenant.slug} stage={status.stage} arbiter={tenant.arbiter} by={enforce_flag.source} epoch={tenant.epoch} "
        f"missing={failing or '-'}"
    )


def _print_tenant(status: TenantStatus, *, language: Language) -> None:
    tenant = status.facts.tenant
    print(f"{tenant.slug} ({tenant.tenant_id}) stage={status.stage} arbiter={tenant.arbiter} epoch={tenant.epoch}")
    for flag in status.flags:
        who = f", {flag.set_by}: {flag.reason}" if flag.set_by else ""
        until = f", until {flag.expires_at:%Y-%m-%d %H:%M}Z" if flag.expires_at else ""
        print(f"flag {flag.flag}={str(flag.value).lower()} from {flag.source}{who}{until}")
    for gate in status.gates:
        print(_gate_line(gate, tenant_id=tenant.tenant_id, language=language))
    for mismatch_class, wallets in sorted(tenant.mismatches.items()):
        print(f"mismatch {mismatch_class}: {wallets} wallets in the last day")
    for trigger in status.triggers:
        print(f"trigger {json.dumps(trigger, default=str)}")


def _gate_line(gate: GateResult, *, tenant_id: UUID, language: Language) -> str:
    mark = "met" if gate.is_met else "waived" if gate.is_waived else "MISSING" if gate.gate.is_hard else "missing"
    told = f"gate {gate.gate} {mark}: {explain(gate, language=language)}"
    if gate.stands_against:
        told = f"{told} {remedy(gate, language=language)}".rstrip()
        typed = command_of(gate, tenant_id=tenant_id)
        told += f"  [{typed}]" if typed else ""
    return told


def _json(document: Any) -> str:
    return msgspec.json.encode(document).decode()
