"""Comparing with providers, and what is done about the differences."""
