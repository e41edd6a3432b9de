"""The demo's story. Pure."""
