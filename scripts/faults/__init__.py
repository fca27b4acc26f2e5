"""Faults on purpose: drawn from a seed, done to real processes, and what they did is measured and judged."""
