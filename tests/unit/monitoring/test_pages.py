"""Every page over HTTP servers that answer what the services' own code says: with data, and without."""

import csv
import io
from decimal import Decimal
from pathlib import Path

import pytest

from common.costs import to_cents
from common.messages import Action, CommandKind, Decision, Fill, RoundTrip
from monitoring import palette
from monitoring.streamlit import client, data
from monitoring.streamlit.data import SERVICES
from monitoring.streamlit.trips import ALL, Choice, csv_of
from services.execution import views
from services.risk_manager.rules import RULES
from tests.repo.tree import ROOT
from tests.unit.execution.builders import PAIR, Desk
from tests.unit.monitoring.looks import Show, charts, drawn, said, tables
from tests.unit.monitoring.stage import PROMETHEUS, Stage, bars, health, judge
from tests.unit.risk_manager import builders as risk_builders

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


def test_overview_shows_the_whole_ledger(played: Stage, show: Show) -> None:
    """Equity of every bar close that the ledger has, in event time."""
    page = show()
    page.button_group[0].set_value("whole ledger").run()
    assert not page.exception
    told = played.execution.answers["/equity"]["equity"]
    equities = drawn(page)
    assert equities["value"] == [float(to_cents(Decimal(each["equity_usd"]))) for each in told]
    assert equities["time"] == [each["event_time_ns"] / 1e6 for each in told]


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
    shown = drawn(page)
    assert {name: value for name, value in zip(shown["series"], shown["value"], strict=True) if name in {"z", "+entry"}} == {"z": explained["z"], "+entry": 2.0}


def test_pair_shows_whatever_execution_tells_of_a_gate(played: Stage, show: Show) -> None:
    """Fields that are added later become columns, and those of the pair a line."""
    told = played.execution.answers[f"/pairs/{PAIR}/explain"]
    gates = [{**gate, "distance": 0.5, "unit": "z", "evidence": {"deep": 1}} for gate in told["gates"]]
    played.execution.answers[f"/pairs/{PAIR}/explain"] = {**told, "gates": gates, "since_bar": 7}
    page = show("pair")
    assert tables(page)["gate"][0]["distance"] == 0.5
    assert not {"number", "limit_number"} & set(tables(page)["gate"][0])
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
    """What a filter does not let through is gone, and the page says so and among how many it has looked."""
    page = show("trades")
    page.selectbox(key=key).set_value(value).run()
    assert ("pair" in tables(page)) is left
    assert ("No round trip among all 1 is like that" in said(page)) is not left


def test_trades_of_a_pair_are_asked_for_by_pair(played: Stage, show: Show) -> None:
    """However many others are newer; what sums are about is said, and slippage that is not known of all."""
    (trip,) = played.execution.answers["/round-trips"]["round_trips"]
    played.execution.answers["/round-trips"] = {"round_trips": [trip, {**trip, "id": 2, "slippage_usd": None}], "next": 2}
    page = show("trades", pair=PAIR)
    assert {f"/round-trips?limit=50&pair={PAIR}", f"/fills?limit=20&pair={PAIR}"} <= set(played.execution.asked)
    assert f"2 round trips that pass the filters, among the newest 2 of {PAIR}." in said(page)
    assert [metric.label for metric in page.metric][-1] == "Slippage, USD (1 of 2)"
    assert f"Newest fills of {PAIR}" in [each.value for each in page.subheader]


def test_the_file_of_trades_has_the_whole_ledger(played: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page after page, exact, and nothing of it stays in memory."""
    (trip,) = played.execution.answers["/round-trips"]["round_trips"]
    pages = [{"round_trips": [{**trip, "id": number}], "next": number - 1} for number in (3, 2, 1)]
    monkeypatch.setattr(client.Client, "get", lambda _self, _path, **query: pages[{0: 0, 2: 1, 1: 2}[query["before"]]])
    asked = data.desk()
    rows = list(csv.DictReader(io.StringIO(csv_of(asked.all_round_trips(PAIR)))))
    assert [(row["id"], row["net_usd"]) for row in rows] == [(str(number), trip["net_usd"]) for number in (3, 2, 1)]
    assert not asked._kept._answers


@pytest.mark.parametrize(("net_usd", "result", "taken"), [("1", "gains", True), ("0", "gains", False), ("0", "losses", True), ("-1", "all", True)])
def test_a_result_is_a_gain_only_above_nothing(net_usd: str, result: str, taken: bool) -> None:
    """What made nothing has cost its risk."""
    trip = {"pair": PAIR, "direction": "ENTER_LONG", "action": "EXIT", "net_usd": net_usd}
    assert Choice(ALL, ALL, ALL, result).takes(trip) is taken


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
    assert {(what, row) for what, row in zip(drawn(page)["what"], drawn(page)["row"], strict=True)} == {("ACTIVE", PAIR)}
    assert dict(zip(drawn(page, 1)["series"], drawn(page, 1)["value"], strict=True)) == {"drawdown": 2.0, "limit": 10.0}
    rules = next(table.value for table in page.dataframe if "rule" in table.value.columns)
    assert {"drawdown", "daily-loss", "changepoint"} <= set(rules["rule"])
    measured = {row["rule"]: (row["value"], row["limit"]) for row in rules.to_dict("records")}
    assert (measured["drawdown"], measured["gross-exposure"]) == (("2.00 %", "10.00 %"), ("0.00 USD", "50,000.00 USD"))


def test_losses_are_those_of_the_portfolio_now(played: Stage, show: Show) -> None:
    """Not those of a pair's last signal, which may be old, nor are they missing before the first one."""
    state = played.risk_manager.answers["/state"]
    played.risk_manager.answers["/state"] = {**state, "drawdown": 0.07, "pairs": dict.fromkeys(state["pairs"])}
    page = show("risk")
    assert page.get("progress")[0].proto.text == "Drawdown from the high-water mark: 7.00%, limit 10.00%"
    assert "no bar close yet" not in said(page)


def test_every_rule_has_a_unit() -> None:
    """Whoever adds a rule says what it measures."""
    text = (ROOT / "monitoring/streamlit/screens/risk.py").read_text(encoding="utf-8")
    assert [rule.name for rule in RULES if f'    "{rule.name}": (' not in text] == []


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
    assert dict(zip(drawn(page)["series"], drawn(page)["value"], strict=True)) == {"threshold=entry": 2.0, "threshold=exit": 0.5, "threshold=stop": 5.0}
    page.selectbox(key="example").set_value(page.selectbox(key="example").options[1]).run()
    assert page.text_area[0].value == page.query_params["query"] == "crypto_bot_threshold_z"


@pytest.mark.usefixtures("played")
def test_queries_explain_what_cannot_be_evaluated(show: Show) -> None:
    """Prometheus' own words, on the page, in which nothing that an address has brought is a picture or a link."""
    page = show("queries", query="sum(![a](http://evil/i.png)")
    assert "evil" not in said(page)
    assert "parse error" in page.code[-1].value


@pytest.mark.usefixtures("played")
def test_queries_draw_no_more_lines_than_there_are_colours(show: Show) -> None:
    """And say so; the table has all."""
    page = show("queries", query='{__name__=~"crypto_bot_.*"}')
    assert len(palette.SERIES) < len(page.dataframe[0].value)
    assert f"{len(palette.SERIES)} of {len(page.dataframe[0].value)} series are drawn" in said(page)


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


def test_system_shows_what_fires(played: Stage, show: Show) -> None:
    """Each alert with severity and service, the dead man's signal apart."""
    labels = {"alertname": "ServiceDown", "severity": "critical", "service": "execution-service", "alertstate": "firing"}
    found = [{"metric": each, "value": [0, "1"]} for each in (labels, {"alertname": "Watchdog"})]
    played.servers[PROMETHEUS].answers["/api/v1/query"] = {"status": "success", "data": {"result": found}}
    assert tables(show("system"))["alertname"] == [{"alertname": "ServiceDown", "severity": "critical", "service": "execution-service", "pair": "", "job": ""}]


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


def test_every_action_of_an_exit_can_be_chosen() -> None:
    """The filter of the page knows each way to leave."""
    text = (Path(__file__).parents[3] / "monitoring/streamlit/screens/trades.py").read_text(encoding="utf-8")
    assert [action for action in Action if f'"{action}"' not in text] == []
