"""Recorded sessions: read from the broker, run again in memory, compared."""
