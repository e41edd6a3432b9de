"""Reads for pages of the console. Nothing is written but requests."""
