"""Settlement files without a database: what may be declared, what a line means, and what hostile files come to."""

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.app.domain.csv_records import RECORD_BYTES_MAX
from backend.app.domain.errors import FieldError
from backend.app.domain.money import AMOUNT_MINOR_MAX, CURRENCY_EXPONENTS
from backend.app.domain.payments.psp_event import StatusClass
from backend.app.domain.reconciliation.settlement_amount import amount_parser
from backend.app.domain.reconciliation.settlement_file import Expected, SettlementFile, SettlementFileRefused, Survey
from backend.app.domain.reconciliation.settlement_line import FileLine, RejectedLine, TrailerLine
from backend.app.domain.reconciliation.settlement_mapping import (
    AmountFormat,
    Basis,
    ControlSum,
    SettlementMappingInvalid,
    Sign,
    digest_of,
    flatten,
    parse_mapping,
)
from backend.app.domain.reconciliation.statement import StatementKind
from backend.tests.settlement_desk import (
    BOUNDS,
    DOCUMENT,
    GOOD_LINE,
    HEADER,
    document,
    mapping,
    open_file,
    read,
    survey,
)

HEAD = ",".join(HEADER)


# --- the declaration


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"completeness": None}, "completeness", "is missing"),
        ({"completeness": "all"}, "completeness", "is none of 'whole', 'extract'"),
        ({"columns__provider_reference": None}, "columns.provider_reference", "is missing"),
        ({"columns__amount": ""}, "columns.amount", "has to be a text"),
        ({"columns__amount": 0}, "columns.amount", "from 1 to"),
        ({"columns__amount": True}, "columns.amount", "from 1 to"),
        ({"columns__amuont": "gross"}, "columns.amuont", "is not known; known are account, amount"),
        ({"columns__type": None, "types": None}, "columns.type", "is needed, or constants.type"),
        ({"columns__currency": None}, "columns.currency", "is needed, or constants.currency"),
        ({"constants__status": "success"}, "constants.status", "cannot be beside columns.status"),
        ({"constants__currency": "XXX"}, "constants.currency", "is not a known ISO 4217 currency"),
        ({"types": None}, "types", "what does each word of the column mean"),
        ({"types": {"SALE": "sale"}}, "types.SALE", "is none of 'deposit'"),
        ({"types": {" SALE": "deposit"}}, "types.' SALE'", "has spaces around it"),
        ({"types": {"A": "ignore"}}, "types", "ignores every line"),
        ({"statuses": {"OK": "paid"}}, "statuses.OK", "is none of 'pending'"),
        ({"columns__status": None}, "statuses", "of a column that is not declared"),
        ({"currencies": {"TL": "TLX"}}, "currencies.TL", "is not a known ISO 4217"),
        ({"amount__unit": None}, "amount.unit", "is missing; it is one of 'major', 'minor'"),
        ({"amount__sign": None}, "amount.sign", "is missing"),
        ({"amount__decimal_separator": ";"}, "amount.decimal_separator", "is none of '.', ','"),
        ({"amount__group_separator": "."}, "amount.group_separator", "is the decimal separator as well"),
        ({"amount__unit": "minor", "amount__decimal_separator": "."}, "amount.decimal_separator", "no place in minor"),
        ({"amount__basis": "net", "columns__fee": None}, "columns.fee", "is needed to find the gross"),
        ({"file__delimiter": ":"}, "file.delimiter", "is none of"),
        ({"file__encoding": "utf-16"}, "file.encoding", "is none of 'utf-8'"),
        ({"file__skip_lines": -1}, "file.skip_lines", "from 0 to"),
        ({"file__header": "no"}, "file.header", "has to be true or false"),
        ({"file__header": False}, "columns.amount", "the file has no header"),
        ({"time__format": "%d.%m"}, "time.format", "has at least a year, a month and a day"),
        ({"time__format": "%Y-%m-%d %Q"}, "time.format", "not known: %Q"),
        ({"time__format": "%Y-%m-%d %H"}, "time.format", "both an hour and a minute"),
        ({"time__format": "%Y-%m-%d %I:%M"}, "time.format", "%I and %p together"),
        ({"time__zone": None}, "time.zone", "is missing"),
        ({"time__zone": "Mars/Olympus"}, "time.zone", "is no time zone known here"),
        ({"time__zone": "../../etc/passwd"}, "time.zone", "is no time zone known here"),
        ({"time__format": "%Y-%m-%dT%H:%M:%S%z"}, "time.zone", "cannot be beside %z"),
        ({"control__totals": None}, "control.totals", "is missing; it is one of 'operator', 'trailer'"),
        ({"control__marker": None}, "control.marker", "is missing"),
        ({"control__count_cell": None, "control__sum_cell": None}, "control.count_cell", "claims nothing"),
        ({"control__currency_cell": None}, "control.currency_cell", "is needed, unless"),
        ({"control__totals": "operator"}, "control.marker", "is not known"),
        ({"accounts": "acct"}, "accounts", "has to be a list"),
        ({"accounts": ["a", "a"]}, "accounts", "different texts"),
        ({"accounts": ["a", "b"]}, "accounts", "columns.account has to tell"),
        ({"ignore_other_accounts": True}, "ignore_other_accounts", "means nothing without columns.account"),
        ({"listed_within_hours": 10_000}, "listed_within_hours", "from 0 to"),
        ({"columns": "id"}, "columns", "has to be a table"),
        ({"surprise": 1}, "surprise", "is not known"),
    ],
)
def test_bad_declaration_is_refused_by_its_field(changes: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(SettlementMappingInvalid) as refused:
        parse_mapping(document(**changes))
    errors: Any = refused.value.extras["errors"]
    assert [each for each in errors if each["field"] == field and message in each["message"]], errors


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SettlementMappingInvalid) as refused:
        parse_mapping({"completeness": "whole"})
    for field in ("columns.provider_reference", "amount.unit", "time.format", "control.totals", "columns.type"):
        assert f"{field}: " in refused.value.detail
    with pytest.raises(SettlementMappingInvalid, match="table of names and values"):
        parse_mapping(["completeness"])


def test_declarations_are_told_apart_and_shown_flat() -> None:
    assert digest_of(DOCUMENT) == digest_of(dict(reversed(DOCUMENT.items())))
    assert digest_of(DOCUMENT) != digest_of(document(amount__sign="in_positive"))
    assert flatten(DOCUMENT)["columns.amount"] == "gross"
    assert flatten(DOCUMENT)["accounts"] == "acct"


# --- amounts


def declared(**changes: Any) -> AmountFormat:
    values: dict[str, Any] = {
        "is_minor": False,
        "decimal_separator": ".",
        "group_separator": "",
        "sign": Sign.UNSIGNED,
        "basis": Basis.GROSS,
        "is_fee_negative": False,
    }
    return AmountFormat(**{**values, **changes})


currencies = st.sampled_from(sorted(CURRENCY_EXPONENTS))
minors = st.integers(-AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX)


@given(
    minors, currencies, st.sampled_from([(".", ""), (".", ","), (",", "."), (",", " "), (".", "'")]), st.integers(0, 4)
)
def test_amount_that_is_written_is_the_amount_that_is_read(
    minor: int, currency: str, separators: tuple[str, str], zeros: int
) -> None:
    decimal, group = separators
    exponent = CURRENCY_EXPONENTS[currency]
    # Written by another way than it is read: by Python's own decimals.
    text = f"{Decimal(minor).scaleb(-exponent):,.{exponent}f}"
    text += ("" if exponent else "." if zeros else "") + "0" * zeros
    text = text.translate({ord(","): group, ord("."): decimal})
    parse = amount_parser(declared(decimal_separator=decimal, group_separator=group))
    assert parse(text, currency, "amount") == minor
    # Without its groups it is the same amount.
    assert parse(text.replace(group, "") if group else text, currency, "amount") == minor
    assert amount_parser(declared(is_minor=True))(str(minor), currency, "amount") == minor


@given(st.text(alphabet="0123456789.,-+ eE_٣", max_size=24), currencies)
def test_amount_is_exact_or_refused(text: str, currency: str) -> None:
    parse = amount_parser(declared(group_separator=","))
    try:
        minor = parse(text, currency, "amount")
    except FieldError:
        return
    assert Decimal(minor).scaleb(-CURRENCY_EXPONENTS[currency]) == Decimal(text.replace(",", ""))


@pytest.mark.parametrize(
    ("text", "currency", "changes"),
    [
        ("", "USD", {}),
        ("12.505", "USD", {}),
        ("0.1", "JPY", {}),
        ("1e3", "USD", {}),
        ("NaN", "USD", {}),
        ("12,50", "USD", {}),
        ("1,23,456.00", "USD", {"group_separator": ","}),
        (",123.00", "USD", {"group_separator": ","}),
        ("1,234,56", "USD", {"group_separator": ","}),
        ("12.50", "USD", {"is_minor": True}),
        ("--1", "USD", {}),
        ("(12.50)", "USD", {}),
        ("10000000000000.01", "USD", {}),
        ("9" * 400, "USD", {}),
        ("٣", "USD", {}),
    ],
)
def test_what_is_no_amount_is_refused(text: str, currency: str, changes: dict[str, Any]) -> None:
    with pytest.raises(FieldError):
        amount_parser(declared(**changes))(text, currency, "amount")


# --- one line


def line_of(text: str, **changes: Any) -> FileLine | TrailerLine | RejectedLine:
    (line,) = read(f"{HEAD}\n{text}\n", by=mapping(**changes))
    return line


def test_line_is_a_movement() -> None:
    line = line_of(GOOD_LINE)
    assert isinstance(line, FileLine), line
    assert line.movement is not None
    assert (line.line_number, line.currency, line.written_minor, line.fee_minor) == (2, "USD", 1250, 30)
    movement = line.movement
    assert (movement.provider_event_id, movement.provider_ref, movement.reference) == ("deposit:p1", "p1", "ours")
    assert (movement.kind, movement.status, movement.status_class) == (StatementKind.DEPOSIT, "OK", StatusClass.SUCCESS)
    assert (movement.money.amount_minor, movement.occurred_at) == (1250, datetime(2026, 3, 1, 10, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "changes", "kind", "amount"),
    [
        ("p,o,SALE,OK,97,3,USD,2026-03-01T10:00:00Z", {"amount__basis": "net"}, "deposit", 100_00),
        (
            "p,o,SALE,OK,97,-3,USD,2026-03-01T10:00:00Z",
            {"amount__basis": "net", "amount__fee_sign": "negative"},
            "deposit",
            100_00,
        ),
        ("p,o,PAYOUT,OK,51,1,USD,2026-03-01T10:00:00Z", {"amount__basis": "net"}, "payout", 50_00),
        (
            "p,o,PAYOUT,OK,-51,1,USD,2026-03-01T10:00:00Z",
            {"amount__basis": "net", "amount__sign": "in_positive"},
            "payout",
            50_00,
        ),
        ("p,o,PAYOUT,OK,-50,1,USD,2026-03-01T10:00:00Z", {"amount__sign": "in_positive"}, "payout", 50_00),
        ("p,o,PAYOUT,OK,50,1,USD,2026-03-01T10:00:00Z", {"amount__sign": "out_positive"}, "payout", 50_00),
        ("p,o,REFUND,OK,-5,,USD,2026-03-01T10:00:00Z", {"amount__sign": "in_positive"}, "refund", 5_00),
        ("p,o,BOUNCE,OK,5,,USD,2026-03-01T10:00:00Z", {"amount__sign": "in_positive"}, "return", 5_00),
        ("p,o,SALE,OK,500,0,JPY,2026-03-01T10:00:00Z", {}, "deposit", 500),
        ("p,o,SALE,OK,1.234,0,KWD,2026-03-01T10:00:00Z", {}, "deposit", 1234),
        ("p,o,SALE,OK,1250,0,USD,2026-03-01T10:00:00Z", {"amount__unit": "minor"}, "deposit", 1250),
    ],
)
def test_amount_is_what_the_player_paid_or_got(text: str, changes: dict[str, Any], kind: str, amount: int) -> None:
    line = line_of(text, **changes)
    assert isinstance(line, FileLine), line
    assert line.movement is not None
    assert (line.movement.kind, line.movement.money.amount_minor) == (kind, amount)
    if kind in ("refund", "return"):
        # What undoes a payment has succeeded as a reversal.
        assert line.movement.status_class is StatusClass.REVERSED


@pytest.mark.parametrize(
    ("text", "changes", "reason"),
    [
        ("p1,ours,SALE,OK,12.50,0.30,USD", {}, "line: has 7 cells where the header has 8"),
        (GOOD_LINE + ",more", {}, "line: has 9 cells"),
        (GOOD_LINE.replace("p1", ""), {}, "provider_reference: is empty"),
        (GOOD_LINE.replace("p1", "p" * 256), {}, "provider_reference: is longer than 255"),
        (GOOD_LINE.replace("p1", "p\x00"), {}, "provider_reference: has a control character"),
        (GOOD_LINE.replace("ours", "o\u202e"), {}, "our_reference: has a control character"),
        (GOOD_LINE.replace("SALE", "sale"), {}, "type: 'sale' is none of the words"),
        (GOOD_LINE.replace("OK", "SETTLED"), {}, "status: 'SETTLED' is none of the words"),
        (GOOD_LINE.replace("12.50", ""), {}, "amount: '' is not an amount"),
        (GOOD_LINE.replace("12.50", "12.505"), {}, "amount: has more than 2 decimal digits"),
        (GOOD_LINE.replace("12.50", "-12.50"), {}, "amount: is negative, and the mapping says"),
        (
            GOOD_LINE.replace("12.50", "-12.50"),
            {"amount__sign": "in_positive"},
            "amount: has the sign of money going the other way",
        ),
        (GOOD_LINE.replace("0.30", "free"), {}, "fee: 'free' is not an amount"),
        (GOOD_LINE.replace("USD", "usd"), {}, "currency: is not a known"),
        (
            GOOD_LINE.replace("2026-03-01T10:00:00Z", "2026-03-01"),
            {},
            "occurred_at: '2026-03-01' is not written as iso",
        ),
        (GOOD_LINE.replace("2026", "2016"), {}, "occurred_at: 2016-03-01T10:00:00+00:00 is outside of the window"),
        (GOOD_LINE.replace("2026", "2036"), {}, "occurred_at: 2036-03-01T10:00:00+00:00 is outside of the window"),
        ("TOTAL,-1,12.50,USD", {}, "trailer: '-1' in cell 2 is not a count"),
        ("TOTAL,1,12.50,XXX", {}, "trailer: is not a known"),
    ],
)
def test_bad_line_says_where_and_why(text: str, changes: dict[str, Any], reason: str) -> None:
    line = line_of(text, **changes)
    assert isinstance(line, RejectedLine), line
    assert (line.line_number, line.reason[: len(reason)]) == (2, reason)


@pytest.mark.parametrize(
    ("text", "format_", "zone", "expected"),
    [
        ("2026-03-01T10:00:00", "iso", "Europe/Istanbul", datetime(2026, 3, 1, 7, tzinfo=UTC)),
        ("2026-03-01T10:00:00+01:00", "iso", "Europe/Istanbul", datetime(2026, 3, 1, 9, tzinfo=UTC)),
        ("2026-03-01 10:00:00.25", "iso", "-02:30", datetime(2026, 3, 1, 12, 30, 0, 250_000, tzinfo=UTC)),
        ("01.03.2026 10:05", "%d.%m.%Y %H:%M", "+03:00", datetime(2026, 3, 1, 7, 5, tzinfo=UTC)),
        ("1-Mar-26 10:05 PM", "%d-%b-%y %I:%M %p", "UTC", datetime(2026, 3, 1, 22, 5, tzinfo=UTC)),
        ("20260301100000+0300", "%Y%m%d%H%M%S%z", None, datetime(2026, 3, 1, 7, tzinfo=UTC)),
        # Clocks were set back: the hour was twice, the first is taken.
        ("2026-10-25T02:30:00", "iso", "Europe/Berlin", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    ],
)
def test_time_is_by_the_declared_clock(text: str, format_: str, zone: str | None, expected: datetime) -> None:
    line = line_of(GOOD_LINE.replace("2026-03-01T10:00:00Z", text), time__format=format_, time__zone=zone)
    assert isinstance(line, FileLine), line
    assert line.movement is not None
    assert line.movement.occurred_at == expected


def test_time_that_never_was_is_refused() -> None:
    line = line_of(GOOD_LINE.replace("2026-03-01T10:00:00Z", "2026-03-29T02:30:00"), time__zone="Europe/Berlin")
    assert isinstance(line, RejectedLine), line
    assert line.reason.endswith("never was on the clocks of Europe/Berlin")


def test_line_that_is_ignored_is_counted() -> None:
    found = survey(f"{HEAD}\n{GOOD_LINE}\n,,MONTHLY,,-4.00,,USD,\nTOTAL,2,8.50,USD\n")
    assert (found.lines, found.movements, found.rejected, found.sums) == (2, 1, 0, {"USD": 8_50})
    assert found.faults(mapping(), expected=Expected(), ends_in_newline=True) == []


# --- whole files


def test_columns_may_be_numbers_and_constants() -> None:
    by = mapping(
        file__header=False,
        file__delimiter=";",
        columns={"provider_reference": 1, "amount": 2, "occurred_at": 3},
        constants={"type": "payout", "status": "success", "currency": "TRY"},
        types=None,
        statuses=None,
        amount={"unit": "major", "sign": "unsigned", "decimal_separator": ",", "group_separator": "."},
        control={"totals": "operator"},
    )
    (line,) = read("x;1.250,75;2026-03-01T10:00:00Z;whatever\n", by=by)
    assert isinstance(line, FileLine), line
    assert line.movement is not None
    assert (line.movement.kind, str(line.movement.money)) == (StatementKind.PAYOUT, "1250.75 TRY")
    (short,) = read("x;1\n", by=by)
    assert isinstance(short, RejectedLine)
    assert short.reason == "line: has 2 cells; the mapping reads number 3"


@pytest.mark.parametrize("chunk_bytes", [1, 3, 4096])
def test_byte_order_mark_crlf_quotes_and_lines_above_the_header(chunk_bytes: int) -> None:
    text = f'\ufeffAcme settlement\r\n\r\n{HEAD}\r\n"p,1","a ""b"" c",SALE,OK,"12.50",0,USD,2026-03-01T10:00:00Z\r\n'
    lines = read(text, by=mapping(file__skip_lines=2), chunk_bytes=chunk_bytes)
    assert [type(each) for each in lines] == [FileLine], lines
    assert isinstance(lines[0], FileLine)
    assert lines[0].movement is not None
    assert (lines[0].line_number, lines[0].movement.provider_ref, lines[0].movement.reference) == (4, "p,1", 'a "b" c')


def test_other_encoding_is_read_when_it_is_declared() -> None:
    raw = f"{HEAD}\n{GOOD_LINE.replace('ours', 'İşlem')}\n".encode("windows-1254")
    (line,) = read(raw, by=mapping(file__encoding="windows-1254"))
    assert isinstance(line, FileLine), line
    assert line.movement is not None
    assert line.movement.reference == "İşlem"
    (bad,) = read(raw)
    assert isinstance(bad, RejectedLine)
    assert bad.reason.startswith("not UTF-8: byte 0xDD at position 4")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "the file is empty"),
        (HEAD.replace("gross", "net").encode(), "amount: is to be in 'gross', and the header has no such column"),
        (HEAD.replace("fee", "gross").encode(), "amount: is to be in 'gross', and the header has it more than once"),
        (HEAD.replace(",", ";").encode(), "the header has no such column: 'id;merchant_ref"),
        (f"{HEAD}\r{GOOD_LINE}\r".encode(), "the lines end in CR alone"),
        (f"{HEAD}\n".encode("utf-16"), "it seems to be UTF-16"),
        (b'"' + HEAD.encode(), "a quote is opened and never closed"),
        (b"x" * 100_000, f"the record is longer than {RECORD_BYTES_MAX} bytes"),
    ],
)
def test_file_without_the_declared_columns_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(SettlementFileRefused) as refused:
        open_file(raw)
    assert reason in refused.value.detail


def test_every_bad_line_is_told_by_its_number_and_the_others_are_read() -> None:
    raw = b"\n".join(
        [
            HEAD.encode(),
            GOOD_LINE.encode(),
            GOOD_LINE.encode().replace(b"ours", b"\xff\xfe"),
            GOOD_LINE.encode().replace(b"ours", b"o" * 20_000),
            b'"torn" quote,ours,SALE,OK,1,0,USD,2026-03-01T10:00:00Z',
            GOOD_LINE.encode().replace(b"p1", b"p2"),
            b'p3,"two\nlines",SALE,OK,1,0,USD,2026-03-01T10:00:00Z',
            GOOD_LINE.encode().replace(b"p1", b"p4"),
            b"TOTAL,9,1,USD",
            GOOD_LINE.encode(),
            b"",
        ]
    )
    lines = read(raw)
    assert [each.line_number for each in lines if isinstance(each, FileLine)] == [2, 6, 9]
    assert [(each.line_number, each.reason.split(":")[0]) for each in lines if isinstance(each, RejectedLine)] == [
        (3, "not UTF-8"),
        (4, f"the record is longer than {RECORD_BYTES_MAX} bytes"),
        (5, "a quoted cell is followed by something other than a comma"),
        (7, "our_reference"),
        (11, "line"),
    ]


WHOLE = f"{HEAD}\n{GOOD_LINE}\n{GOOD_LINE.replace('p1', 'p2')}\nTOTAL,2,25.00,USD\n"


@pytest.mark.parametrize(
    ("raw", "expected", "faults"),
    [
        (WHOLE, Expected(), []),
        (WHOLE, Expected(count=2, sums={"USD": 25_00}), []),
        (WHOLE, Expected(count=3), ["2 lines arrived of 3 (expected)"]),
        (WHOLE, Expected(sums={"USD": 25_01}), ["USD adds up to 25.00 instead of 25.01 (expected)"]),
        (
            WHOLE,
            Expected(sums={"EUR": 1}),
            ["EUR adds up to 0.00 instead of 0.01 (expected)", "USD adds up to 25.00 instead of 0.00 (expected)"],
        ),
        (WHOLE.replace("TOTAL,2", "TOTAL,3"), Expected(), ["2 lines arrived of 3 (the trailer)"]),
        (WHOLE.replace("25.00", "24.00"), Expected(), ["USD adds up to 25.00 instead of 24.00 (the trailer)"]),
        (WHOLE[: WHOLE.index("TOTAL")], Expected(), ["the trailer is missing: the file is cut off"]),
        (WHOLE[: WHOLE.index("p2")], Expected(), ["the trailer is missing: the file is cut off"]),
        (
            WHOLE.replace("p2", ""),
            Expected(),
            [
                "1 of 2 lines cannot be read, the first: line 3: provider_reference: is empty",
                "USD adds up to 12.50 instead of 25.00 (the trailer)",
            ],
        ),
    ],
)
def test_file_that_is_not_what_it_claims_is_not_whole(raw: str, expected: Expected, faults: list[str]) -> None:
    assert survey(raw).faults(mapping(), expected=expected, ends_in_newline=raw.endswith("\n")) == faults


def test_cut_at_any_byte_is_never_taken_for_whole() -> None:
    """Except for digits of the trailer that do not change what it says."""
    for at in range(len(HEAD) + 1, len(WHOLE)):
        cut = WHOLE[:at]
        faults = survey(cut).faults(mapping(), expected=Expected(), ends_in_newline=cut.endswith("\n"))
        assert faults or cut.startswith(WHOLE.rstrip("\n")), cut[-30:]


def test_file_without_trailer_needs_a_persons_word_and_its_last_newline() -> None:
    by = mapping(control={"totals": "operator"})
    found = survey(f"{HEAD}\n{GOOD_LINE}\n", by=by)
    (fault,) = found.faults(by, expected=Expected(), ends_in_newline=True)
    assert fault.startswith("nobody has said how much it should hold")
    assert found.faults(by, expected=Expected(count=1), ends_in_newline=True) == []
    assert found.faults(by, expected=Expected(count=1), ends_in_newline=False) == [
        "the file ends in the middle of a line"
    ]
    lenient = mapping(control={"totals": "operator"}, file__final_newline="optional")
    assert found.faults(lenient, expected=Expected(count=1), ends_in_newline=False) == []
    extract = mapping(control={"totals": "operator"}, completeness="extract")
    (fault,) = found.faults(extract, expected=Expected(count=1), ends_in_newline=True)
    assert fault.startswith("it is declared as an extract")


def test_sums_are_claimed_with_or_without_signs_and_in_several_currencies() -> None:
    rows = (
        "p1,o,SALE,OK,10.00,0,USD,2026-03-01T10:00:00Z\n"
        "p2,o,PAYOUT,OK,-4.00,0,USD,2026-03-01T11:00:00Z\n"
        "p3,o,SALE,OK,7.00,0,EUR,2026-03-01T12:00:00Z\n"
    )
    signed = mapping(amount__sign="in_positive")
    found = survey(f"{HEAD}\n{rows}TOTAL,2,6.00,USD\nTOTAL,1,7.00,EUR\n", by=signed)
    assert found.faults(signed, expected=Expected(), ends_in_newline=True) == []
    assert (found.claimed_count, found.claimed_sums) == (3, {"USD": 6_00, "EUR": 7_00})
    absolute = mapping(amount__sign="in_positive", control__sum="absolute")
    found = survey(f"{HEAD}\n{rows}TOTAL,2,14.00,USD\nTOTAL,1,7.00,EUR\n", by=absolute)
    assert found.faults(absolute, expected=Expected(), ends_in_newline=True) == []


def test_other_accounts_lines_are_refused_or_counted() -> None:
    head = HEAD + ",account"
    lines = f"{head}\n{GOOD_LINE},acct\n{GOOD_LINE.replace('p1', 'p2')},other\n"
    refused = read(lines, by=mapping(columns__account="account"))
    assert [type(each) for each in refused] == [FileLine, RejectedLine]
    by = mapping(columns__account="account", ignore_other_accounts=True)
    found = survey(lines, by=by)
    assert (found.lines, found.movements, found.rejected, set(found.moved)) == (2, 1, 0, {"acct"})


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    lines = read(HEAD.encode() + b"\n" + raw)
    numbers = [each.line_number for each in lines]
    assert all(one < other for one, other in pairwise(numbers))
    found = Survey(control_sum=ControlSum.SIGNED)
    for each in lines:
        found.add(each)
    assert found.lines + found.trailers == len(lines)


def test_memory_does_not_grow_with_the_file() -> None:
    def peak(lines: int) -> int:
        def chunks() -> Iterator[bytes]:
            yield f"{HEAD}\n".encode()
            for number in range(lines):
                yield f"{GOOD_LINE.replace('p1', f'p{number}')}\n".encode()

        found = Survey(control_sum=ControlSum.SIGNED)
        file = SettlementFile(chunks(), mapping=mapping(), bounds=BOUNDS, own_accounts=frozenset({"acct"}))
        tracemalloc.start()
        for line in file.lines():
            found.add(line)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found.movements == lines
        return most

    peak(100)
    assert peak(5_000) < 2 * peak(500)
