"""Accounts and sessions in PostgreSQL."""
