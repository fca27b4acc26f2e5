"""The whole system on one machine without Docker: broker, registry, exchange simulator and the five services."""
