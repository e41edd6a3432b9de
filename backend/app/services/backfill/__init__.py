"""Importing players, opening their wallets, proving the result."""
