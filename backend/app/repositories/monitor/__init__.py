"""Evidence, verdicts and decisions in PostgreSQL."""
