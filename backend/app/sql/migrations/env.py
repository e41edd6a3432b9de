"""Alembic runs this file for each command; the connection comes from backend.app.repositories.schema."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transaction_per_migration=True,
    version_table_schema="public",
)

with context.begin_transaction():
    context.run_migrations()
