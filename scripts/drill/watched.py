"""What every scene has: servers that all scenes share, and a Prometheus and an Alertmanager of its own."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import NamedTuple, Self

from common.errors import CryptoBotError
from scripts.drill.monitors import Alertmanager, Prometheus, require_programs
from scripts.drill.receivers import Receivers
from scripts.drill.timescale import TimeScale
from scripts.faults.servers import OwnBroker, OwnRegistry

_LOOK_S = 0.2
START_S = 60.0


class Stopped(Exception):
    """The user asked for the end."""


class Scene(NamedTuple):
    """Which recording runs how, and what the services are told; several acts are played in it."""

    name: str
    what: str
    #: Of the embedded run; none for a scene without services.
    arguments: Sequence[str] = ()
    settings: Mapping[str, str] = {}


class Servers(NamedTuple):
    """What all scenes share."""

    broker: OwnBroker
    registry: OwnRegistry
    receivers: Receivers
    folder: Path
    scale: TimeScale
    stopping: Event
    say: Callable[[str], None]


class Watched:
    """A scene between `with` and its end."""

    prometheus: Prometheus
    alertmanager: Alertmanager

    def __init__(self, scene: Scene, servers: Servers) -> None:
        self.scene, self.servers = scene, servers
        self.folder = servers.folder / scene.name
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.build(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def build(self, stack: ExitStack) -> None:
        """Bring everything up; what the stack is told is undone at the end."""
        raise NotImplementedError

    def tend(self) -> None:
        """Look after what runs; called while waiting."""

    def make_monitors(self, stack: ExitStack, ports: tuple[int, int], scale: TimeScale) -> None:
        """Make Prometheus and Alertmanager on these ports, and start neither."""
        self.prometheus = Prometheus(require_programs("prometheus")["prometheus"], self.folder / "prometheus", ports, scale)
        self.alertmanager = Alertmanager(self.folder / "alertmanager", ports[1], self.servers.receivers, scale)
        stack.callback(self.alertmanager.stop)
        stack.callback(self.prometheus.stop)

    def start_alertmanager(self) -> None:
        """Start it and wait until it answers."""
        self.alertmanager.start()
        self.wait(self.alertmanager.is_up, START_S, "Alertmanager")

    def start_prometheus(self) -> None:
        """Start it and wait until it answers."""
        self.prometheus.start()
        self.wait(self.prometheus.is_up, START_S, "Prometheus")

    def wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait; raises CryptoBotError when it takes too long, Stopped when the user ends it."""
        give_up_at = time.monotonic() + timeout_s
        while not condition():
            self.tend()
            if time.monotonic() > give_up_at:
                raise CryptoBotError(f"waited {timeout_s:.0f} s in vain for {what}; see {self.folder}")
            if self.servers.stopping.wait(_LOOK_S):
                raise Stopped
