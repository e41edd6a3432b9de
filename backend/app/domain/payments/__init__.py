"""What providers say and do about deposits and payouts, and the life of a withdrawal."""
