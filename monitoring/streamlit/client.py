"""Asks services over HTTP; whatever goes wrong is one error that says what to do."""

import http.client
import json
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from common.settings import Settings, setting

TIMEOUT_S = 1.0
#: What an operator's command waits for: it is answered once it is on disk.
COMMAND_TIMEOUT_S = 10.0
#: An answer that is longer is not read to its end: pages of all people are made in one process.
MOST_BYTES = 16 * 2**20
LONGEST_REASON = 300
_ADDRESS = r"^http://[^\s/@]+/?$"
_OK = frozenset({http.client.OK})
#: Where a demo and a developer's own services listen; elsewhere they are deployed.
_LOCAL = frozenset({"127.0.0.1", "localhost", "[::1]"})
#: Failures of a connection, and of an address that is none.
_FAILURES = (OSError, OverflowError, ValueError, http.client.HTTPException)


class DashboardSettings(Settings, frozen=True, kw_only=True):
    """Where the dashboard asks."""

    ingestion_url: Annotated[str, setting("address of ingestion-service", "http://127.0.0.1:8000", pattern=_ADDRESS)] = "http://127.0.0.1:8000"
    kalman_filter_url: Annotated[str, setting("address of kalman-filter-service", "http://127.0.0.1:8001", pattern=_ADDRESS)] = "http://127.0.0.1:8001"
    garch_volatility_url: Annotated[str, setting("address of garch-volatility-service", "http://127.0.0.1:8002", pattern=_ADDRESS)] = "http://127.0.0.1:8002"
    execution_url: Annotated[str, setting("address of execution-service", "http://127.0.0.1:8003", pattern=_ADDRESS)] = "http://127.0.0.1:8003"
    risk_manager_url: Annotated[str, setting("address of risk-manager-service", "http://127.0.0.1:8004", pattern=_ADDRESS)] = "http://127.0.0.1:8004"
    prometheus_url: Annotated[
        str, setting("address of Prometheus; empty: the page reads the services' own metrics", "http://127.0.0.1:9090", pattern=f"^$|{_ADDRESS}")
    ] = ""


class Away(Exception):
    """What is asked gives no answer that can be shown; the text says what to do."""


class NotConnected(Away):
    """Nothing was sent."""


class Odd(Away):
    """Somebody answers there, but not so that it can be shown: another question may do better."""


class Reply(NamedTuple):
    """An answer as it came."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body decoded; raises ValueError when it is no JSON."""
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """Why a service refuses, in one line without marks; empty where it does not say."""
        try:
            said = self.json()["error"]
        except (ValueError, KeyError, TypeError):
            return ""
        return " ".join(str(said).replace("`", "'").split())[:LONGEST_REASON]


@dataclass(frozen=True, slots=True)
class Client:
    """Asks one service, whose address the named variable sets."""

    service: str
    variable: str
    address: str
    #: How it is started where it is not deployed.
    start: str = "start it with `scripts/demo.sh --keep-going`"
    #: How long an answer is waited for, if not as long as a page may stand still.
    patience_s: float = 0.0

    @property
    def timeout_s(self) -> float:
        """How long an answer is waited for."""
        return self.patience_s or TIMEOUT_S

    @property
    def remedy(self) -> str:
        """What to do when it is away, as it is deployed here."""
        if urlsplit(self.address).netloc.rpartition(":")[0] in _LOCAL:
            return self.start
        return f"`./scripts/deploy.sh status` tells how it is and `./scripts/deploy.sh logs {self.service.lower()}` why"

    def get(self, path: str, *, accepted: Collection[int] = _OK, **query: str | float) -> Any:
        """Ask for a page and decode its JSON; raises Away."""
        return self._decode(path, self._ask("GET", f"{path}?{urlencode(query)}" if query else path), accepted)

    def text(self, path: str) -> str:
        """Ask for a page of text; raises Away."""
        reply = self._ask("GET", path)
        if reply.status != http.client.OK:
            raise self._strange(path, reply)
        return reply.body.decode(errors="replace")

    def post_form(self, path: str, form: Mapping[str, str]) -> Reply:
        """Send a form, as Prometheus takes its queries; raises Away."""
        return self._ask("POST", path, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})

    def command(self, path: str, token: str, body: Mapping[str, str]) -> tuple[int, Any]:
        """Send an operator's command behind the token; returns status and decoded answer, raises Away, and NotConnected when nothing was sent."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        reply = self._ask("POST", path, json.dumps(body), headers, timeout_s=COMMAND_TIMEOUT_S)
        return reply.status, self._decode(path, reply, {reply.status})

    def _ask(self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None, *, timeout_s: float = 0.0) -> Reply:
        with closing(self._connected(timeout_s or self.timeout_s)) as connection:
            try:
                connection.request(method, path, body and body.encode(), dict(headers or {}))
                response = connection.getresponse()
                reply = Reply(response.status, response.read(MOST_BYTES + 1))
            except _FAILURES as error:
                raise Away(self._away(error)) from error
        if len(reply.body) > MOST_BYTES:
            raise Odd(f"{self.service} has more to say to {path.partition('?')[0]} than the {MOST_BYTES >> 20} MB that a page takes: ask for less")
        return reply

    def _connected(self, timeout_s: float) -> http.client.HTTPConnection:
        try:
            connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=timeout_s)
            connection.connect()
        except _FAILURES as error:
            raise NotConnected(self._away(error)) from error
        return connection

    def _away(self, error: Exception) -> str:
        return (
            f"{self.service} does not answer at {self.address} ({error}): {self.remedy}, or set `{self.variable}` to the address where it listens "
            "and start this page anew"
        )

    def _decode(self, path: str, reply: Reply, accepted: Collection[int]) -> Any:
        if reply.status not in accepted:
            raise self._strange(path, reply)
        try:
            return reply.json()
        except ValueError as error:
            raise self._strange(path, reply) from error

    def _strange(self, path: str, reply: Reply) -> Odd:
        said = f" (`{reply.reason}`)" if reply.reason else ""
        what = f"what listens at {self.address} answers {path.partition('?')[0]} with status {reply.status}{said}"
        return Odd(f"{what}: is it {self.service} (`{self.variable}`)? Its log says why")
