"""Hands operators' requests from the threads that serve HTTP to the turn that alone may write."""

import queue
from concurrent.futures import Future
from typing import NamedTuple

from common.messages import Command, CommandKind


class Request(NamedTuple):
    """What an operator asks for."""

    kind: CommandKind
    target: str
    who: str
    why: str


class NotRecordedError(Exception):
    """The request was not written down in time and will not be."""


class Desk:
    """A queue of requests, each with the promise of its command."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[tuple[Request, Future[Command]]] = queue.SimpleQueue()

    def submit(self, request: Request, timeout_s: float) -> Command:
        """Wait until the command is on disk; raises NotRecordedError when it is not in time, and then it is not done later either."""
        promise: Future[Command] = Future()
        self._requests.put((request, promise))
        try:
            return promise.result(timeout_s)
        except TimeoutError:
            if promise.cancel():
                raise NotRecordedError from None
            return promise.result(timeout_s)

    def take(self) -> list[tuple[Request, Future[Command]]]:
        """Take what has been asked for and is still waited for."""
        taken = []
        while not self._requests.empty():
            request, promise = self._requests.get()
            if promise.set_running_or_notify_cancel():
                taken.append((request, promise))
        return taken
