"""The page P&L, fed over HTTP with what the services' own views say."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from streamlit.testing.v1 import AppTest

from common.messages import CommandKind, OrderEvent
from monitoring.streamlit import client
from services.execution import views
from services.risk_manager.core import Input
from services.risk_manager.state import initial
from services.risk_manager.views import describe
from tests.repo.tree import ROOT
from tests.unit.execution.builders import FIRST_BAR, PAIR, Desk, signal
from tests.unit.risk_manager import builders as risk_builders
from tests.unit.risk_manager.test_core import bar_of, run

RISK_PARAMS = risk_builders.params(pairs=(PAIR,))
NOTHING = {"/pnl": views.profit({}), "/positions": views.positions({}, {}), "/orders": views.orders((), 20), "/state": {}}


class Server(ThreadingHTTPServer):
    """Answers both services' pages from a dictionary; a missing page is 404, None is an answer that never comes."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: dict[str, Any] = dict(NOTHING)
        self.ended = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path not in self.server.answers:
            self.send_error(404)
        elif (answer := self.server.answers[path]) is None:
            self.server.ended.wait()
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(msgspec.json.encode(answer))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("EXECUTION_URL", made.address)
        monkeypatch.setenv("RISK_MANAGER_URL", f"{made.address}/")
        yield made
        made.ended.set()
        made.shutdown()
        thread.join()


def show() -> AppTest:
    page = AppTest.from_file(str(ROOT / "monitoring" / "streamlit" / "app.py"), default_timeout=60).run()
    assert not page.exception
    return page


def traded() -> dict[str, Any]:
    """Execution's answers with a pair that is short of y and long of x."""
    desk = Desk()
    desk.warm()
    for second in (1, 2, 3):
        desk.tick(FIRST_BAR + 1, second, risk=signal(FIRST_BAR) if second == 1 else None, z=3)
    orders = {order.client_id: order for order in desk.of(OrderEvent)}
    states = {PAIR: desk.state}
    return {"/pnl": views.profit(states), "/positions": views.positions({PAIR: desk.params}, states), "/orders": views.orders((*orders.values(),), 20)}


def judged(*inputs: Input) -> dict[str, Any]:
    """Risk-manager's answer after some inputs."""
    state, _ = run(RISK_PARAMS, inputs, initial(RISK_PARAMS))
    return {"/state": describe(RISK_PARAMS, state, ())}


def bars(*equities: int) -> list[Input]:
    return [message for bar, equity in enumerate(equities) for message in bar_of(bar, (equity,), (PAIR,))]


def test_it_shows_profit_positions_orders_and_risk(server: Server) -> None:
    """Totals to the cent, a row a pair with both legs and its verdict, the newest order first, losses against their limits."""
    server.answers |= traded() | judged(*bars(10_000, 9_800))
    page = show()
    total = server.answers["/pnl"]["total"]
    assert {metric.label: metric.value for metric in page.metric} == {
        name.capitalize(): f"{float(total[f'{name}_usd']['usd']):,.2f}" for name in ("net", "gross", "fees", "funding", "unrealised", "equity")
    }
    assert page.metric[2].value.startswith("-")
    pairs, orders = (table.value.to_dict("records") for table in page.dataframe)
    assert [[row[name] for name in ("pair", "state", "verdict", "because of", "y leg", "x leg")] for row in pairs] == [
        [PAIR, "OPEN", "ACTIVE", "", "-2.5 ETHUSDT", "0.099 BTCUSDT"]
    ]
    assert f"{pairs[0]['net']:,.2f}" == page.metric[0].value
    assert [(row["time (UTC)"], row["symbol"], row["side"], row["status"]) for row in orders] == [
        ("1970-01-01 16:41:03", "BTCUSDT", "BUY", "FILLED"),
        ("1970-01-01 16:41:02", "ETHUSDT", "SELL", "FILLED"),
    ]
    assert [(bar.proto.value, bar.proto.text) for bar in page.get("progress")] == [
        (20, "Drawdown from the high-water mark: 2.00%, limit 10.00%"),
        (40, "Loss since the start of the UTC day: 2.00%, limit 5.00%"),
    ]
    assert "No halt is in force." in [caption.value for caption in page.caption]
    assert not page.error


def test_before_anything_has_happened_it_says_so(server: Server) -> None:
    """Services that have just started give three hints and totals of zero, no error."""
    page = show()
    assert [metric.value for metric in page.metric] == ["0.00"] * 6
    pairs, orders, risk = (info.value for info in page.info)
    assert "no pair yet" in pairs
    assert "No order yet" in orders
    assert f"{server.address}/pairs/PAIR/explain" in orders
    assert "no bar close yet" in risk
    assert not page.error


def test_a_pair_that_has_not_traded_is_shown(server: Server) -> None:
    """Before the first order the pair has its row, flat, while risk-manager has not yet judged it."""
    desk = Desk()
    server.answers |= {"/pnl": views.profit({PAIR: desk.state}), "/positions": views.positions({PAIR: desk.params}, {PAIR: desk.state})} | judged()
    page = show()
    (pairs,) = page.dataframe
    assert pairs.value[["state", "verdict", "y leg", "x leg", "equity"]].to_numpy().tolist() == [["IDLE", "unknown", "0 ETHUSDT", "0 BTCUSDT", 100_000.0]]
    assert "No order yet" in page.info[0].value


@pytest.mark.parametrize("close", [bar_of(1, (10_000,), (PAIR,)), [risk_builders.mark(PAIR, 1)]], ids=["judged", "before-the-first-signal"])
def test_halts_show_who_and_why(server: Server, close: list[Input]) -> None:
    """Every halt names its target, its rule, who ordered it and why, with the way to lift it."""
    server.answers |= judged(risk_builders.command(1, CommandKind.HALT), *close)
    page = show()
    assert page.dataframe[0].value.to_dict("records") == [{"target": "portfolio", "verdict": "HALTED", "rule": "operator", "who": "ann", "why": "drill"}]
    assert f"POST {server.address}/resume" in page.warning[0].value


def test_a_loss_beyond_its_limit_fills_the_bar(server: Server) -> None:
    """The bar ends at its limit; the pair says which rules hold it."""
    server.answers |= traded() | judged(*bars(10_000, 7_000))
    page = show()
    assert [bar.proto.value for bar in page.get("progress")] == [100, 100]
    assert page.dataframe[0].value[["verdict", "because of"]].to_numpy().tolist() == [["FLATTEN", "drawdown"]]


@pytest.mark.parametrize(
    ("variable", "service", "still_shown"),
    [("EXECUTION_URL", "execution-service", "progress"), ("RISK_MANAGER_URL", "risk-manager-service", "metric")],
)
def test_a_service_that_is_away_hides_only_its_part(server: Server, monkeypatch: pytest.MonkeyPatch, variable: str, service: str, still_shown: str) -> None:
    """The text names the service, its address and the command that starts it; the other service's part is there."""
    with Server() as closed:
        address = closed.address
    server.answers |= traded() | judged(*bars(10_000))
    monkeypatch.setenv(variable, address)
    page = show()
    (error,) = page.error
    assert f"{service} does not answer at {address}" in error.value
    assert "scripts/demo.sh --keep-going" in error.value
    assert f"`{variable}`" in error.value
    assert page.get(still_shown)


def test_a_service_that_hangs_is_away(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer within the time-out is like no connection."""
    monkeypatch.setattr(client, "TIMEOUT_S", 0.05)
    server.answers["/pnl"] = None
    (error,) = show().error
    assert f"execution-service does not answer at {server.address} (timed out)" in error.value


def test_another_program_at_the_address_is_noticed(server: Server) -> None:
    """An answer without the page says which service was expected there."""
    del server.answers["/state"]
    (error,) = show().error
    assert f"{server.address} answers /state with status 404: is it risk-manager-service (`RISK_MANAGER_URL`)?" in error.value


@pytest.mark.parametrize("address", ["127.0.0.1:8003", "https://127.0.0.1:8003", "http://127.0.0.1:8003/pnl"])
def test_a_wrong_address_is_explained(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """What is no plain http address is refused with an example, before anything is asked."""
    monkeypatch.setenv("EXECUTION_URL", address)
    page = show()
    (error,) = page.error
    assert f"EXECUTION_URL='{address}'" in error.value
    assert "EXECUTION_URL=http://127.0.0.1:8003" in error.value
    assert not page.metric


@pytest.mark.usefixtures("server")
def test_the_demos_profile_is_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of the demo's profile say so; with Binance's data the profile is not in force."""
    monkeypatch.setenv("TRADING_PROFILE", "demo")
    assert any("DEMO PROFILE" in each.value for each in show().info)
    monkeypatch.setenv("EXCHANGE", "binance")
    assert not any("DEMO PROFILE" in each.value for each in show().info)
