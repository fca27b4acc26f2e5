"""Dashboards over a run in real processes: whatever they ask a real Prometheus, it has an answer."""

import json
import math
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from scripts.dashboards.boards import documents
from scripts.drill.receivers import CONFIGURATION, render
from scripts.drill.sinks import eventually
from scripts.embedded.plan import SERVICES
from tests.conftest import free_ports
from tests.levels import all_level
from tests.monitoring.dashboard_lint import panels
from tests.monitoring.test_live_rules import Server, is_watched, watching
from tests.monitoring.tools import require_alertmanager, require_tool
from tests.system.demo import QUICK_TICKS, Demo
from tests.system.recordings import add_nonsense, cut_ticks

PAIR = "ETHUSDT-BTCUSDT"
RECORDED_S, SPEED = 150, "2"
PATIENCE_S = 75.0
TOKEN = "a token of the test alone"
SETTINGS = {**QUICK_TICKS, "BAR_INTERVAL_SECONDS": "1", "CONTROL_TOKEN": TOKEN}
#: What Grafana puts in the place of a variable, of a window at its finest four scrapes, here of the five seconds of production.
CHOSEN = {"pair": PAIR, "service": ".+", "__rate_interval": "20s"}
STEP_S = 5


class Asked(NamedTuple):
    """An expression of a dashboard as Prometheus gets it, and what its series are called."""

    where: str
    expression: str
    legend: str


def asked() -> Iterator[Asked]:
    """Every expression of every panel and annotation."""
    for name, document in documents().items():
        for panel in panels(document):
            yield from (Asked(f"{name}: {panel['title']}", chosen(target["expr"]), target["legendFormat"]) for target in panel["targets"])
        for annotation in document["annotations"]["list"]:
            if "expr" in annotation:
                yield Asked(f"{name}: {annotation['name']}", chosen(annotation["expr"]), annotation["titleFormat"] + annotation["textFormat"])


def chosen(expression: str) -> str:
    """With the variables replaced."""
    return re.sub(r"\$(\w+)", lambda found: CHOSEN[found[1]], expression)


@contextmanager
def alerted(folder: Path) -> Iterator[int]:
    """The port of a real Alertmanager as development has it: nobody is called."""
    (port,) = free_ports(1)
    (folder / "alertmanager.yml").write_text(render(folder / "none", {}).stdout, encoding="utf-8")
    options = [f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*require_alertmanager(folder, CONFIGURATION), *options, "--cluster.listen-address="], stdout=log, stderr=log)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(20)


def problem(server: Server, each: Asked, since: float) -> str:
    """What is wrong with the answer to an expression: nothing finite, or a legend that names no label of it."""
    found = server.ask("query_range", query=each.expression, start=f"{since:.3f}", end=f"{time.time():.3f}", step=str(STEP_S))["result"]
    series = [one for one in found if any(math.isfinite(float(value)) for _, value in one["values"])]
    if not series:
        return f"{each.where}: no data of {each.expression}"
    labels = {label for one in series for label in one["metric"]}
    missing = set(re.findall(r"\{\{(\w+)\}\}", each.legend)) - labels
    return f"{each.where}: the legend names {missing}, which {each.expression} does not give" if missing else ""


def problems(server: Server, since: float) -> list[str]:
    """Every expression and every choice without an answer."""
    found = [problem(server, each, since) for each in asked()]
    for name, document in documents().items():
        for variable in document["templating"]["list"]:
            if variable["type"] == "query":
                ((metric, label),) = re.findall(r"^label_values\((\w+), (\w+)\)$", variable["query"]["query"])
                values = server.ask(f"label/{label}/values", **{"match[]": metric})
                found.append("" if values else f"{name}: nothing to choose of {variable['name']}")
    return list(filter(None, found))


def command(demo: Demo, kind: str) -> None:
    """What an operator says to risk-manager."""
    body: dict[str, Any] = {"pair": "portfolio", "who": "a test", "why": "to see it on a dashboard"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{demo.port('risk-manager-service')}/{kind}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=10).close()


def live_through_it(demo: Demo, server: Server) -> None:
    """A round trip, a halt that is lifted again, and a service that is killed and comes back."""

    def holds(expression: str) -> None:
        eventually(lambda: server.values(expression) or None, expression, PATIENCE_S)

    eventually(lambda: is_watched(server), "all services scraped", PATIENCE_S)
    holds("sum(crypto_bot_round_trips_total) > 0")
    command(demo, "halt")
    holds('ALERTS{alertname="TradingHalted",alertstate="firing"}')
    command(demo, "resume")
    holds("crypto_bot_risk_halts == 0")
    demo.kill("garch-volatility-service")
    holds('changes(process_start_time_seconds{job="garch-volatility-service"}[1m]) > 0')


@all_level
def test_every_expression_of_every_dashboard_has_an_answer(tmp_path: Path) -> None:
    """Panels, annotations and choices give data over a run with trades, a halt, a restart and dead letters; legends name labels that are there."""
    require_tool("prometheus")
    for name in ("prometheus", "alertmanager"):
        (tmp_path / name).mkdir()
    recording = cut_ticks(tmp_path / "recording", RECORDED_S)
    add_nonsense(recording)
    since = time.time()
    with (
        alerted(tmp_path / "alertmanager") as port,
        Demo(tmp_path / "demo", ["--recording", str(recording), "--speed", SPEED], SETTINGS) as demo,
        watching(tmp_path / "prometheus", {name: demo.port(name) for name in SERVICES}, port) as server,
    ):
        live_through_it(demo, server)
        # Until windows are filled and what was killed has caught up; each round takes a second.
        give_up_at = time.monotonic() + PATIENCE_S
        while (found := problems(server, since)) and time.monotonic() < give_up_at:
            continue
    assert not found, "\n".join(found)
