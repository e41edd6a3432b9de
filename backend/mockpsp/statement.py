"""Statements: what really moved, page by page out of one snapshot, with control totals over the whole window.

The cursor carries the snapshot and the totals. So all pages of a statement agree with each other and with the totals,
whatever is booked while they are fetched.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from backend.mockpsp.books import Books, Window
from backend.mockpsp.records import Line, Refusal

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000
# An event gets its time before it is written. No request waits longer than this for a connection, a lock and its
# statements together, so a window that ended earlier will get no more lines.
SETTLING_SECONDS: Final = 20


class _Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    as_of: datetime
    snapshot: str
    after_at: datetime
    after_event_id: str
    count: int
    sums: dict[str, int]


_CURSOR: Final = msgspec.json.Decoder(_Cursor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some lines of a window. `is_complete`: no line can come to the window any more.

    Count and sums (minor units by currency, every movement counted positively) are of the whole window.
    """

    lines: tuple[Line, ...]
    next_cursor: str | None
    is_complete: bool
    count: int
    sums: dict[str, int]


async def draw(
    books: Books, *, account: str, from_at: datetime, to_at: datetime, cursor: str | None, limit: int, now: datetime
) -> Page:
    """The page after the cursor, or the first. Raises Refusal for a cursor that is not one."""
    if cursor is None:
        window = Window(account=account, from_at=from_at, to_at=to_at, as_of=now, snapshot=await books.take_snapshot())
        count, sums = await books.sum_statement(window)
        after = (from_at, "")
    else:
        position = _read(cursor)
        window = Window(account=account, from_at=from_at, to_at=to_at, as_of=position.as_of, snapshot=position.snapshot)
        count, sums = position.count, position.sums
        after = (position.after_at, position.after_event_id)
    # One more than asked for tells whether there is another page.
    lines = await books.list_statement(window, after=after, limit=limit + 1)
    next_cursor = None
    if len(lines) > limit:
        lines = lines[:limit]
        next_cursor = _write(
            _Cursor(window.as_of, window.snapshot, lines[-1].occurred_at, lines[-1].event_id, count, sums)
        )
    return Page(
        lines=tuple(lines),
        next_cursor=next_cursor,
        is_complete=to_at <= window.as_of - timedelta(seconds=SETTLING_SECONDS),
        count=count,
        sums=sums,
    )


def _write(cursor: _Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode()


def _read(text: str) -> _Cursor:
    try:
        return _CURSOR.decode(base64.b64decode(text, altchars=b"-_", validate=True))
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise Refusal(422, "invalid_request", "the cursor is not one of ours") from error
