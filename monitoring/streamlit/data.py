"""All that the pages ask for: services over HTTP, and series out of Prometheus or of the services themselves."""

import functools
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from common.settings import TradingProfile, load
from monitoring.streamlit.client import Client, DashboardSettings
from monitoring.streamlit.direct import Direct
from monitoring.streamlit.kept import Answer, Kept
from monitoring.streamlit.prometheus import Prometheus
from monitoring.streamlit.series import Metrics, Span

#: What risk-manager calls all pairs together, and execution the replica that trades.
PORTFOLIO, ACTIVE = "portfolio", "active"
ROUND_TRIPS_AT_ONCE = 200
SERVICES = ("ingestion-service", "kalman-filter-service", "garch-volatility-service", "execution-service", "risk-manager-service")
#: Samples of a chart, and the least time between two.
SAMPLES, LEAST_STEP_S = 300, 1.0
#: Prometheus scrapes this often, so closer steps show nothing new.
PROMETHEUS_STEP_S = 5.0
#: What somebody's own query may take; a page's own figures must not keep it waiting.
QUERY_TIMEOUT_S = 5.0
#: How often execution is asked until its active replica answers: behind a gateway that takes turns a standby may be first.
TRIES = 3
#: A service that is not well answers so, with the same body.
_WELL_OR_NOT = (200, 503)


class Desk:
    """What one set of settings leads to; pages of all people share it."""

    def __init__(self, settings: DashboardSettings) -> None:
        self.demo_profile = settings.profile_in_use is TradingProfile.DEMO
        self.clients = {name: _client(settings, name) for name in SERVICES}
        self.execution, self.risk_manager = self.clients["execution-service"], self.clients["risk-manager-service"]
        self.metrics: Metrics = Direct([*self.clients.values()])
        self._queried: Metrics = self.metrics
        if settings.prometheus_url:
            self.metrics, self._queried = _prometheus(settings), _prometheus(settings, QUERY_TIMEOUT_S)
        self._kept = Kept()

    def keep_history(self) -> None:
        """Begin to gather series, where nobody else does."""
        if isinstance(self.metrics, Direct):
            self.metrics.keep_looking()

    # --- execution: trades and profit, to the cent ---

    def profit(self) -> Answer:
        """Profit per pair and in total."""
        return self._now("/pnl")

    def positions(self) -> Answer:
        """Every pair's position."""
        return self._now("/positions")

    def fills(self, limit: int, pair: str = "") -> Answer:
        """The newest fills, of a pair if one is named."""
        return self._get(self.execution, "/fills", limit=limit, pair=pair)

    def round_trips(self, limit: int, pair: str = "") -> Answer:
        """The newest round trips, of a pair if one is named."""
        return self._get(self.execution, "/round-trips", limit=limit, pair=pair)

    def all_round_trips(self, pair: str = "") -> Iterator[dict[str, Any]]:
        """Those of the whole ledger, newest first, of which nothing is kept; raises Away."""
        before = 0
        while True:
            page = self.execution.get("/round-trips", limit=ROUND_TRIPS_AT_ONCE, pair=pair, before=before)
            yield from page["round_trips"]
            before = page["next"]
            if not before:
                return

    def equity(self) -> Answer:
        """Equity over the whole ledger."""
        return self._get(self.execution, "/equity", points=SAMPLES)

    def explain(self, pair: str) -> Answer:
        """Every gate of an entry."""
        return self._now(f"/pairs/{pair}/explain")

    def pairs(self) -> list[str]:
        """The pairs that execution knows; none while it has never answered."""
        known = self.positions().value
        return [each["pair"] for each in known["positions"]] if known else []

    # --- risk-manager ---

    def risk(self) -> Answer:
        """Verdicts, rules, halts and commands."""
        return self._get(self.risk_manager, "/state")

    def command(self, kind: str, token: str, body: Mapping[str, str]) -> tuple[int, Any]:
        """Halt, resume or flatten; returns the status and what risk-manager says, raises Away, and NotConnected when nothing was sent."""
        return self.risk_manager.command(f"/{kind}", token, body)

    # --- every service ---

    def health(self, service: str) -> Answer:
        """Role, reason and checks."""
        client = self.clients[service]
        return self._kept.ask(client.address, "/health", lambda: client.get("/health", accepted=_WELL_OR_NOT))

    def info(self, service: str) -> Answer:
        """Version, settings and activity; execution's of the active replica, which alone has measured anything."""
        client = self.clients[service]
        return self._now("/info") if client is self.execution else self._get(client, "/info")

    # --- series ---

    def over(self, expression: str, minutes: int) -> Answer:
        """Series of the last minutes; raises QueryRefused."""
        return self._kept.ask("metrics", (expression, minutes), lambda: self.metrics.over(expression, self.span(minutes)))

    def query(self, expression: str, minutes: int) -> Answer:
        """The same for an expression of the reader's, with more patience; raises QueryRefused."""
        return self._kept.ask("queries", (expression, minutes), lambda: self._queried.over(expression, self.span(minutes)))

    def now(self, expression: str) -> Answer:
        """Series with one sample each; raises QueryRefused."""
        return self._kept.ask("metrics", expression, lambda: self.metrics.now(expression))

    def span(self, minutes: int) -> Span:
        """The last minutes in steps of a round time, so that samples stay where they are from one look to the next."""
        seconds = 60.0 * minutes
        step_s = float(max(round(seconds / SAMPLES), PROMETHEUS_STEP_S if self.metrics.promql else LEAST_STEP_S))
        end_s = time.time() // step_s * step_s if self.metrics.promql else time.time()
        return Span(end_s - seconds, end_s, step_s)

    def _now(self, path: str) -> Answer:
        """What execution's active replica says, else what a standby has read in the ledger."""

        def ask() -> Any:
            for _ in range(TRIES):
                found = self.execution.get(path)
                if found.get("role", ACTIVE) == ACTIVE:
                    break
            return found

        return self._kept.ask(self.execution.address, (path,), ask)

    def _get(self, client: Client, path: str, **query: Any) -> Answer:
        return self._kept.ask(client.address, (path, *query.items()), lambda: client.get(path, **query))


def desk() -> Desk:
    """The one of this process' environment; raises ConfigurationError."""
    return _desk_of(load(DashboardSettings, os.environ))


@functools.cache
def _desk_of(settings: DashboardSettings) -> Desk:
    return Desk(settings)


def _client(settings: DashboardSettings, service: str) -> Client:
    variable = f"{service.removesuffix('-service').replace('-', '_')}_url"
    return Client(service, variable.upper(), str(getattr(settings, variable)).rstrip("/"))


def _prometheus(settings: DashboardSettings, patience_s: float = 0.0) -> Prometheus:
    start = "start it (`docker compose up -d prometheus`), or unset `PROMETHEUS_URL` to read the services' own metrics"
    return Prometheus(Client("Prometheus", "PROMETHEUS_URL", settings.prometheus_url.rstrip("/"), start, patience_s))
