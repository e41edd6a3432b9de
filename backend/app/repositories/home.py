"""The home folder of an installation: secrets that were made once and stay.

In dev an unset secret is random and kept per home, so that a restart does not sign everybody out and
no checkout shares a well-known key with another.
"""

import base64
import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from backend.config import Settings


def open_home(home: Path) -> Path:
    """Create the folder for its owner alone (0700) when it is missing; return its absolute path."""
    home = home.expanduser().absolute()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


def with_dev_secrets(settings: Settings) -> Settings:
    """Settings with the secrets of their home where dev left them unset; unchanged outside dev."""
    if settings.env != "dev":
        return settings
    makers: dict[str, Callable[[], str]] = {
        "jwt_secret": random_password,
        "webhook_secret_mockpsp": _random_webhook_secret,
        # In the middle of a rotation, so that a delivery signed with the old secret is one that can be believed.
        "webhook_secret_mockpsp_previous": _random_webhook_secret,
        "mockpsp_api_key": random_password,
    }
    home = open_home(settings.hakem_home)
    filled = {
        name: SecretStr(read_or_create_secret(home, name, make=make))
        for name, make in makers.items()
        if getattr(settings, name) is None
    }
    return settings.model_copy(update=filled)


def random_password() -> str:
    """256 random bits in characters that need no quoting in a URL, a file or a shell."""
    return secrets.token_urlsafe(32)


def read_or_create_secret(home: Path, name: str, *, make: Callable[[], str] = random_password) -> str:
    """The home's secret of that name, made by `make` and kept (0600) the first time.

    Two processes that ask at once get the same answer: the file appears complete, by a hard link
    that only the first can make. Raises OSError when the home cannot be written.
    """
    folder = home / "secrets"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / name
    if not path.exists():
        _create_once(path, make())
    return path.read_text("utf-8").strip()


def _create_once(path: Path, content: str) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Losing the race is fine: the winner's file is there and complete.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()


def _random_webhook_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode("ascii")
