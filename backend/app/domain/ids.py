"""Ids from outside: what is no UUID names nothing. Pure."""

from uuid import UUID


def find_uuid(text: str | None) -> UUID | None:
    """The id that a text is; None for no text and for one that is no id."""
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None


def path_uuid(text: str, *, missing: Exception) -> UUID:
    """An id from a path. What is no UUID names nothing, so it raises `missing` like an unknown id."""
    found = find_uuid(text)
    if found is None:
        raise missing
    return found
