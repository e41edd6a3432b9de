"""Who signs in, as what, and how it is guarded."""
