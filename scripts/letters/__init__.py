"""What `scripts/dead_letters.py` is made of."""
