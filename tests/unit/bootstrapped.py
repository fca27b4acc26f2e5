"""A small service that `test_bootstrap.py` runs as a process of its own; BEHAVIOUR says what goes wrong."""

import os
import threading
from typing import Annotated

from fastapi import APIRouter

from common import bootstrap
from common.errors import ConfigurationError, DeliveryFailed, TransportError
from common.io.memory import MemoryBroker, MemoryTransport
from common.metrics import COMMON_METRICS, Metric, MetricKind
from common.processor import Health, Service, Transport
from common.settings import Secret, Settings, setting

BEHAVIOUR = os.environ.get("BEHAVIOUR", "")
METRICS = (Metric("crypto_bot_turns_total", MetricKind.COUNTER, "turns"),)


class ExampleSettings(Settings, frozen=True, kw_only=True):
    """Settings with one number and one secret."""

    turns_to_live: Annotated[int, setting("turns until something happens", "5", ge=1)] = 5
    control_token: Annotated[Secret, setting("token of the control routes", "a-long-token")] = Secret("")


class ExampleService:
    """Counts its turns."""

    name = "example-service"

    def __init__(self, settings: ExampleSettings, context: bootstrap.Context) -> None:
        self._settings, self._context = settings, context
        self._turns = 0
        self._idle = threading.Event()

    def start(self) -> None:
        """Recover, unless told otherwise."""
        if BEHAVIOUR == "foreign-ledger":
            raise ConfigurationError(["ledger.db: belongs to another account", "DATA_DIR: choose another"])

    def turn(self, timeout_s: float) -> int:
        """Wait a little; misbehave when told to."""
        self._turns += 1
        self._context.observer.count("crypto_bot_turns_total")
        if BEHAVIOUR == "stuck":
            threading.Event().wait()
        if self._turns == self._settings.turns_to_live and BEHAVIOUR == "delivery":
            raise DeliveryFailed("a record was lost")
        self._idle.wait(min(timeout_s, 0.01))
        return 0

    def stop(self) -> None:
        """Say so."""
        self._context.observer.log("INFO", "snapshot taken")

    def health(self) -> Health:
        """Ready at once."""
        return Health(ready=True, details={"turns": self._turns})


def build(settings: ExampleSettings, context: bootstrap.Context) -> Service:
    """Make the service."""
    return ExampleService(settings, context)


def routes(service: Service, settings: ExampleSettings) -> APIRouter:
    """One route of its own."""
    router = APIRouter()

    @router.get("/turns")
    def turns() -> dict[str, object]:
        """Turns so far."""
        return {"turns": service.health().details["turns"], "limit": settings.turns_to_live}

    return router


def connect(settings: Settings, name: str, instance: str) -> Transport:
    """An in-memory broker instead of Kafka."""
    if BEHAVIOUR == "no-kafka":
        raise TransportError(f"{name}: no Kafka at {settings.kafka_bootstrap_servers}")
    if BEHAVIOUR == "slow-kafka":
        threading.Event().wait()
    return MemoryTransport(MemoryBroker(settings.topic_partitions), instance=instance)


if __name__ == "__main__":
    bootstrap.connect = connect
    bootstrap.STOP_TIMEOUT_S = float(os.environ.get("STOP_TIMEOUT_S", "5"))
    bootstrap.run("example-service", ExampleSettings, build, metrics=(*COMMON_METRICS, *METRICS), routes=routes)
