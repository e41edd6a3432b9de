"""From approval to paid, and what providers report, applied once."""
