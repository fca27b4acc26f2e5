"""What execution answers over HTTP beyond health and metrics."""

from typing import Annotated, Any

import fastapi

from common.processor import Service
from services.execution import history, views
from services.execution.edge import RECENT_ORDERS, ExecutionService
from services.execution.settings import ExecutionSettings

#: Rows of the ledger in one answer.
MOST_FILLS, MOST_ROUND_TRIPS, MOST_POINTS = 1000, 200, 2000


def routes(service: Service, settings: ExecutionSettings) -> fastapi.APIRouter:
    """The routes over a running service."""
    router = fastapi.APIRouter()
    assert isinstance(service, ExecutionService)
    snapshot = service.snapshot
    known = [str(pair) for pair in settings.trading_pairs()]

    @router.get("/positions")
    def positions() -> dict[str, Any]:
        """Every pair's state, legs and working orders; a standby tells the last ones that it has read in the ledger, here and below: see `role`."""
        return {**views.positions(snapshot.params, snapshot.states), **snapshot.standing()}

    @router.get("/orders")
    def orders(limit: Annotated[int, fastapi.Query(ge=1, le=RECENT_ORDERS)] = 100) -> dict[str, Any]:
        """The newest orders, newest first, each as it stands; `trace_id` is of the tick that decided it, for scripts/trace.py."""
        newest = snapshot.orders
        return views.orders(newest, limit, service.trace_ids(newest[-limit:]))

    @router.get("/pnl")
    def profit() -> dict[str, Any]:
        """Profit per pair and in total: gross + fees + funding = net; `event_time_ns` is of the newest book that it is reckoned with."""
        return {**views.profit(snapshot.states), **snapshot.standing()}

    @router.get("/latency")
    def latency() -> dict[str, Any]:
        """Time from the socket to the decision, whole and per hop, as counts in buckets: a difference of two answers is what lies between them."""
        return service.latency_counts()

    @router.get("/fills")
    def fills(
        pair: str = "", limit: Annotated[int, fastapi.Query(ge=1, le=MOST_FILLS)] = 100, before: Annotated[int, fastapi.Query(ge=0)] = 0
    ) -> dict[str, Any]:
        """The ledger's fills, newest first, each with fee and slippage; `next` is the `before` of the page after this one, 0 for none."""
        with service.reading_ledger() as query:
            return history.fills(query, pair=pair, limit=limit, before=before)

    @router.get("/round-trips")
    def round_trips(
        pair: str = "", limit: Annotated[int, fastapi.Query(ge=1, le=MOST_ROUND_TRIPS)] = 50, before: Annotated[int, fastapi.Query(ge=0)] = 0
    ) -> dict[str, Any]:
        """The ledger's round trips, newest first, each with the decisions that opened and closed it, its fills, slippage, fees and net."""
        with service.reading_ledger() as query:
            return history.round_trips(query, pair=pair, limit=limit, before=before)

    @router.get("/equity")
    def equity(points: Annotated[int, fastapi.Query(ge=2, le=MOST_POINTS)] = 300) -> dict[str, Any]:
        """Equity of all pairs over the whole ledger, at about so many bar closes, oldest first."""
        with service.reading_ledger() as query:
            return history.equity(query, points=points)

    @router.get("/pairs/{pair}/explain")
    def explain(pair: str) -> dict[str, Any]:
        """Every gate of an entry in the order of asking: value, limit, verdict, distance to passing and its unit; and which one blocks first."""
        if pair not in known:
            raise fastapi.HTTPException(404, f"no pair {pair}; there are {', '.join(known)}")
        return snapshot.explain(pair)

    return router
