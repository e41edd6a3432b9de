"""The command `hakem`: subcommands, and one place that turns failures into exit codes.

0 done · 1 differences or row errors · 2 usage · 3 the environment · 5 refused by a gate
"""

import sys
from collections.abc import Sequence
from typing import Final

import psycopg
import typer

from backend.app.domain.backfill.backfill import BackfillRefused
from backend.app.domain.errors import AppError, TemporarilyUnavailable
from backend.app.domain.rollout.gates import GatesNotMet
from backend.app.repositories.faults import EnvironmentFault
from backend.app.repositories.schema import one_line
from backend.config import SettingsRefused
from backend.scripts import (
    admin,
    backfill,
    db,
    flags,
    mockpsp,
    players,
    psp_accounts,
    reconcile,
    rollout,
    rollout_monitor,
    serve,
    token,
    verify,
    waiting,
    worker,
)

EXIT_DONE: Final = 0
EXIT_DIFFERENCES: Final = 1
EXIT_USAGE: Final = 2
EXIT_ENVIRONMENT: Final = 3
EXIT_REFUSED: Final = 5

# The first match decides. What is not listed is a bug and keeps its traceback.
EXIT_CODES: Final[tuple[tuple[type[Exception], int], ...]] = (
    (SettingsRefused, EXIT_ENVIRONMENT),
    (EnvironmentFault, EXIT_ENVIRONMENT),
    (TemporarilyUnavailable, EXIT_ENVIRONMENT),
    (BackfillRefused, EXIT_REFUSED),
    (GatesNotMet, EXIT_REFUSED),
    # Any other refusal is about what was asked for: an address that is taken, a tenant that is not there.
    (AppError, EXIT_USAGE),
    (psycopg.OperationalError, EXIT_ENVIRONMENT),
    (psycopg.errors.UndefinedTable, EXIT_ENVIRONMENT),
)

app = typer.Typer(
    name="hakem",
    help="Player wallets on an append-only ledger.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(admin.app, name="admin")
app.add_typer(db.app, name="db")
app.add_typer(flags.app, name="flags")
app.add_typer(mockpsp.app, name="mockpsp")
app.add_typer(players.app, name="players")
app.add_typer(psp_accounts.app, name="psp")
app.add_typer(reconcile.app, name="reconcile")
rollout.app.command("evaluate")(rollout_monitor.evaluate)
rollout.app.command("watch")(rollout_monitor.watch)
rollout.app.command("selftest")(rollout_monitor.selftest)
rollout.app.command("auto-rollback")(rollout_monitor.auto_rollback)
app.add_typer(rollout.app, name="rollout")
app.command("backfill")(backfill.backfill)
app.command("serve")(serve.serve)
app.command("token")(token.token)
app.command("verify")(verify.verify)
app.command("waiting")(waiting.waiting)
app.command("worker")(worker.worker)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(app, sys.argv[1:]))


def run(command: typer.Typer, arguments: Sequence[str]) -> int:
    """Run a typer application and return its exit code; an expected failure is one line on stderr.

    The runbook's `python -m backend.scripts.<name>` modules end in this too.
    """
    try:
        command(args=list(arguments), prog_name=command.info.name or None)
    except SystemExit as end:
        # Typer has said what was wrong with the arguments and chosen 2.
        return end.code if isinstance(end.code, int) else EXIT_DONE
    except Exception as error:
        for kind, exit_code in EXIT_CODES:
            if isinstance(error, kind):
                print(f"hakem: {error if kind is SettingsRefused else one_line(error)}", file=sys.stderr)
                return exit_code
        raise
    return EXIT_DONE
