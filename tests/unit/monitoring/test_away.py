"""Every page with a source that is away, slow, strange or not there: what it says, and what it goes on showing."""

import itertools
import re
from decimal import Decimal

import pytest

from monitoring.streamlit import client, data, direct
from monitoring.streamlit.app import PAGES
from monitoring.streamlit.data import SERVICES
from services.execution import views
from tests.unit.monitoring.looks import Show, charts, said
from tests.unit.monitoring.stage import PROMETHEUS, Stage, info


@pytest.mark.parametrize("name", ["overview", "pair", "trades", "system"])
def test_a_page_keeps_what_it_had_when_execution_dies(played: Stage, show: Show, name: str) -> None:
    """All figures stay; the text names the service, its address, what to do, and how old they are."""
    page = show(name)
    before = [metric.value for metric in page.metric]
    address = played.execution.address
    played.close("execution-service")
    page.run()
    assert not page.exception
    assert [metric.value for metric in page.metric] == before
    (warning,) = {each.value for each in page.warning if "execution-service does not answer" in each.value}
    assert address in warning
    assert "scripts/demo.sh --keep-going" in warning
    assert re.search(r"what it said \d+ s ago", warning)


@pytest.mark.parametrize("name", ["overview", "pair", "risk", "queries", "system"])
def test_a_page_keeps_its_charts_when_prometheus_dies(played: Stage, show: Show, name: str) -> None:
    """The charts stay, labelled."""
    page = show(name)
    before = charts(page)
    played.close(PROMETHEUS)
    page.run()
    assert charts(page) == before
    assert any("Prometheus does not answer" in each.value for each in page.warning)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_finds_nobody_says_so(stage: Stage, show: Show, name: str) -> None:
    """With everything away from the start there are errors that name the commands, and no exception."""
    for each in (*SERVICES, PROMETHEUS):
        stage.close(each)
    page = show(name)
    assert page.error
    assert all("does not answer at" in each.value for each in page.error)


@pytest.mark.parametrize("name", [name for name in PAGES if name != "trades"])
def test_a_prometheus_that_gives_up_takes_only_the_charts(played: Stage, show: Show, name: str) -> None:
    """A time-out inside Prometheus lies not with the expression: the page says so and shows what others tell."""
    broke_off = (503, {"status": "error", "errorType": "timeout", "error": "query timed out in expression evaluation"})
    played.servers[PROMETHEUS].answers |= dict.fromkeys(("/api/v1/query", "/api/v1/query_range"), broke_off)
    page = show(name)
    assert "broke off (`query timed out in expression evaluation`)" in page.error[0].value
    assert bool(page.metric) is (name != "queries")


def test_a_prometheus_that_starts_says_so(played: Stage, show: Show) -> None:
    """It answers without JSON while it reads what it has written."""
    played.servers[PROMETHEUS].answers["/api/v1/query_range"] = (503, "Service Unavailable")
    assert "is still starting (status 503)" in show().error[0].value


@pytest.mark.usefixtures("stage")
def test_only_queries_wait_long_for_prometheus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that asks for its own figures stands still no longer than for a service."""
    waited: list[float] = []

    def ask(self: client.Client, *_: object, **__: object) -> client.Reply:
        waited.append(self.timeout_s)
        return client.Reply(200, b"{}")

    monkeypatch.setattr(client.Client, "_ask", ask)
    data.desk().over("z", 5)
    data.desk().query("z", 5)
    assert waited == [client.TIMEOUT_S, data.QUERY_TIMEOUT_S]


def test_figures_are_those_of_the_active_replica(played: Stage, show: Show) -> None:
    """Behind a gateway that takes turns a standby is asked past; where there is no other, the page says whose figures they are."""
    active = played.execution.answers["/pnl"]
    standby = {**views.profit({}), "role": "standby", "event_time_ns": 10**18}
    turns = iter([standby, active])
    played.execution.answers["/pnl"] = lambda _body: next(turns)
    page = show()
    assert page.metric[0].value == f"{Decimal(active['total']['net_usd']['usd']):,.2f}"
    assert not page.warning
    played.execution.answers["/pnl"] = standby
    (warning,) = page.run().warning
    assert "one that is standby: figures are those of the ledger, of 2001-09-09 01:46:40" in warning.value


def test_latencies_are_those_of_the_active_replica(played: Stage, show: Show) -> None:
    """A standby has measured none."""
    turns = itertools.cycle([{**info(), "role": "standby", "details": {}}, {**info(), "role": "active"}])
    played.execution.answers["/info"] = lambda _body: next(turns)
    assert show("system").metric[0].value == "1.25 ms"


@pytest.mark.usefixtures("played")
def test_an_answer_without_end_is_not_read(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too long is told, and the other figures stay."""
    monkeypatch.setattr(client, "MOST_BYTES", 50)
    assert "than the 0 MB that a page takes" in show().error[0].value


def test_a_service_says_why_it_has_no_answer(played: Stage, show: Show) -> None:
    """Such as a ledger that cannot be read now; profit is told all the same."""
    played.execution.answers["/round-trips"] = (503, {"error": "the ledger cannot be read now (locked); try again"})
    page = show("trades")
    assert "with status 503 (`the ledger cannot be read now (locked); try again`)" in page.error[0].value
    assert "Newest fills" in [each.value for each in page.subheader]


def test_the_remedy_is_the_one_of_the_deployment() -> None:
    """Whoever runs containers has no demo to start."""
    assert "scripts/demo.sh" in client.Client("execution-service", "EXECUTION_URL", "http://127.0.0.1:8003").remedy
    assert "scripts/deploy.sh logs execution-service" in client.Client("execution-service", "EXECUTION_URL", "http://gateway:8003").remedy


def test_a_service_that_hangs_is_away(played: Stage, show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer within the time-out is like no connection."""
    monkeypatch.setattr(client, "TIMEOUT_S", 0.05)
    played.execution.answers["/pnl"] = None
    assert "(timed out)" in show().error[0].value


def test_another_program_at_the_address_is_noticed(played: Stage, show: Show) -> None:
    """An answer without the page says which service was expected there."""
    del played.risk_manager.answers["/state"]
    assert f"{played.risk_manager.address} answers /state with status 404: is it risk-manager-service (`RISK_MANAGER_URL`)?" in show("risk").error[0].value


@pytest.mark.parametrize("address", ["127.0.0.1:8003", "https://127.0.0.1:8003", "http://127.0.0.1:8003/pnl"])
def test_a_wrong_address_is_explained(monkeypatch: pytest.MonkeyPatch, show: Show, address: str) -> None:
    """What is no plain http address is refused with an example, before anything is asked."""
    monkeypatch.setenv("EXECUTION_URL", address)
    (error,) = show().error
    assert f"EXECUTION_URL='{address}'" in error.value
    assert "EXECUTION_URL=http://127.0.0.1:8003" in error.value


@pytest.mark.usefixtures("stage")
def test_the_demos_profile_is_labelled(monkeypatch: pytest.MonkeyPatch, show: Show) -> None:
    """Figures of the demo's profile say so; with Binance's data the profile is not in force."""
    monkeypatch.setenv("TRADING_PROFILE", "demo")
    assert "DEMO PROFILE" in said(show())
    monkeypatch.setenv("EXCHANGE", "binance")
    assert "DEMO PROFILE" not in said(show())


# --- without Prometheus ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize(("name", "drawn"), [("overview", 3), ("pair", 7), ("risk", 2), ("queries", 1), ("system", 3)])
def test_without_prometheus_the_services_own_metrics_are_read(show: Show, monkeypatch: pytest.MonkeyPatch, name: str, drawn: int) -> None:
    """The same charts, out of the short history that the page keeps by itself."""
    monkeypatch.setenv("PROMETHEUS_URL", "")
    monkeypatch.setattr(direct, "SCRAPE_INTERVAL_S", 0.0)
    monkeypatch.setattr(data, "SAMPLES", 10**12)
    monkeypatch.setattr(data, "LEAST_STEP_S", 0.0)
    page = show(name)
    page.run()
    assert charts(page) == drawn
    assert not page.error
    assert not {"1 h", "6 h", "24 h"} & {option.content for group in page.button_group for option in group.proto.options}
