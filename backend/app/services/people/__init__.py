"""Signing in, and managing those who may."""
