"""A file of players, without a database: what a row may be, and what hostile files come to."""

import pytest

from backend.app.domain import csv_records
from backend.app.domain.backfill.player_import import (
    COLUMNS,
    FileRefused,
    PlayerFile,
    PlayerRow,
    RejectedRow,
    parse_row,
)
from backend.app.domain.csv_records import Record, Unreadable
from backend.app.repositories.backfill.rejects_file import spreadsheet_safe

HEADER = ",".join(COLUMNS)


# --- domain: one row


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (
            "x1,A.B@Example.COM,Ayşe,USD,12.50,1,verified",
            ("x1", "a.b@example.com", "Ayşe", "USD", "verified", 1250, 100),
        ),
        (",a@b.c,u,,,,", (None, "a@b.c", "u", "TRY", "pending", 0, 0)),
        (" x , a@b.c , u v , JPY , 7 , 0 , rejected ", ("x", "a@b.c", "u v", "JPY", "rejected", 7, 0)),
        (",a@b.c,u,KWD,0.001,0.000,", (None, "a@b.c", "u", "KWD", "pending", 1, 0)),
        (",a@b.c,u,TRY,10000000000000.00,,", (None, "a@b.c", "u", "TRY", "pending", 10**15, 0)),
    ],
)
def test_good_row_becomes_minor_units_and_defaults(cells: str, expected: tuple[object, ...]) -> None:
    row = parse_row(cells.split(","), line_number=2, base_currency="TRY", original=("as it was",))
    assert isinstance(row, PlayerRow), row
    assert row[1:-1] == expected
    assert (row.line_number, row.cells) == (2, ("as it was",))


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (",,u,,,,", "email: is empty"),
        (",ab.c,u,,,,", "email: is not an address"),
        (",a@b@c,u,,,,", "email: is not an address"),
        (",@b.c,u,,,,", "email: is not an address"),
        (",a@,u,,,,", "email: is not an address"),
        (",a b@c.d,u,,,,", "email: is not an address"),
        (",a\x00@b.c,u,,,,", "email: has a control character"),
        (f",{'a' * 250}@b.c.d,u,,,,", "email: is longer than 254"),
        (",a@b.c,,,,,", "username: is empty"),
        (f",a@b.c,{'u' * 65},,,,", "username: is longer than 64"),
        (",a@b.c,u\n,,,,", "username: has a control character"),
        (",a@b.c,u\u202e,,,,", "username: has a control character"),
        (f"{'x' * 256},a@b.c,u,,,,", "external_id: is longer than 255"),
        (",a@b.c,u,try,,,", "currency: is not a known"),
        (",a@b.c,u,XXX,,,", "currency: is not a known"),
        (",a@b.c,u,,-0.01,,", "balance_available: must be a decimal"),
        (",a@b.c,u,,NaN,,", "balance_available: must be a decimal"),
        (",a@b.c,u,,,Infinity,", "balance_held: must be a decimal"),
        (",a@b.c,u,,1e3,,", "balance_available: must be a decimal"),
        (",a@b.c,u,,1_000,,", "balance_available: must be a decimal"),
        (",a@b.c,u,,٣,,", "balance_available: must be a decimal"),
        (",a@b.c,u,,0.001,,", "balance_available: has more than 2"),
        (",a@b.c,u,JPY,,0.1,", "balance_held: has more than 0"),
        (",a@b.c,u,,10000000000000.01,,", "balance_available: is too large"),
        (f",a@b.c,u,,{'9' * 400},,", "balance_available: must be a decimal"),
        (",a@b.c,u,,,,Verified", "kyc_status: is none of"),
    ],
)
def test_bad_row_says_which_column_and_why(cells: str, reason: str) -> None:
    row = parse_row(cells.split(","), line_number=9, base_currency="TRY", original=("as it was",))
    assert isinstance(row, RejectedRow), row
    assert row.reason.startswith(reason)
    assert (row.line_number, row.cells) == (9, ("as it was",))


# --- domain: files that strangers send


def read(raw: bytes, *, chunk_bytes: int = 7) -> list[Record | Unreadable]:
    return list(csv_records.read_records(raw[at : at + chunk_bytes] for at in range(0, len(raw), chunk_bytes)))


@pytest.mark.parametrize(
    ("raw", "cells"),
    [
        (b"a,b\nc,d", [["a", "b"], ["c", "d"]]),
        (b"\xef\xbb\xbfa,b\r\nc,d\r\n", [["a", "b"], ["c", "d"]]),
        (b"\n\r\n  \na,b\n", [["a", "b"]]),
        (b'"a,1","say ""b"""\n', [["a,1", 'say "b"']]),
        (b'"two\nlines",b\nc,d\n', [["two\nlines", "b"], ["c", "d"]]),
        (b'5" disk,b\nc,d\n', [['5" disk', "b"], ["c", "d"]]),
        (b"", []),
    ],
)
def test_csv_is_read_as_it_is_meant(raw: bytes, cells: list[list[str]]) -> None:
    for chunk_bytes in (1, 7, 65_536):
        records = read(raw, chunk_bytes=chunk_bytes)
        assert all(isinstance(record, Record) for record in records), records
        assert [record.cells for record in records if isinstance(record, Record)] == cells


@pytest.mark.parametrize(
    ("raw", "line_number", "reason"),
    [
        (b"a,\xe7,c\nnext,1\n", 1, "not UTF-8: byte 0xE7 at position 3"),
        (b'"a"b,c\nnext,1\n', 1, "a quoted cell is followed by"),
        (b'first,1\n"a\n"b",c\nnext,1\n', 2, "a quoted cell is followed by"),
        (b"a" * 10_000_000 + b",b\nnext,1\n", 1, "the record is longer than 16384 bytes"),
        (
            b'x,"' + b"a\n" * 5_000_000 + b'",b\nnext,1\n',
            1,
            "the record is longer than 16384 bytes (it reaches to line",
        ),
        (
            b'x,"' + b"a" * 10_000_000 + b'\ninside,1\n",b\nnext,1\n',
            1,
            "the record is longer than 16384 bytes (it reach",
        ),
    ],
    ids=["not utf-8", "text after a quote", "quote in a quote", "long line", "long cell", "long line in a cell"],
)
def test_unreadable_record_is_reported_and_the_next_one_read(raw: bytes, line_number: int, reason: str) -> None:
    *_, unreadable, last = read(raw, chunk_bytes=65_536)
    assert isinstance(unreadable, Unreadable), unreadable
    assert unreadable.line_number == line_number
    assert unreadable.reason.startswith(reason)
    assert len(unreadable.text) <= csv_records.SHOWN_CHARACTERS_MAX
    assert isinstance(last, Record)
    assert last.cells == ["next", "1"]


@pytest.mark.parametrize("length", [10, 100_000])
def test_quote_that_is_never_closed_takes_the_rest(length: int) -> None:
    first, unreadable = read(b'a,b\n"c,d\n' + b"e,f\n" * length, chunk_bytes=65_536)
    assert isinstance(first, Record)
    assert isinstance(unreadable, Unreadable)
    assert unreadable.reason == f"a quote is opened and never closed (read to line {length + 2})"


def test_line_breaks_in_a_name_never_become_a_player() -> None:
    for padding in (0, 20_000):
        planted = f"{'x' * padding}\n9,thief@example.com,thief,TRY,1000000,0,verified\n"
        raw = f'{HEADER}\n1,a@b.c,"{planted}",TRY,0,0,\n2,d@e.f,honest,TRY,0,0,\n'.encode()
        (batch,) = PlayerFile([raw]).batches(base_currency="TRY", rows_max=10)
        assert [row.email for row in batch.rows] == ["d@e.f"]
        assert [row.line_number for row in batch.rejected] == [2]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"email,username\n", "columns missing: external_id, currency"),
        (HEADER.replace("email", "mail").encode(), "columns missing: email; unknown: mail"),
        (HEADER.replace("username", "email").encode(), "columns missing: username; given twice: email"),
        (HEADER.replace(",", ";").encode(), "separated by semicolons"),
        (HEADER.replace(",", "\t").encode(), "separated by tabs"),
        (HEADER.encode("utf-16"), "UTF-16"),
        (f"{HEADER}\r1,a@b.c,u,,,,\r".encode(), "CR alone"),
        (b"a" * 10_000_000, "longer than 16384 bytes"),
        (b"PK\x03\x04\xff\x00", "not UTF-8"),
    ],
)
def test_file_that_is_not_one_of_players_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(FileRefused, match=said):
        PlayerFile([raw])


def test_columns_may_stand_in_any_order() -> None:
    raw = b"kyc_status,balance_held,balance_available,currency,username,email,external_id\nverified,1,2,USD,u,a@b.c,x\n"
    (batch,) = PlayerFile([raw]).batches(base_currency="TRY", rows_max=10)
    assert batch.rows[0][1:-1] == ("x", "a@b.c", "u", "USD", "verified", 200, 100)


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" =1", "' =1"),
        ("＝1+1", "'＝1+1"),
        ("-12.50", "-12.50"),
        ("+5", "+5"),
        ("a@b.c", "a@b.c"),
        ("a\x00b\r\n\u202e", "a\\x00b\\r\\n\\u202e"),
    ],
)
def test_spreadsheets_run_nothing_of_the_rejects(cell: str, safe: str) -> None:
    assert spreadsheet_safe(cell) == safe
