"""Commands for tests: where they run, and short ones as forks of one process that has read the code already."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backend.tests import forked_commands

if TYPE_CHECKING:  # conftest.py makes its fixtures with modules that need this one
    from backend.tests.conftest import Database

STOP_SECONDS: Final = 30
MODULE: Final = "backend.scripts"


def words(module: str = MODULE) -> tuple[str, ...]:
    """What stands before a command's arguments, in the place of `python -m MODULE`.

    For commands that are waited for. One that is to be killed has to be a process of its own: here only its caller
    would be.
    """
    return (sys.executable, "-S", "-E", forked_commands.__file__, str(_serving()), module)


def surroundings() -> dict[str, str]:
    """This run's environment, without what it says about a Hakem of somebody's."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_", "HAKEM_", "LEDGER_"))
    }


def environment_of(database: "Database", home: Path, **values: str) -> dict[str, str]:
    """The environment of commands on a database, with a home folder of their own."""
    return {
        **surroundings(),
        "DATABASE_URL": database.service_url,
        "DATABASE_OWNER_URL": database.owner_url,
        "HAKEM_HOME": str(home),
        **values,
    }


@cache
def _serving() -> Path:
    """The socket of the process that is forked, started when the first command is."""
    folder = Path(tempfile.mkdtemp(prefix="hakem-commands-"))
    path = folder / "socket"
    process = subprocess.Popen(
        [sys.executable, "-m", forked_commands.__name__, "serve", str(path)], stdout=subprocess.PIPE, text=True
    )

    def stop() -> None:
        process.terminate()
        process.wait(STOP_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    assert process.stdout is not None
    ready = process.stdout.readline()
    assert ready == "ready\n", ready
    return path
