"""python -m backend.scripts.backfill_wallet_balances: the runbook's name of `hakem backfill`."""

import sys

import typer

from backend.scripts import cli
from backend.scripts.backfill import backfill

app = typer.Typer(name="backfill_wallet_balances", add_completion=False, pretty_exceptions_enable=False)
app.command()(backfill)

if __name__ == "__main__":
    sys.exit(cli.run(app, sys.argv[1:]))
