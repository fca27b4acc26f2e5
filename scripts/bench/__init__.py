"""Measures what the pipeline does on a real broker."""
