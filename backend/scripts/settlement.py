"""`hakem reconcile file` and `hakem reconcile mapping`: compare what a provider wrote into a file."""

import asyncio
import json
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from backend.app.domain.errors import FieldError
from backend.app.domain.money import format_amount, parse_balance, parse_currency
from backend.app.domain.reconciliation.reconciliation import RunStatus
from backend.app.domain.reconciliation.settlement_file import Expected
from backend.app.domain.reconciliation.settlement_mapping import DOCUMENT_BYTES_MAX, SettlementMappingInvalid
from backend.app.repositories.home import open_home
from backend.app.services import logs
from backend.app.services.reconciliation.settlement_mappings import SettlementMappings
from backend.app.services.reconciliation.settlement_run import ComparedFile, CompareFile, SettlementRuns
from backend.config import Settings
from backend.scripts import run_report
from backend.scripts.connection import open_database, operator

REJECTS_FOLDER: Final = "rejects"
PAGE: Final = 100

mappings = typer.Typer(help="How providers' settlement files are to be read.", no_args_is_help=True)

Provider = Annotated[str, typer.Option(help="Whose files: the name that its payments are booked under.")]
TenantId = Annotated[UUID, typer.Option(help="The tenant whose accounts the file is about.")]


def file(
    path: Annotated[
        Path,
        typer.Argument(metavar="FILE.csv", exists=True, dir_okay=False, readable=True, help="The provider's file."),
    ],
    provider: Provider,
    tenant_id: TenantId,
    from_: Annotated[
        str | None, typer.Option("--from", help="Since when it lists everything; left out: its first movement.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="Until when, exclusive; left out: its last movement.")] = None,
    expected_count: Annotated[int | None, typer.Option(min=0, help="How many lines it should have.")] = None,
    expected_total: Annotated[
        list[str] | None,
        typer.Option(metavar="CURRENCY=AMOUNT", help="What its amounts add up to, such as USD=1250.00; repeatable."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Though the same file was compared before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write no finding; only count.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as one JSON document.")] = False,
) -> None:
    """Compare a provider's settlement file with the ledger, as its mapping says.

    Exit 0: compared completely. Exit 1: partly, or not at all; the last line says why. The same file twice is harmless.
    Lines that cannot be read go to a rejects file, with the reason; the others are compared all the same.
    """
    logs.configure(level=40)
    command = CompareFile(
        tenant_id=tenant_id,
        provider=provider,
        path=path,
        started_by=operator().label,
        window_start=_parse_moment(from_, field="--from"),
        window_end=_parse_moment(to, field="--to"),
        expected=Expected(count=expected_count, sums=_parse_totals(expected_total)),
        is_again=again,
        is_dry_run=dry_run,
    )
    done = asyncio.run(_compare(command, Settings.load()))
    _print_rejected(done)
    if done.is_known:
        print(
            f"the same file was compared by run {done.run.id} of {done.run.created_at:%Y-%m-%dT%H:%M:%SZ}; "
            "nothing was done (--again compares it anew)",
            file=sys.stderr,
        )
    if as_json:
        print(json.dumps({**run_report.document(done.run), "is_known": done.is_known}, default=str))
    else:
        _print_survey(done)
        run_report.print_run(done.run)
    if done.run.status != RunStatus.COMPLETED:
        raise typer.Exit(1)


@mappings.command("set")
def set_(
    path: Annotated[
        Path,
        typer.Argument(metavar="MAPPING.toml", exists=True, dir_okay=False, readable=True, help="TOML, or JSON."),
    ],
    provider: Provider,
    tenant_id: TenantId,
) -> None:
    """Declare how a provider's files are to be read, in the place of what was declared before."""
    document = _load(path)
    is_new = asyncio.run(_declare(tenant_id, provider=provider, document=document))
    print(f"{'declared' if is_new else 'unchanged'} provider={provider} tenant_id={tenant_id}")


@mappings.command()
def show(provider: Provider, tenant_id: TenantId) -> None:
    """Print what is declared, as JSON."""
    print(json.dumps(asyncio.run(_show(tenant_id, provider=provider)), indent=2, ensure_ascii=False))


@mappings.command("list")
def list_(tenant_id: TenantId) -> None:
    """Print a line for each provider whose files can be read."""
    asyncio.run(_list(tenant_id))


async def _compare(command: CompareFile, settings: Settings) -> ComparedFile:
    rejects_folder = open_home(settings.hakem_home) / REJECTS_FOLDER
    async with open_database(settings) as database:
        return await SettlementRuns(database, rejects_folder=rejects_folder).compare(command)


async def _declare(tenant_id: UUID, *, provider: str, document: dict[str, Any]) -> bool:
    async with open_database(Settings.load()) as database:
        return await SettlementMappings(database).declare(
            tenant_id, provider=provider, document=document, actor=operator(), now=datetime.now(UTC)
        )


async def _show(tenant_id: UUID, *, provider: str) -> dict[str, Any]:
    async with open_database(Settings.load()) as database:
        return (await SettlementMappings(database).get(tenant_id, provider=provider)).document


async def _list(tenant_id: UUID) -> None:
    async with open_database(Settings.load()) as database:
        after = ""
        while page := await SettlementMappings(database).list_page(tenant_id, after_provider=after, limit=PAGE):
            for declared in page:
                print(declared.provider, f"{declared.updated_at:%Y-%m-%dT%H:%M:%SZ}")
            after = page[-1].provider


def _load(path: Path) -> dict[str, Any]:
    with path.open("rb") as opened:
        raw = opened.read(DOCUMENT_BYTES_MAX + 1)
    if len(raw) > DOCUMENT_BYTES_MAX:
        raise SettlementMappingInvalid(f"{path.name} is larger than {DOCUMENT_BYTES_MAX} bytes")
    try:
        text = raw.decode("utf-8-sig")
        document = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text.replace("\r\n", "\n"))
        # What TOML has and JSON has not, such as a date, cannot be kept.
        json.dumps(document, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise SettlementMappingInvalid(f"{path.name} cannot be read: {error}") from None
    if not isinstance(document, dict):
        raise SettlementMappingInvalid(f"{path.name} has to be a table of names and values")
    return document


def _parse_moment(text: str | None, *, field: str) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise FieldError(field, "has to be a date or a time such as 2026-03-01 or 2026-03-01T00:00:00+03:00") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _parse_totals(texts: list[str] | None) -> dict[str, int] | None:
    if not texts:
        return None
    sums: dict[str, int] = {}
    for text in texts:
        currency, equals, amount = text.partition("=")
        if not equals or currency in sums:
            raise FieldError("--expected-total", "has to be a currency and its amount such as USD=1250.00, each once")
        parse_currency(currency, field="--expected-total")
        is_negative = amount.startswith("-")
        minor = parse_balance(amount.removeprefix("-"), currency=currency, field="--expected-total")
        sums[currency] = -minor if is_negative else minor
    return sums


def _print_rejected(done: ComparedFile) -> None:
    surveyed = done.surveyed
    for line in surveyed.rejected:
        print(f"line {line.line_number}: {line.reason}", file=sys.stderr)
    if surveyed.rejects_path is not None:
        print(f"{surveyed.survey.rejected} lines in {surveyed.rejects_path}", file=sys.stderr)


def _print_survey(done: ComparedFile) -> None:
    survey = done.surveyed.survey
    sums = " ".join(
        f"{currency}={format_amount(amount, currency=currency)}" for currency, amount in sorted(survey.sums.items())
    )
    fees = " ".join(
        f"{currency}={format_amount(fee, currency=currency)}" for currency, fee in sorted(survey.fees.items()) if fee
    )
    print(
        f"file: lines={survey.lines} compared={survey.movements} rejected={survey.rejected} "
        f"sums: {sums or 'none'} fees: {fees or 'none'} sha256={done.surveyed.sha256}"
    )
