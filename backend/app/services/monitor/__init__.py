"""Counts evidence, looks at it, and writes down what follows."""
