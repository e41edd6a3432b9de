"""`make schema`: writes backend/app/sql/schema.sql from the migrations, for people who read SQL."""

import tempfile
from pathlib import Path

from backend.app import sql
from backend.app.repositories import schema
from backend.app.repositories.embedded import postgres as embedded_postgres
from backend.app.repositories.schema_dump import dump_schema

SCHEMA_FILE = Path(sql.__file__).parent / "schema.sql"


def main() -> None:
    """Migrate an empty database in a folder of its own and dump it."""
    with (
        tempfile.TemporaryDirectory(prefix="hakem-schema-") as folder,
        embedded_postgres.start(Path(folder) / "home", durable=False) as postgres,
    ):
        schema.migrate(postgres.owner_url)
        SCHEMA_FILE.write_text(dump_schema(postgres.owner_url), "utf-8")
    print(f"wrote {SCHEMA_FILE}")


if __name__ == "__main__":
    main()
