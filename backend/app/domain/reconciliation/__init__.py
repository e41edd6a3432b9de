"""Statements, settlement files, findings and adjustments. Pure."""
