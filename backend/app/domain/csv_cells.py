"""CSV for spreadsheets: what a stranger typed must stay text when it is opened there."""

import csv
import io
from collections.abc import Iterable
from typing import Final

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
