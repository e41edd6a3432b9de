"""Behaviour of the whole product, on real PostgreSQL."""
