"""Ports and the embedded registry."""

import socket

import pytest
import redis

from common.errors import ConfigurationError
from scripts.embedded.servers import embedded_redis, require_free, require_streamlit


def test_every_port_in_use_is_named() -> None:
    """One line for all of them, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        ports = [listener.getsockname()[1] for listener in (one, two)]
        unused = free.getsockname()[1]
        free.close()
        with pytest.raises(ConfigurationError) as error:
            require_free([*ports, unused])
    (line,) = error.value.problems
    assert all(str(port) in line for port in ports)
    assert str(unused) not in line
    assert "--base-port" in line


def test_free_ports_stay_free() -> None:
    """The check itself holds nothing."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    require_free([port])
    require_free([port])


def test_the_embedded_registry_answers_and_goes() -> None:
    """A client of Redis reads what it wrote; afterwards the port is free."""
    with embedded_redis() as url, redis.Redis.from_url(url) as client:
        client.set("key", "value", ex=10)
        assert client.get("key") == b"value"
    with pytest.raises(redis.exceptions.ConnectionError), redis.Redis.from_url(url, socket_connect_timeout=1) as client:
        client.ping()


def test_pages_need_streamlit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is missing the text names the command that installs it."""
    monkeypatch.setattr("scripts.embedded.servers.importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"scripts/setup\.sh dashboard"):
        require_streamlit()
