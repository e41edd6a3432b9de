"""`hakem db`: the database in use, its URL and its schema."""

import typer

from backend.app.repositories.embedded import postgres as embedded_postgres
from backend.app.repositories.engine import resolve
from backend.config import Settings

app = typer.Typer(help="The database in use: its schema and its URL.", no_args_is_help=True)


@app.command()
def migrate() -> None:
    """Bring the schema to this release; harmless when repeated."""
    with resolve(Settings.load()) as engine:
        before = engine.status()
        after = engine.migrate()
    for revision in before.pending:
        print(f"applied {revision}")
    print(f"schema is at {after.current}")


@app.command()
def status() -> None:
    """Print the revision of the database and those still to run; exit 1 when there are any."""
    with resolve(Settings.load()) as engine:
        found = engine.status()
    print(f"current={found.current or 'none'} head={found.head} pending={len(found.pending)}")
    for revision in found.pending:
        print(f"pending {revision}")
    if not found.is_current:
        raise typer.Exit(1)


@app.command()
def url() -> None:
    """Print a libpq URL of the owner; an embedded PostgreSQL is started and left running."""
    engine = resolve(Settings.load())
    print(engine.owner_url)
    if engine.embedded is not None:
        engine.embedded.leave_running()


@app.command()
def stop() -> None:
    """Stop an embedded PostgreSQL that was left running; refused while a service uses it."""
    was_running = embedded_postgres.stop_unused(Settings.load().hakem_home)
    print("stopped" if was_running else "not running")
