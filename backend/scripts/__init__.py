"""Runnable jobs and the command line: start, wire, exit code."""
