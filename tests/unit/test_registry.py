"""The registry: announces, caches, survives Redis going away, and never makes the service wait."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from fakeredis import TcpFakeServer

from common.errors import ConfigurationError
from common.io import registry as module
from common.io.metrics import RecordingObserver
from common.io.registry import PAIR_TTL_S, SERVICE_TTL_S, Registry, pair_key, redis_client, service_key
from common.metrics import COMMON_METRICS
from common.settings import Secret

KEY = service_key("execution-service", "host-1")
PAIR = "ETHUSDT-BTCUSDT"


class RedisServer:
    """A Redis-compatible server that can be closed and opened again on its port."""

    def __init__(self) -> None:
        self.port = 0
        self.open()

    def open(self) -> None:
        self._server = TcpFakeServer(("127.0.0.1", self.port))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.block_on_close = False
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Any:
        return redis.Redis(port=self.port)


class WatchedObserver(RecordingObserver):
    """Lets a test wait until the registry has reported something."""

    def __init__(self) -> None:
        super().__init__(COMMON_METRICS)
        self._changed = threading.Condition()

    def gauge(self, name: str, value: float, **labels: str) -> None:
        super().gauge(name, value, **labels)
        with self._changed:
            self._changed.notify_all()

    def log(self, level: str, event: str, **fields: Any) -> None:
        super().log(level, event, **fields)
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, 5)

    @property
    def up(self) -> float | None:
        return self.gauges.get(("crypto_bot_registry_up", ()))


@pytest.fixture
def server() -> Iterator[RedisServer]:
    running = RedisServer()
    yield running
    running.close()


@pytest.fixture
def observer() -> WatchedObserver:
    return WatchedObserver()


def announcement() -> dict[str, object]:
    return {"name": "execution-service", "status": "ready"}


def test_announces_and_caches(server: RedisServer, observer: WatchedObserver) -> None:
    """The announcement lives for fifteen seconds, a pair's newest state for an hour; stopping takes the announcement back."""
    registry = Registry(redis_client(server.url), server.url, "execution-service", "host-1", period_s=0.01)
    registry.pair_state(PAIR, {"z": 1.0})
    registry.pair_state(PAIR, {"z": 2.0})
    registry.start(observer, announcement)
    observer.wait_for(lambda: observer.up == 1)
    client = server.client()
    assert json.loads(client.get(KEY)) == announcement()
    assert json.loads(client.get(pair_key(PAIR, "execution-service"))) == {"z": 2.0}
    assert SERVICE_TTL_S - 5 < client.ttl(KEY) <= SERVICE_TTL_S
    assert PAIR_TTL_S - 5 < client.ttl(pair_key(PAIR, "execution-service")) <= PAIR_TTL_S
    registry.stop()
    assert client.get(KEY) is None
    assert client.get(pair_key(PAIR, "execution-service")) is not None


def test_goes_away_and_comes_back(server: RedisServer, observer: WatchedObserver) -> None:
    """An absence is logged once, what was cached meanwhile is written afterwards, and the return is logged once."""
    registry = Registry(redis_client(server.url), server.url, "execution-service", "host-1", period_s=0.01)
    registry.start(observer, announcement)
    observer.wait_for(lambda: observer.up == 1)
    server.close()
    observer.wait_for(lambda: observer.up == 0)
    registry.pair_state(PAIR, {"z": 3.0})
    server.open()
    observer.wait_for(lambda: len(observer.events("the registry is reached")) == 2)
    registry.stop()
    assert json.loads(server.client().get(pair_key(PAIR, "execution-service"))) == {"z": 3.0}
    assert [line.level for line in observer.logs] == ["INFO", "WARNING", "INFO"]


def test_a_registry_that_never_answers_costs_nothing(observer: WatchedObserver, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a server that accepts and says nothing, the service neither waits for a state nor long for the stop."""
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://user:hunter2@127.0.0.1:{silent.getsockname()[1]}/0"
        registry = Registry(redis_client(url), url, "execution-service", "host-1", period_s=0.01)
        registry.start(observer, announcement)
        began = time.perf_counter()
        for number in range(1000):
            registry.pair_state(PAIR, {"z": number})
        assert time.perf_counter() - began < 1
        observer.wait_for(lambda: observer.up == 0)
        registry.stop()
    assert "hunter2" not in str(observer.logs)


def test_what_waits_is_bounded() -> None:
    """States of more pairs than anyone trades do not pile up, the newest of a known pair still counts."""
    registry = Registry(redis_client(""), "", "execution-service", "host-1")
    for number in range(module._MOST_PAIRS + 10):
        registry.pair_state(f"P{number}-BTCUSDT", {"z": 1})
    registry.pair_state("P0-BTCUSDT", {"z": 2})
    assert len(registry._states) == module._MOST_PAIRS
    assert registry._states["P0-BTCUSDT"] == {"z": 2}


def test_no_url_no_registry(observer: WatchedObserver) -> None:
    """An empty URL turns the registry off."""
    registry = Registry(redis_client(""), "", "execution-service", "host-1")
    registry.start(observer, announcement)
    registry.stop()
    assert [line.event for line in observer.logs] == ["no registry: REDIS_URL is empty"]
    assert observer.up is None


def test_unusable_url_is_named_without_its_password() -> None:
    """A port that is no number is a problem of REDIS_URL; the password does not show."""
    with pytest.raises(ConfigurationError) as caught:
        redis_client("redis://user:hunter2@localhost:port/0")
    assert "REDIS_URL='redis://user:***@localhost:port/0'" in caught.value.problems[0]
    assert "hunter2" not in caught.value.problems[0]


def test_a_password_goes_with_the_address() -> None:
    """The password from elsewhere is the client's, unless the URL has one too; a file that is not there is named."""
    client = redis_client("redis://127.0.0.1:1/0", Secret("hunter2"))
    assert client is not None
    assert client.connection_pool.connection_kwargs["password"] == "hunter2"
    with pytest.raises(ConfigurationError, match="both hold a password") as caught:
        redis_client("redis://user:hunter3@127.0.0.1:1/0", Secret("hunter2"))
    assert "hunter" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"REDIS_CA_FILE='.*': cannot be read"):
        redis_client("rediss://127.0.0.1:1/0", Secret(""), "/nowhere/ca.pem")
