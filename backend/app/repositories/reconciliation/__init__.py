"""Runs, matches and findings in PostgreSQL."""
