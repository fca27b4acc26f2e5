"""Asks services over HTTP; whatever goes wrong is one error that says what to do."""

import http.client
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from common.settings import Settings, setting

TIMEOUT_S = 1.0
#: What an operator's command waits for: it is answered once it is on disk.
COMMAND_TIMEOUT_S = 10.0
_ADDRESS = r"^http://[^\s/@]+/?$"
_OK = frozenset({http.client.OK})


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


class Reply(NamedTuple):
    """An answer as it came."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body decoded; raises ValueError when it is no JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Client:
    """Asks one service, whose address the named variable sets."""

    service: str
    variable: str
    address: str
    #: How it is started when it is away.
    remedy: str = "start it with `scripts/demo.sh --keep-going`"

    def get(self, path: str, *, accepted: Collection[int] = _OK, **query: str | float) -> Any:
        """Ask for a page and decode its JSON; raises Away."""
        return self._decode(path, self._ask("GET", f"{path}?{urlencode(query)}" if query else path), accepted)

    def text(self, path: str) -> str:
        """Ask for a page of text; raises Away."""
        reply = self._ask("GET", path)
        if reply.status != http.client.OK:
            raise self._strange(path, reply.status)
        return reply.body.decode(errors="replace")

    def post_form(self, path: str, form: Mapping[str, str]) -> Reply:
        """Send a form, as Prometheus takes its queries; raises Away."""
        return self._ask("POST", path, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"}, timeout_s=5 * TIMEOUT_S)

    def command(self, path: str, token: str, body: Mapping[str, str]) -> tuple[int, Any]:
        """Send an operator's command behind the token; returns status and decoded answer, raises Away."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        reply = self._ask("POST", path, json.dumps(body), headers, timeout_s=COMMAND_TIMEOUT_S)
        return reply.status, self._decode(path, reply, {reply.status})

    def _ask(self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None, *, timeout_s: float | None = None) -> Reply:
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=timeout_s or TIMEOUT_S)
        try:
            connection.request(method, path, body and body.encode(), dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, response.read())
        except (OSError, OverflowError, ValueError, http.client.HTTPException) as error:
            raise Away(
                f"{self.service} does not answer at {self.address} ({error}): {self.remedy}, or set `{self.variable}` to the address where it listens "
                "and start this page anew"
            ) from error
        finally:
            connection.close()

    def _decode(self, path: str, reply: Reply, accepted: Collection[int]) -> Any:
        if reply.status not in accepted:
            raise self._strange(path, reply.status)
        try:
            return reply.json()
        except ValueError as error:
            raise self._strange(path, reply.status) from error

    def _strange(self, path: str, status: int) -> Away:
        return Away(
            f"what listens at {self.address} answers {path.partition('?')[0]} with status {status}: is it {self.service} (`{self.variable}`)? Its log says why"
        )
