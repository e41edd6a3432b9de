"""Flags, flips and holds in PostgreSQL."""
