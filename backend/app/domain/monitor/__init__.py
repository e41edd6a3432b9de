"""The detector: from evidence in minutes to verdicts. Pure."""
