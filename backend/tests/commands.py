"""Short commands for tests: each is a fork of one process of this worker that has read the code already."""

import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from backend.tests import forked_commands

STOP_SECONDS: Final = 30
MODULE: Final = "backend.scripts"


def words(module: str = MODULE) -> tuple[str, ...]:
    """What stands before a command's arguments, in the place of `python -m MODULE`.

    For commands that are waited for. One that is to be killed has to be a process of its own: here only its caller
    would be.
    """
    return (sys.executable, "-S", "-E", forked_commands.__file__, str(_serving()), module)


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
