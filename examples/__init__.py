"""Programs that use Hakem from outside, over HTTP."""
