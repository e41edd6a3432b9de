"""The flip and the way back."""
