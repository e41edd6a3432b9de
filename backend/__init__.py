"""Hakem: multi-tenant player wallets on an append-only ledger."""
