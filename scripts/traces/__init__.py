"""One frame's way through all services, as the records that came of it tell it; behind scripts/trace.py."""
