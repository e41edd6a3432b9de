"""Imports, backfills and censuses in PostgreSQL."""
