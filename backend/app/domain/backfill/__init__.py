"""Opening wallets of existing players, and the census that proves them. Pure."""
