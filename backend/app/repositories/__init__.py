"""Talks to PostgreSQL: rows in, frozen records out."""
