"""A stand-in for the exchange that plays recordings in its own format and routes."""
