"""Structured logs: one JSON object a line, on standard error."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog
from structlog.typing import EventDict, WrappedLogger

# The request being answered, in every line it causes. Each request is a task of its own, so it needs no clearing.
request_id: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
_is_hushed: Final[ContextVar[bool]] = ContextVar("is_hushed", default=False)


def configure(*, level: int = logging.INFO) -> None:
    """Set up structlog and the standard library's loggers for this process."""
    structlog.configure(
        processors=[
            _drop_if_hushed,
            _add_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


@contextmanager
def hushed() -> Iterator[None]:
    """For the length of a block, in this context and those it begets: only warnings, and what is worse."""
    token = _is_hushed.set(True)
    try:
        yield
    finally:
        _is_hushed.reset(token)


def write_line(event: str, **facts: object) -> None:
    """One line at level info, like those of structlog but past its pipeline: every request writes one."""
    line = {
        **facts,
        "event": event,
        "request_id": request_id.get(),
        "level": "info",
        "timestamp": datetime.now(UTC),
    }
    stream = sys.stderr.buffer
    stream.write(_ENCODER.encode(line) + b"\n")
    stream.flush()


def _drop_if_hushed(_logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    if name in {"debug", "info"} and _is_hushed.get():
        raise structlog.DropEvent
    return event


def _add_request_id(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    if (current := request_id.get()) is not None:
        event["request_id"] = current
    return event


def _render(_logger: WrappedLogger, _name: str, event: EventDict) -> bytes:
    return _ENCODER.encode(event)


def _as_text(value: Any) -> str:
    return str(value)


_ENCODER: Final = msgspec.json.Encoder(enc_hook=_as_text)
