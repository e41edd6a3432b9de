"""`hakem flags`: what the flags come to and why, and setting them."""

import asyncio
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from backend.app.domain.rollout.flags import EffectiveFlag, Flag, FlagScope, SetFlag, parse_flag, parse_reason
from backend.app.services import logs
from backend.app.services.rollout.flags import Flags
from backend.scripts.connection import operator
from backend.scripts.rollout import WARNINGS_ONLY, open_desk

app = typer.Typer(help="Flags: what they come to, where it comes from, and setting them.", no_args_is_help=True)

TenantOption = Annotated[str | None, typer.Option("--tenant", help="A tenant's id or slug; else everybody.")]
ProviderOption = Annotated[str | None, typer.Option("--provider", help="A provider, for webhook_signature_enforced.")]


class Value(StrEnum):
    """What a flag can be set to; unset leaves it to the levels below."""

    TRUE = "true"
    FALSE = "false"
    UNSET = "unset"


@app.command("list")
def list_(tenant: TenantOption = None, provider: ProviderOption = None) -> None:
    """Print a line for each flag: its value, the level that says so, and who set that and why."""
    logs.configure(level=WARNINGS_ONLY)
    asyncio.run(_list(tenant, provider))


@app.command("set")
def set_(
    flag: Annotated[str, typer.Argument(help=f"One of {', '.join(Flag)}.")],
    value: Annotated[Value, typer.Argument(help="true, false, or unset to leave it to the levels below.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit.")],
    tenant: TenantOption = None,
    provider: ProviderOption = None,
    hours: Annotated[
        float | None, typer.Option(min=0.01, help="For so long; else until somebody sets it again.")
    ] = None,
) -> None:
    """Set a flag for everybody, for a tenant or for a provider. To enforce is to pass the gates: exit 5 when they are
    not.
    """
    logs.configure(level=WARNINGS_ONLY)
    now = datetime.now(UTC)
    asyncio.run(
        _set(
            parse_flag(flag),
            {Value.TRUE: True, Value.FALSE: False, Value.UNSET: None}[value],
            reason=parse_reason(reason),
            tenant=tenant,
            provider=provider,
            expires_at=None if hours is None else now + timedelta(hours=hours),
            now=now,
        )
    )


async def _list(tenant: str | None, provider: str | None) -> None:
    async with open_desk() as desk:
        tenant_id = None if tenant is None else await desk.tenant_id(tenant)
        for flag in await Flags(desk.database, desk.rollout).list_effective(tenant_id, provider=provider):
            print(_line(flag))


async def _set(
    flag: Flag,
    value: bool | None,
    *,
    reason: str,
    tenant: str | None,
    provider: str | None,
    expires_at: datetime | None,
    now: datetime,
) -> None:
    async with open_desk() as desk:
        wish = SetFlag(
            flag=flag,
            value=value,
            scope=FlagScope.GLOBAL if tenant is None else FlagScope.TENANT,
            tenant_id=None if tenant is None else await desk.tenant_id(tenant),
            provider=provider,
            reason=reason,
            expires_at=expires_at,
        )
        for each in await Flags(desk.database, desk.rollout).set(wish, actor=operator(), now=now):
            print(_line(each))


def _line(flag: EffectiveFlag) -> str:
    told = f"{flag.flag}={str(flag.value).lower()} from {flag.source}"
    if flag.set_by:
        told += f" by {flag.set_by}: {flag.reason}"
    return f"{told} until {flag.expires_at:%Y-%m-%dT%H:%M:%SZ}" if flag.expires_at else told
