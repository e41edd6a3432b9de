"""Payouts, accounts at providers and the inbox in PostgreSQL."""
