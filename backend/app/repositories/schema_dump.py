"""The schema as text that two databases can be compared by: pg_dump without what differs between runs."""

import re
import subprocess

from backend.app.repositories.embedded.account import binaries
from backend.app.repositories.faults import DatabaseUnavailable

DUMP_TIMEOUT_SECONDS = 60

# Session settings, psql's commands (one carries a random token) and comments say nothing of the schema.
_NOISE = re.compile(r"^(?:SET .*|SELECT pg_catalog\.set_config.*|\\.*|--.*)$\n?", re.MULTILINE)


def dump_schema(url: str) -> str:
    """Every object and every right of the database, normalised; bookkeeping of the migrations included.

    Without the schema `procrastinate`: what is in there is the text of a package, and not ours to copy
    (docs/decisions/0010-jobs-on-procrastinate.md).

    Raises DatabaseUnavailable.
    """
    done = subprocess.run(
        [str(binaries() / "pg_dump"), "--schema-only", "--no-owner", "--no-comments", "--exclude-schema=procrastinate"]
        + ["--dbname", url],
        capture_output=True,
        text=True,
        timeout=DUMP_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise DatabaseUnavailable(f"the schema cannot be read: {' '.join(done.stderr.split())}")
    return re.sub(r"\n{3,}", "\n\n", _NOISE.sub("", done.stdout)).strip() + "\n"
