"""Flags, gates and stages: what must hold before the ledger decides. Pure."""
