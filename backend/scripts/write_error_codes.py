"""`make docs`: writes the table of error codes in docs/api.md from the refusals that the code declares."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Final

from backend import app
from backend.app.domain.errors import AppError
from backend.config import CHECKOUT

DOCUMENT: Final = CHECKOUT / "docs" / "api.md"
TABLE: Final = re.compile(r"(?<=<!-- error codes: make docs -->\n).*?(?=<!-- end of error codes -->)", re.DOTALL)

# What the framework turns down before a route is reached, and bugs. Where a class has the same code, it explains it.
WITHOUT_CLASS: Final = {
    ("BAD_REQUEST", 400): "the request cannot be read",
    ("NOT_FOUND", 404): "nothing is at this address",
    ("METHOD_NOT_ALLOWED", 405): "the address does not take this method",
    ("PAYLOAD_TOO_LARGE", 413): "the body is larger than the address takes",
    ("UNSUPPORTED_MEDIA_TYPE", 415): "the body is of a type the address does not take",
    ("RATE_LIMITED", 429): "too many attempts; come back later",
    ("INTERNAL_ERROR", 500): "a bug of ours; quote the request id",
}


def main() -> None:
    """Write the table in place."""
    document = DOCUMENT.read_text("utf-8")
    DOCUMENT.write_text(TABLE.sub(lambda _: table(), document), "utf-8")
    print(f"wrote {DOCUMENT}")


def table() -> str:
    """The table in Markdown: code, status, meaning; one row per code and status, sorted by both."""
    meanings: dict[tuple[str, int], list[str]] = {}
    for refusal in declared_refusals():
        known = meanings.setdefault((refusal.error_code, refusal.status), [])
        meaning = _meaning(refusal)
        if meaning not in known:
            known.append(meaning)
    for key, meaning in WITHOUT_CLASS.items():
        meanings.setdefault(key, [meaning])
    rows = (f"| `{code}` | {status} | {'; or '.join(known)} |" for (code, status), known in sorted(meanings.items()))
    return "\n".join(("| error_code | status | means |", "|---|---|---|", *rows, ""))


def declared_refusals() -> list[type[AppError]]:
    """Every refusal of the application that has a code of its own, in the order of their names."""
    for module in pkgutil.walk_packages(app.__path__, f"{app.__name__}."):
        # What stands in app.sql is text, and migrations do their work when they are imported.
        if not module.name.startswith(f"{app.__name__}.sql"):
            importlib.import_module(module.name)
    own = (refusal for refusal in _descendants(AppError) if "error_code" in vars(refusal))
    return sorted(set(own), key=lambda refusal: (refusal.__module__, refusal.__qualname__))


def _descendants(parent: type[AppError]) -> Iterator[type[AppError]]:
    for child in parent.__subclasses__():
        yield child
        yield from _descendants(child)


def _meaning(refusal: type[AppError]) -> str:
    """The first sentence of the docstring, which begins with the status."""
    paragraph = " ".join((refusal.__doc__ or "").partition("\n\n")[0].split())
    return re.sub(r"^\d{3}: ", "", paragraph).removesuffix(".").replace("|", r"\|")


if __name__ == "__main__":
    main()
