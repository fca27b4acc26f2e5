"""Ctrl-C and SIGTERM."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Interrupted(Exception):
    """The user, or a supervisor, asked for the end of the run."""


class Interruption:
    """Breaks in only where the run just waits: a process that is being started or stopped would be lost otherwise."""

    def __init__(self) -> None:
        self._asked = False
        self._waiting = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals, also where a shell has started this program with SIGINT ignored."""
        before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def may_break_in(self) -> Iterator[None]:
        """Around a wait; raises Interrupted at once when the run has been asked to end before."""
        self._waiting = True
        try:
            if self._asked:
                raise Interrupted
            yield
        finally:
            self._waiting = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        if self._waiting:
            self._waiting = False
            raise Interrupted
