"""The parts of `scripts/alert_drill.py`: a running system, causes for alarm, and who hears of them."""
