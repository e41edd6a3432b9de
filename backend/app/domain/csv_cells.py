"""CSV for spreadsheets: what a stranger typed must stay text when it is opened there."""

import csv
import io
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, TypeVar

Row = TypeVar("Row")

# What makes a spreadsheet take a cell for a formula (OWASP, CSV injection).
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def text_cell(text: str | None) -> str:
    """A text as a cell: with an apostrophe before it when it would be taken for a formula. Not for numbers."""
    if text is None:
        return ""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def write_rows(rows: Iterable[Iterable[object]]) -> bytes:
    """RFC 4180 lines in UTF-8; None is an empty cell."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue().encode()


async def write_pages(
    header: Sequence[str], pages: AsyncIterable[Iterable[Row]], row_of: Callable[[Row], Iterable[object]]
) -> AsyncIterator[bytes]:
    """A whole file in parts: the header, then the rows of each page as it comes."""
    yield write_rows([header])
    async for page in pages:
        yield write_rows(row_of(row) for row in page)


def file_name(noun: str, now: datetime) -> str:
    """What an export is called: what is in it, and the moment (UTC) at which it is so."""
    return f"{noun}-{now:%Y%m%dT%H%M%SZ}.csv"
