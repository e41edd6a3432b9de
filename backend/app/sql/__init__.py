"""The text of queries, functions and migrations."""
