"""One line on stderr that says how far a long piece of work is."""

import sys
import time

_INTERVAL_S = 0.2


class Progress:
    """Overwrites its line on a terminal, a few times a second; elsewhere it says nothing."""

    def __init__(self, name: str, *, silent: bool = False) -> None:
        self._name = name
        self._silent = silent or not sys.stderr.isatty()
        self._told_at = 0.0

    def tell(self, text: str) -> None:
        """Say how far it is; most calls do nothing."""
        if not self._silent and time.monotonic() - self._told_at >= _INTERVAL_S:
            self._told_at = time.monotonic()
            sys.stderr.write(f"\r\x1b[K{self._name}: {text}")
            sys.stderr.flush()

    def end(self) -> None:
        """Clear the line."""
        if not self._silent:
            sys.stderr.write("\r\x1b[K")
