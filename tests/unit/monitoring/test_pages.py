"""Every page over HTTP servers that answer what the services' own code says: with data, without, with a source that is away."""

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from common.messages import Action, CommandKind, Decision, Fill, RoundTrip
from monitoring.streamlit import client, data, direct
from monitoring.streamlit.app import PAGES
from monitoring.streamlit.data import SERVICES
from services.execution import views
from tests.unit.execution.builders import PAIR, Desk
from tests.unit.execution.test_history import trade as round_trip
from tests.unit.monitoring.stage import PROMETHEUS, Stage, bars, health, judge, trade
from tests.unit.risk_manager import builders as risk_builders

Show = Callable[..., AppTest]


@pytest.fixture(scope="module")
def desk() -> Desk:
    """A round trip, and a position that is open."""
    made = Desk()
    made.warm()
    round_trip(made, 1001)
    made.tick(1011, 1, risk=None)
    return made


@pytest.fixture
def played(stage: Stage, desk: Desk, tmp_path: Path) -> Stage:
    """Services that have traded and judged."""
    trade(stage, desk, tmp_path)
    judge(stage, *bars(10_000, 9_800))
    return stage


def tables(page: AppTest) -> dict[str, list[dict[Any, Any]]]:
    """The rows of each table, by the first names of its columns."""
    return {str(table.value.columns[0]): table.value.to_dict("records") for table in page.dataframe}


def said(page: AppTest) -> str:
    """All texts that help on."""
    return "\n".join(each.value for kind in (page.info, page.caption, page.warning, page.error, page.success) for each in kind)


def charts(page: AppTest) -> int:
    """How many charts are drawn."""
    return len(page.get("arrow_vega_lite_chart")) + len(page.get("vega_lite_chart"))


# --- with data -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("played")
def test_overview_shows_profit_to_the_cent(show: Show, desk: Desk) -> None:
    """Totals as execution has them, three charts, a row a pair with its verdict and both legs."""
    page = show()
    total = views.profit({PAIR: desk.state})["total"]
    assert [(metric.label, metric.value) for metric in page.metric] == [
        (f"{name.capitalize()}, USD", f"{Decimal(total[f'{name}_usd']['usd']):,.2f}") for name in ("net", "gross", "fees", "funding", "unrealised", "equity")
    ]
    (row,) = tables(page)["pair"]
    assert [row[name] for name in ("pair", "state", "verdict", "y leg")] == [PAIR, "IDLE", "ACTIVE", "0 ETHUSDT"]
    assert f"{row['net']:,.2f}" == page.metric[0].value
    assert charts(page) == 3
    assert not page.error
    assert not page.warning


@pytest.mark.usefixtures("played")
def test_overview_shows_the_whole_ledger(show: Show) -> None:
    """Equity of every bar close that the ledger has, in event time."""
    page = show()
    page.button_group[0].set_value("whole ledger").run()
    assert not page.exception
    assert charts(page) == 3


@pytest.mark.usefixtures("played")
def test_pair_names_the_gate_that_blocks(show: Show, desk: Desk) -> None:
    """State, verdict, z and the gate in large; every gate with value and limit; seven charts."""
    page = show("pair", pair=PAIR)
    explained = views.explain(desk.params, desk.state)
    assert [metric.value for metric in page.metric][:2] == [explained["state"], explained["verdict"]]
    assert page.metric[4].value == explained["blocking_gate"]
    rows = tables(page)["gate"]
    assert [row["gate"] for row in rows] == [gate["name"] for gate in explained["gates"]]
    assert [row["gate"] for row in rows if row["verdict"] == "BLOCKS"] == [explained["blocking_gate"]]
    assert charts(page) == 7


def test_pair_shows_whatever_execution_tells_of_a_gate(played: Stage, show: Show) -> None:
    """Fields that are added later become columns, and those of the pair a line."""
    told = played.execution.answers[f"/pairs/{PAIR}/explain"]
    gates = [{**gate, "distance": 0.5, "unit": "z", "evidence": {"deep": 1}} for gate in told["gates"]]
    played.execution.answers[f"/pairs/{PAIR}/explain"] = {**told, "gates": gates, "since_bar": 7}
    page = show("pair")
    assert tables(page)["gate"][0]["distance"] == "0.5"
    assert "since bar: 7" in said(page)


@pytest.mark.usefixtures("played")
def test_trades_show_the_ledger_to_the_cent(show: Show, desk: Desk) -> None:
    """The round trip's net, fees and slippage, the reasons of both decisions, and every fill with its fee, are the ledger's."""
    page = show("trades")
    (trip,) = desk.of(RoundTrip)
    (row,) = tables(page)["pair"]
    assert (f"{row['net']:.2f}", f"{row['fees']:.2f}") == (f"{trip.net_usd:.2f}", f"{trip.fees_usd:.2f}")
    fills = desk.of(Fill)
    for table in page.dataframe[-2:]:
        assert sorted(f"{each['fee']:.2f}" for each in table.value.to_dict("records")) == sorted(f"{fill.fee_usd:.2f}" for fill in fills)
    shown = "\n".join(each.value for each in page.markdown)
    assert [decision.reason for decision in desk.of(Decision) if decision.reason not in shown] == []


@pytest.mark.parametrize(("key", "value", "left"), [("direction", "ENTER_SHORT", True), ("direction", "ENTER_LONG", False), ("closed", "STOP", False)])
@pytest.mark.usefixtures("played")
def test_trades_can_be_filtered(show: Show, key: str, value: str, left: bool) -> None:
    """What a filter does not let through is gone, and the page says so."""
    page = show("trades")
    page.selectbox(key=key).set_value(value).run()
    assert ("pair" in tables(page)) is left
    assert ("choose other filters" in said(page)) is not left


@pytest.mark.usefixtures("played")
def test_risk_shows_limits_halts_and_commands(show: Show) -> None:
    """Losses against their limits, every rule, the verdicts over time."""
    page = show("risk")
    assert [(bar.proto.value, bar.proto.text) for bar in page.get("progress")] == [
        (20, "Drawdown from the high-water mark: 2.00%, limit 10.00%"),
        (40, "Loss since the start of the UTC day: 2.00%, limit 5.00%"),
    ]
    assert "No halt is in force." in said(page)
    assert charts(page) == 2
    rules = next(table.value for table in page.dataframe if "rule" in table.value.columns)
    assert {"drawdown", "daily-loss", "changepoint"} <= set(rules["rule"])


def test_a_halt_says_who_and_why(stage: Stage, show: Show) -> None:
    """It stands out, and the command that made it is in the log."""
    judge(stage, risk_builders.command(1, CommandKind.HALT), *bars(10_000))
    page = show("risk")
    assert "Halts in force: 1" in page.warning[0].value
    assert [(row["target"], row["who"], row["why"]) for row in tables(page)["target"]] == [("portfolio", "ann", "drill")]
    assert [(row["kind"], row["applied"]) for row in tables(page)["id"]] == [("halt", True)]


@pytest.mark.usefixtures("played")
def test_queries_answer_as_chart_and_table(show: Show) -> None:
    """A shared address brings its expression; the table has the newest value of each series under its labels."""
    page = show("queries", query=f'crypto_bot_threshold_z{{pair="{PAIR}"}}', range="1 h")
    assert page.text_area[0].value == f'crypto_bot_threshold_z{{pair="{PAIR}"}}'
    rows = tables(page)["__name__"]
    assert {row["threshold"]: row["newest"] for row in rows} == {"entry": 2.0, "exit": 0.5, "stop": 5.0}
    assert charts(page) == 1
    page.selectbox(key="example").set_value(page.selectbox(key="example").options[1]).run()
    assert page.text_area[0].value == page.query_params["query"] == "crypto_bot_threshold_z"


@pytest.mark.usefixtures("played")
def test_queries_explain_what_cannot_be_evaluated(show: Show) -> None:
    """Prometheus' own words, on the page."""
    assert "parse error" in show("queries", query="sum(").error[0].value


def test_system_shows_every_service(played: Stage, show: Show) -> None:
    """State, lag and latency of each; a check that fails is told with its problem."""
    played.servers["garch-volatility-service"].answers["/health"] = (503, health("garch-volatility-service", well=False))
    page = show("system")
    services, failing = (table.value.to_dict("records") for table in page.dataframe[:2])
    assert [row["service"] for row in services] == [*SERVICES]
    assert [row["service"] for row in services if "not ready" in row["state"]] == ["garch-volatility-service"]
    assert [(row["service"], row["problem"]) for row in failing] == [("garch-volatility-service", "nothing read for 31 s")]
    assert page.metric[0].value == "1.25 ms"
    assert charts(page) == 3


# --- without data ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("overview", "No bar has closed yet"),
        ("pair", "has told of no pair yet"),
        ("trades", "No round trip yet"),
        ("risk", "no bar close yet"),
        ("queries", "has no value in this range"),
        ("system", "no tick has been decided"),
    ],
)
def test_a_page_without_data_says_what_to_do(stage: Stage, show: Show, name: str, words: str) -> None:
    """Services that have just started give hints, and neither errors nor empty charts."""
    stage.execution.answers["/info"] = {"details": {}}
    page = show(name)
    assert words in said(page)
    assert not page.error
    assert not page.warning


# --- a source that is away -------------------------------------------------------------------------------------------


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


# --- control ---------------------------------------------------------------------------------------------------------


def order(page: AppTest, kind: str, **fields: str) -> AppTest:
    """Fill the form and send it."""
    page.radio(key="kind").set_value(kind)
    for name, value in fields.items():
        page.text_input(key=name).set_value(value)
    return page.button[0].click().run()


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize(("fields", "missing"), [({}, "your name, the reason, the token are"), ({"who": "ann", "token": "t"}, "the reason is")])
def test_nothing_is_sent_without_name_reason_and_token(played: Stage, show: Show, fields: dict[str, str], missing: str) -> None:
    """What is missing is named."""
    page = order(show("risk"), "halt", **fields)
    assert f"Nothing was sent: {missing} missing." in said(page)
    assert not played.risk_manager.posted


def test_flatten_is_asked_for_twice(played: Stage, show: Show) -> None:
    """Closing positions needs a tick besides."""
    page = order(show("risk"), "flatten", who="ann", why="news", token="t")
    assert "the tick that says you are sure is missing" in said(page)
    assert not played.risk_manager.posted


def test_a_halt_is_sent_with_the_token(played: Stage, show: Show) -> None:
    """The command carries who, why and target; what risk-manager answers is shown."""
    played.risk_manager.answers["/halt"] = (202, {"id": 7, "kind": "halt", "pair": "portfolio", "obeyed": "from the signals of the next bar close on"})
    page = order(show("risk"), "halt", who="ann", why="news", token="secret")
    assert "Command 7 is written down: halt portfolio" in said(page)
    ((path, authorization, body),) = played.risk_manager.posted
    assert (path, authorization) == ("/halt", "Bearer secret")
    assert '"who": "ann", "why": "news"' in body


def test_a_refusal_is_shown(played: Stage, show: Show) -> None:
    """A wrong token is told in risk-manager's words."""
    played.risk_manager.answers["/halt"] = (401, {"error": "send the header 'Authorization: Bearer <token>'"})
    page = order(show("risk"), "halt", who="ann", why="news", token="wrong")
    assert "refuses it (401): send the header" in said(page)


def test_every_action_of_an_exit_can_be_chosen() -> None:
    """The filter of the page knows each way to leave."""
    text = (Path(__file__).parents[3] / "monitoring/streamlit/screens/trades.py").read_text(encoding="utf-8")
    assert [action for action in Action if f'"{action}"' not in text] == []
