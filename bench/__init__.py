"""`python -m bench`: what Hakem costs, beside what others cost on the same machine at the same moment."""
