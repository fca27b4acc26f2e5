"""Fits in the tests' own process, like the worker's, need one thread; said before anything numeric is imported."""

from services.garch_volatility.worker import use_one_thread

use_one_thread()
