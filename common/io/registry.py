"""Redis as registry and cache: who runs, and the last state of each pair. Nothing depends on it."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from common.errors import ConfigurationError
from common.io.logs import redact_text
from common.processor import Observer
from common.settings import Secret

SERVICE_TTL_S = 15
PAIR_TTL_S = 3600
_PERIOD_S = 5.0
_TIMEOUT_S = 1.0
_MOST_PAIRS = 10_000


def service_key(service: str, instance: str) -> str:
    """Name the key that says that an instance runs."""
    return f"crypto-bot:service:{service}:{instance}"


def pair_key(pair: str, service: str) -> str:
    """Name the key of a service's last state of a pair."""
    return f"crypto-bot:pair:{pair}:{service}"


class Registry:
    """Announces this instance every five seconds and caches pair states, from a thread of its own.

    Redis may come and go: that is logged once a change and shown in `crypto_bot_registry_up`. An empty URL turns it off.
    """

    def __init__(self, client: redis.Redis | None, url: str, service: str, instance: str, *, period_s: float = _PERIOD_S) -> None:
        """`client` is of `redis_client`; the URL is for the log."""
        self._service, self._instance, self._period_s = service, instance, period_s
        self._client = client
        self._shown_url = redact_text(url)
        self._lock = threading.Lock()
        self._states: dict[str, Mapping[str, Any]] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._up: bool | None = None

    def pair_state(self, pair: str, state: Mapping[str, Any]) -> None:
        """Keep the last state of a pair for the next round; never waits for Redis."""
        with self._lock:
            if pair in self._states or len(self._states) < _MOST_PAIRS:
                self._states[pair] = dict(state)

    def start(self, observer: Observer, announcement: Callable[[], Mapping[str, Any]]) -> None:
        """Begin; `announcement` is called at each round."""
        if self._client is None:
            observer.log("INFO", "no registry: REDIS_URL is empty")
            return
        self._thread = threading.Thread(target=self._run, args=(self._client, observer, announcement), name="registry", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the announcement back; gives up after the time-out of one call."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2 * _TIMEOUT_S)

    def _run(self, client: redis.Redis, observer: Observer, announcement: Callable[[], Mapping[str, Any]]) -> None:
        while not self._stopping.is_set():
            self._round(client, observer, announcement)
            self._stopping.wait(self._period_s)
        if self._up:
            self._attempt(observer, lambda: client.delete(service_key(self._service, self._instance)))
        client.close()

    def _round(self, client: redis.Redis, observer: Observer, announcement: Callable[[], Mapping[str, Any]]) -> None:
        with self._lock:
            states = dict(self._states)

        def write() -> None:
            pipeline = client.pipeline(transaction=False)
            pipeline.set(service_key(self._service, self._instance), _encode(announcement()), ex=SERVICE_TTL_S)
            for pair, state in states.items():
                pipeline.set(pair_key(pair, self._service), _encode(state), ex=PAIR_TTL_S)
            pipeline.execute()

        if self._attempt(observer, write):
            self._forget(states)

    def _forget(self, written: Mapping[str, Mapping[str, Any]]) -> None:
        with self._lock:
            self._states = {pair: state for pair, state in self._states.items() if written.get(pair) is not state}

    def _attempt(self, observer: Observer, action: Callable[[], object]) -> bool:
        try:
            action()
        except Exception as error:  # noqa: BLE001  # whatever Redis or its client does, the service goes on
            self._changed(observer, up=False, error=redact_text(f"{type(error).__name__}: {error}"))
            return False
        self._changed(observer, up=True)
        return True

    def _changed(self, observer: Observer, *, up: bool, **fields: str) -> None:
        observer.gauge("crypto_bot_registry_up", float(up))
        if up is not self._up:
            event = "the registry is reached" if up else "the registry is away; going on without it"
            observer.log("INFO" if up else "WARNING", event, url=self._shown_url, **fields)
        self._up = up


def redis_client(url: str, password: Secret | None = None, ca_file: str = "") -> redis.Redis | None:
    """A client with short time-outs that tries once; None without a URL.

    Raises ConfigurationError for a URL or a file that cannot be used, or with a password in the URL and another beside it.
    """
    if not url:
        return None
    options: dict[str, Any] = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S, "retry": Retry(NoBackoff(), 0), "client_name": "crypto-bot"}
    if ca_file:
        options["ssl_ca_certs"] = _readable(ca_file)
    try:
        if password and urlsplit(url).password:
            raise ConfigurationError(["REDIS_URL and REDIS_PASSWORD: both hold a password; leave the one in REDIS_URL out"])
        # Arguments give way to what the URL says, so it is not said twice.
        return redis.Redis.from_url(url, **options, **({"password": password.reveal()} if password else {}))
    except ValueError as error:
        example = "for example REDIS_URL=redis://localhost:6379/0, or empty for none"
        raise ConfigurationError([f"REDIS_URL={redact_text(url)!r}: {redact_text(str(error))}; {example}"]) from error


def _readable(ca_file: str) -> str:
    try:
        Path(ca_file).read_bytes()
    except OSError as error:
        raise ConfigurationError([f"REDIS_CA_FILE={ca_file!r}: cannot be read ({error.strerror}); name a PEM file that this user may read"]) from error
    return ca_file


def _encode(value: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)
