"""Pages whose commands a test types: their shell blocks, and one shell that runs them in order and judges them.

What a page promises stands in comments at the ends of its lines, and is checked:

    curl -si …          # 201: money is held        the answer's status
    hakem db status     # exit 1: not migrated      the exit code; without such a comment it has to be 0

A block whose first line is AS_POSTGRES is run as the account of the database server.
"""

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from backend.tests import commands

FENCE: Final = "```"
PROMISED_STATUS: Final = re.compile(r" # (\d{3}): ")
PROMISED_EXIT: Final = re.compile(r"^(?! *#)(.+?) +# exit (\d): .*$", re.MULTILINE)
ANSWERED_STATUS: Final = re.compile(r"^HTTP/1\.1 (\d{3})", re.MULTILINE)
PROSE: Final = re.compile(r'(--reason|"reason":|"note":) *"[^"]*"')
COMMENT: Final = re.compile(r"^#.*\n| +# .*$", re.MULTILINE)
AS_POSTGRES: Final = "# as postgres, on the database's host"
SECONDS_MAX: Final = 120

# Reads the names of scripts and runs each in this same shell, so that variables and functions of one block are there in
# the next. A command that fails ends the shell.
_LOOP: Final = """
while IFS= read -r script; do
    . "$script" > "$script.out" 2> "$script.err" < /dev/null
    echo done
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A shell block of a page and the heading that it stands under."""

    heading: str
    text: str


def shell_blocks(document: Path) -> list[Block]:
    """The page's shell blocks in order."""
    blocks = []
    heading = ""
    inside: list[str] | None = None
    is_shell = False
    for line in document.read_text("utf-8").splitlines(keepends=True):
        if line.startswith(FENCE):
            if inside is not None and is_shell:
                blocks.append(Block(heading=heading, text="".join(inside)))
            inside = [] if inside is None else None
            is_shell = line.strip() == f"{FENCE}sh"
        elif inside is not None:
            inside.append(line)
        elif line.startswith("#"):
            heading = line.strip("# \n")
    return blocks


def commands_of(document: Path) -> list[str]:
    """The blocks without their comments: what has to be the same in every language. Notes and reasons are prose."""
    return [
        PROSE.sub(r"\1 …", COMMENT.sub("", block.text)).replace(" --language tr", "")
        for block in shell_blocks(document)
    ]


class Shell:
    """One shell for a page.

    adapt: makes of a block what can be typed here, such as another address in the place of the page's.
    as_postgres: the words before a command that is to run as the account of the database server.
    """

    def __init__(
        self,
        folder: Path,
        *,
        environment: Mapping[str, str],
        programs: tuple[Path, ...] = (),
        adapt: Callable[[str], str] = lambda text: text,
        as_postgres: tuple[str, ...] = (),
        working_folder: Path | None = None,
    ) -> None:
        self._folder = folder
        self._adapt = adapt
        self._as_postgres = as_postgres
        self._scripts = 0
        tools = folder / "tools"
        tools.mkdir(exist_ok=True)
        forked = shlex.join(commands.words()[:-1])
        write_program(tools / "hakem", f'exec {forked} backend.scripts "$@"\n')
        write_program(
            tools / "python",
            'case "$1 ${2:-}" in\n'
            f'"-m backend."*) shift; exec {forked} "$@" ;;\n'
            f'*) exec "{sys.executable}" "$@" ;;\nesac\n',
        )
        # Suites have their own place in a run of tests; here it is seen that what a page names is there to be run.
        write_program(
            tools / "pytest", f'exec "{sys.executable}" -m pytest --collect-only -q -p no:cacheprovider "$@"\n'
        )
        path = os.pathsep.join([str(tools), *map(str, programs), os.environ.get("PATH", os.defpath)])
        self._process = subprocess.Popen(
            ["sh", "-euc", _LOOP],
            env={**commands.surroundings(), **environment, "PATH": path},
            cwd=working_folder or folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(SECONDS_MAX)

    def type(self, text: str) -> str:
        """Run a block; what it printed. Raises AssertionError when it does something else than it promises."""
        script = self._folder / f"block-{self._scripts}.sh"
        self._scripts += 1
        typed = PROMISED_EXIT.sub(r"code=0; \1 || code=$?; [ $code -eq \2 ]", self._adapt(text))
        script.write_text(typed, "utf-8")
        if text.startswith(AS_POSTGRES) and self._as_postgres:
            inner = script.with_suffix(".inner")
            inner.write_text(typed, "utf-8")
            inner.chmod(0o644)
            script.write_text(" ".join(f"'{word}'" for word in (*self._as_postgres, "sh", "-eu", str(inner))), "utf-8")
        is_done = self._run(script)
        printed = script.with_name(f"{script.name}.out").read_text("utf-8")
        said = script.with_name(f"{script.name}.err").read_text("utf-8")
        assert is_done, f"ended in the middle of\n{typed}\n--- printed\n{printed}\n--- said\n{said}"
        assert ANSWERED_STATUS.findall(printed) == PROMISED_STATUS.findall(text), f"{text}\n---\n{printed}\n{said}"
        return printed

    def _run(self, script: Path) -> bool:
        """Whether the script came to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        watchdog = threading.Timer(SECONDS_MAX, self._process.kill)
        watchdog.start()
        try:
            self._process.stdin.write(f"{script}\n")
            self._process.stdin.flush()
            return self._process.stdout.readline() == "done\n"
        except BrokenPipeError:
            return False
        finally:
            watchdog.cancel()


def write_program(path: Path, script: str) -> None:
    """A program that a page's commands find, as a script for sh."""
    path.write_text(f"#!/bin/sh\n{script}", "utf-8")
    path.chmod(0o755)
