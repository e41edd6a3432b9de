"""How a provider's settlement file is to be read: a declaration for each tenant and provider, checked before kept.

document (JSON or TOML) ─ parse_mapping ─▶ SettlementMapping, or all that is wrong with it at once

What is declared is what is believed: nothing about a file is guessed. docs/reconciliation.md explains the keys.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from backend.app.domain.csv_records import Dialect
from backend.app.domain.errors import AppError, NotFound
from backend.app.domain.payments.psp_event import StatusClass
from backend.app.domain.reconciliation.settlement_fields import Fields
from backend.app.domain.reconciliation.settlement_time import TimeFormat, parse_time_format
from backend.app.domain.reconciliation.statement import StatementKind

# Python's codecs whose first half is ASCII, so that a line's end and a quote are what they look like.
ENCODINGS: Final = (
    "utf-8",
    "iso-8859-1",
    "iso-8859-2",
    "iso-8859-9",
    "iso-8859-15",
    "windows-1250",
    "windows-1252",
    "windows-1254",
)
DELIMITERS: Final = (",", ";", "\t", "|")
GROUP_SEPARATORS: Final = ("", ",", ".", " ", "'", "\u00a0", "\u202f")
# What a type may mean beside a movement: a line that is counted and not compared, such as a transfer to the house.
IGNORED: Final = "ignore"
# So much later than it moved a provider may list something, at most.
LISTED_WITHIN_HOURS_MAX: Final = 31 * 24
SKIP_LINES_MAX: Final = 100
CELLS_MAX: Final = 1_000
VALUES_MAX: Final = 200
# A file is read once for each of its accounts.
ACCOUNTS_MAX: Final = 20
DOCUMENT_BYTES_MAX: Final = 65_536


class SettlementMappingInvalid(AppError):
    """422: the declaration cannot be used; every fault is named."""

    error_code = "SETTLEMENT_MAPPING_INVALID"
    status = 422
    title = "The mapping is not valid"


class SettlementMappingNotFound(NotFound):
    """404: the tenant has declared no mapping for this provider's files."""

    error_code = "SETTLEMENT_MAPPING_NOT_FOUND"
    title = "No mapping is declared for this provider's settlement files"


class Sign(StrEnum):
    """What a minus before an amount means."""

    UNSIGNED = "unsigned"
    IN_POSITIVE = "in_positive"
    OUT_POSITIVE = "out_positive"


class Basis(StrEnum):
    """Whether the amount is what the player paid or got, or what was left of it after the fee."""

    GROSS = "gross"
    NET = "net"


class ControlSum(StrEnum):
    """What a claimed sum adds up: the amounts as they are written, or without their signs."""

    SIGNED = "signed"
    ABSOLUTE = "absolute"


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where each value stands: the name in the header, or the number of the column, the first being 1."""

    provider_reference: str | int
    amount: str | int
    occurred_at: str | int
    our_reference: str | int | None
    line: str | int | None
    type: str | int | None
    status: str | int | None
    currency: str | int | None
    fee: str | int | None
    account: str | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AmountFormat:
    """How amounts are written. is_minor: in the currency's minor unit. A fee costs the house when it is positive."""

    is_minor: bool
    decimal_separator: str
    group_separator: str
    sign: Sign
    basis: Basis
    is_fee_negative: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailer:
    """The lines at the end that say how much there was. Cells are numbered from 1."""

    marker: str
    marker_cell: int
    count_cell: int | None
    sum_cell: int | None
    currency_cell: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementMapping:
    """One declaration. Constants stand for columns that the file does not have; trailer None: a person gives totals.

    accounts: what the file lists, by the provider's names for them; none: all that the tenant has.
    """

    accounts: tuple[str, ...]
    ignores_other_accounts: bool
    is_whole: bool
    listed_within_hours: int
    dialect: Dialect
    skip_lines: int
    has_header: bool
    is_newline_optional: bool
    columns: Columns
    amount: AmountFormat
    time: TimeFormat
    types: Mapping[str, StatementKind | None]
    statuses: Mapping[str, StatusClass]
    currencies: Mapping[str, str]
    constant_type: StatementKind | None
    constant_status: StatusClass | None
    constant_currency: str | None
    trailer: Trailer | None
    control_sum: ControlSum


def digest_of(document: Mapping[str, Any]) -> str:
    """What tells two declarations apart, in hexadecimal; the order of keys does not count."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | bool | None]:
    """The declaration as the audit keeps it: dotted names and plain values."""
    flat: dict[str, str | int | bool | None] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            flat[f"{prefix}{key}"] = ", ".join(str(each) for each in value)
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def parse_mapping(document: object) -> SettlementMapping:
    """The declaration as it is used. Raises SettlementMappingInvalid naming everything that is wrong."""
    fields = Fields(document)
    file = fields.table("file")
    dialect = Dialect(
        delimiter=file.choice("delimiter", DELIMITERS, default=","),
        encoding=file.choice("encoding", ENCODINGS, default="utf-8"),
    )
    has_header = file.boolean("header", default=True)
    columns = _parse_columns(fields.table("columns"), has_header=has_header)
    constants = fields.table("constants")
    amount = _parse_amount(fields.table("amount"))
    control = fields.table("control")
    constant_currency = constants.currency("currency") if constants.has("currency") else None
    mapping = SettlementMapping(
        accounts=fields.texts("accounts", count_max=ACCOUNTS_MAX),
        ignores_other_accounts=fields.boolean("ignore_other_accounts", default=False),
        is_whole=fields.choice("completeness", ("whole", "extract")) == "whole",
        listed_within_hours=fields.integer("listed_within_hours", 0, LISTED_WITHIN_HOURS_MAX, default=0),
        dialect=dialect,
        skip_lines=file.integer("skip_lines", 0, SKIP_LINES_MAX, default=0),
        has_header=has_header,
        is_newline_optional=file.choice("final_newline", ("required", "optional"), default="required") == "optional",
        columns=columns,
        amount=amount,
        time=parse_time_format(fields.table("time")),
        types={
            word: None if meaning == IGNORED else StatementKind(meaning)
            for word, meaning in fields.values("types", (*StatementKind, IGNORED), count_max=VALUES_MAX).items()
        },
        statuses={
            word: StatusClass(meaning)
            for word, meaning in fields.values("statuses", tuple(StatusClass), count_max=VALUES_MAX).items()
        },
        currencies=fields.currencies("currencies", count_max=VALUES_MAX),
        constant_type=StatementKind(constants.choice("type", tuple(StatementKind))) if constants.has("type") else None,
        constant_status=(
            StatusClass(constants.choice("status", tuple(StatusClass))) if constants.has("status") else None
        ),
        constant_currency=constant_currency,
        trailer=_parse_trailer(control, has_currency=constant_currency is not None),
        control_sum=ControlSum(control.choice("sum", tuple(ControlSum), default=ControlSum.SIGNED)),
    )
    _check_together(fields, mapping)
    faults = fields.faults()
    if faults:
        raise SettlementMappingInvalid(
            "; ".join(f"{each.name}: {each.message}" for each in faults),
            errors=[{"field": each.name, "message": each.message} for each in faults],
        )
    return mapping


def _parse_columns(columns: Fields, *, has_header: bool) -> Columns:
    def column(name: str) -> str | int:
        return columns.column(name, has_header=has_header, number_max=CELLS_MAX)

    def optional(name: str) -> str | int | None:
        return column(name) if columns.has(name) else None

    return Columns(
        provider_reference=column("provider_reference"),
        amount=column("amount"),
        occurred_at=column("occurred_at"),
        our_reference=optional("our_reference"),
        line=optional("line"),
        type=optional("type"),
        status=optional("status"),
        currency=optional("currency"),
        fee=optional("fee"),
        account=optional("account"),
    )


def _parse_amount(amount: Fields) -> AmountFormat:
    is_minor = amount.choice("unit", ("major", "minor")) == "minor"
    decimal_separator = amount.choice("decimal_separator", (".", ","), default=".")
    group_separator = amount.choice("group_separator", GROUP_SEPARATORS, default="")
    if group_separator == decimal_separator:
        amount.fault("group_separator", "is the decimal separator as well")
    if is_minor and amount.has("decimal_separator"):
        amount.fault("decimal_separator", "has no place in minor units")
    return AmountFormat(
        is_minor=is_minor,
        decimal_separator=decimal_separator,
        group_separator=group_separator,
        sign=Sign(amount.choice("sign", tuple(Sign))),
        basis=Basis(amount.choice("basis", tuple(Basis), default=Basis.GROSS)),
        is_fee_negative=amount.choice("fee_sign", ("positive", "negative"), default="positive") == "negative",
    )


def _parse_trailer(control: Fields, *, has_currency: bool) -> Trailer | None:
    if control.choice("totals", ("operator", "trailer")) != "trailer":
        return None

    def cell(name: str) -> int | None:
        return control.integer(name, 1, CELLS_MAX) if control.has(name) else None

    trailer = Trailer(
        marker=control.text("marker"),
        marker_cell=control.integer("marker_cell", 1, CELLS_MAX, default=1),
        count_cell=cell("count_cell"),
        sum_cell=cell("sum_cell"),
        currency_cell=cell("currency_cell"),
    )
    if trailer.count_cell is None and trailer.sum_cell is None:
        control.fault("count_cell", "or sum_cell is needed: a trailer without either claims nothing")
    if trailer.sum_cell is not None and trailer.currency_cell is None and not has_currency:
        control.fault("currency_cell", "is needed, unless constants.currency says what every sum is in")
    return trailer


def _check_together(fields: Fields, mapping: SettlementMapping) -> None:
    columns = mapping.columns
    for name, column, constant in (
        ("type", columns.type, mapping.constant_type),
        ("status", columns.status, mapping.constant_status),
        ("currency", columns.currency, mapping.constant_currency),
    ):
        if column is None and constant is None:
            fields.fault(f"columns.{name}", f"is needed, or constants.{name} for all lines")
        elif column is not None and constant is not None:
            fields.fault(f"constants.{name}", f"cannot be beside columns.{name}")
    for name, words, column in (
        ("types", mapping.types, columns.type),
        ("statuses", mapping.statuses, columns.status),
        ("currencies", mapping.currencies, columns.currency),
    ):
        if words and column is None:
            fields.fault(name, "explains the words of a column that is not declared")
        elif column is not None and not words and name != "currencies":
            fields.fault(name, "is needed: what does each word of the column mean?")
    if columns.type is not None and mapping.types and not any(mapping.types.values()):
        fields.fault("types", "ignores every line")
    if mapping.amount.basis is Basis.NET and columns.fee is None:
        fields.fault("columns.fee", "is needed to find the gross amount of a net one")
    if mapping.ignores_other_accounts and columns.account is None:
        fields.fault("ignore_other_accounts", "means nothing without columns.account")
    if len(mapping.accounts) > 1 and columns.account is None:
        fields.fault("accounts", "has more than one; columns.account has to tell which a line is about")
