"""CSV as strangers write it: records out of raw bytes, in bounded memory.

RFC 4180 with LF or CRLF, UTF-8 with or without a byte order mark; where the reader was told so another delimiter, or
another encoding that has ASCII as its first half. What stands inside a quoted cell is never taken for a record of its
own, however long or broken the cell is: a name with line breaks in it must not become a second player.
"""

import csv
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

# Far above any honest row, and what one record may cost in memory.
RECORD_BYTES_MAX: Final = 16_384
# How much of an unreadable record is kept, to show which one it was.
SHOWN_CHARACTERS_MAX: Final = 1_000

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Dialect(NamedTuple):
    """How a file is written. delimiter: one ASCII character; encoding: by Python's name, its first half is ASCII."""

    delimiter: str = ","
    encoding: str = "utf-8"


AS_USUAL: Final = Dialect()


class Record(NamedTuple):
    """The cells of one record, as they stand in the file, and the line it starts on (the first is 1)."""

    line_number: int
    cells: list[str]


class Unreadable(NamedTuple):
    """A record that cannot be taken apart: where it starts, how its text begins, and what is wrong with it."""

    line_number: int
    text: str
    reason: str


class _Line(NamedTuple):
    """One line without its end; `is_cut` when it was too long to keep and `raw` is only its beginning."""

    number: int
    raw: bytes
    quote_count: int
    is_cut: bool


def read_records(chunks: Iterable[bytes], dialect: Dialect = AS_USUAL) -> Iterator[Record | Unreadable]:
    """All records in order; lines that are empty are passed over. Memory does not depend on the input."""
    lines = _read_lines(chunks)
    for line in lines:
        if line.quote_count or line.is_cut:
            yield _read_quoted(line, lines, dialect)
            continue
        text, fault = _decode(line.raw, dialect)
        if fault:
            yield _unreadable(line.number, text, fault)
        elif text and not text.isspace():
            yield Record(line.number, text.split(dialect.delimiter))


def _read_lines(chunks: Iterable[bytes]) -> Iterator[_Line]:
    number = 1
    tail = b""
    # Quotes in the part of an overlong line that was dropped; None while the line fits.
    dropped_quotes: int | None = None
    for chunk in chunks:
        pieces = (tail + chunk).split(b"\n")
        tail = pieces.pop()
        for raw in pieces:
            yield _line(number, raw, dropped_quotes)
            number += 1
            dropped_quotes = None
        if len(tail) > 2 * RECORD_BYTES_MAX:
            kept, dropped = tail[: RECORD_BYTES_MAX + 1], tail[RECORD_BYTES_MAX + 1 :]
            dropped_quotes = (dropped_quotes or 0) + dropped.count(b'"')
            tail = kept
    if tail or dropped_quotes is not None:
        yield _line(number, tail, dropped_quotes)


def _line(number: int, raw: bytes, dropped_quotes: int | None) -> _Line:
    if number == 1:
        raw = raw.removeprefix(_BYTE_ORDER_MARK)
    quote_count = raw.count(b'"') + (dropped_quotes or 0)
    if len(raw) > RECORD_BYTES_MAX:
        return _Line(number, raw[:RECORD_BYTES_MAX], quote_count, True)
    return _Line(number, raw.removesuffix(b"\r"), quote_count, False)


def _read_quoted(first: _Line, lines: Iterator[_Line], dialect: Dialect) -> Record | Unreadable:
    """The record that starts with this line, which has quotes or is too long; takes as many lines as belong to it."""
    raw, quote_count, last = first.raw, first.quote_count, first
    while not last.is_cut and len(raw) <= RECORD_BYTES_MAX:
        text, fault = _decode(raw, dialect)
        cells = _split(text, dialect)
        if cells is not None:
            return _unreadable(first.number, text, fault) if fault else Record(first.number, cells)
        # A quote that would close the last cell makes it right: the cell goes on in the next line.
        if _split(text + '"', dialect) is None:
            follower = "a comma" if dialect.delimiter == "," else repr(dialect.delimiter)
            return _unreadable(first.number, text, f"a quoted cell is followed by something other than {follower}")
        for last in lines:
            raw += b"\n" + last.raw
            quote_count += last.quote_count
            if last.quote_count or last.is_cut or len(raw) > RECORD_BYTES_MAX:
                break
        else:
            return _unreadable(first.number, text, f"a quote is opened and never closed (read to line {last.number})")
    # Too long to keep. Its end is where the quotes are even again: exact for every well-formed file.
    text, _ = _decode(raw, dialect)
    while quote_count % 2 == 1:
        following = next(lines, None)
        if following is None:
            return _unreadable(first.number, text, f"a quote is opened and never closed (read to line {last.number})")
        last = following
        quote_count += last.quote_count
    reach = f" (it reaches to line {last.number})" if last.number > first.number else ""
    return _unreadable(first.number, text, f"the record is longer than {RECORD_BYTES_MAX} bytes{reach}")


def _decode(raw: bytes, dialect: Dialect) -> tuple[str, str | None]:
    """The text, and what is wrong with it; bytes that the encoding does not have are then shown as \\xNN."""
    try:
        return raw.decode(dialect.encoding), None
    except UnicodeDecodeError as error:
        fault = f"not {dialect.encoding.upper()}: byte 0x{raw[error.start]:02X} at position {error.start + 1}"
        return raw.decode(dialect.encoding, "backslashreplace"), fault


def _split(text: str, dialect: Dialect) -> list[str] | None:
    """The cells of exactly one record; None when the text is not one."""
    try:
        return next(csv.reader([text], delimiter=dialect.delimiter, strict=True))
    except csv.Error:
        return None


def _unreadable(line_number: int, text: str, reason: str) -> Unreadable:
    return Unreadable(line_number, text[:SHOWN_CHARACTERS_MAX], reason)
