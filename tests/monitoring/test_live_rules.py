"""A real Prometheus over a run in real processes: every rule can be computed, and nothing fires that is no news."""

import json
import os
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from scripts.drill.rule_files import PROMETHEUS, groups, rules_of
from scripts.drill.sinks import eventually
from scripts.embedded.plan import SERVICES
from tests.conftest import free_ports
from tests.levels import all_level
from tests.monitoring.tools import require_tool
from tests.system.demo import QUICK, Demo
from tests.system.recordings import cut_ticks

SECONDS = 60
#: What need not be there: nobody trades within a minute, and nobody is called.
WITHOUT_TRADES = {"pair:crypto_bot_orders_filled:ratio_increase1h"}
#: A busy machine is late, and there is no Alertmanager here.
LATE = re.compile(r"Watchdog|Latency\w+|LedgerSlow|SlowSteps|FeedBehind|SignalsLate|AlertsNotDelivered|ErrorsLogged")


class Server(NamedTuple):
    """A Prometheus."""

    url: str

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule as it stands."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def values(self, expression: str) -> list[float]:
        """What an expression gives now."""
        return [float(each["value"][1]) for each in self.ask("query", query=expression)["result"]]


@contextmanager
def watching(folder: Path, ports: Mapping[str, int], alertmanager_port: int = 0) -> Iterator[Server]:
    """The project's configuration, but for where the services are, and faster; itself in the place of Alertmanager where there is none."""
    (port,) = free_ports(1)
    text = (PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8")
    text = re.sub(r"dns_sd_configs: \[\{names: \[([\w-]+)\][^]]*\]", lambda found: f'static_configs: [{{targets: ["127.0.0.1:{ports[found[1]]}"]}}]', text)
    text = text.replace("localhost:9090", f"127.0.0.1:{port}").replace("alertmanager:9093", f"127.0.0.1:{alertmanager_port or port}")
    text = re.sub(r"(scrape_interval|scrape_timeout|evaluation_interval): \ds", r"\1: 2s", text)
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")
    shutil.copytree(PROMETHEUS / "rules", folder / "rules")
    options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    environment = {**os.environ, "GRAFANA_URL": "http://grafana.test", "RUNBOOK_URL": "http://runbook.test"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([require_tool("prometheus"), *options], env=environment, stdout=log, stderr=log)
    try:
        yield Server(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(20)


def is_watched(server: Server) -> bool | None:
    """Whether all five services have been scraped, and risk-manager has closed a bar."""
    try:
        return (len(server.values('up{job=~".+-service"} == 1')) == len(SERVICES) and bool(server.values("crypto_bot_pair_healthy"))) or None
    except OSError:
        return None


@all_level
def test_every_rule_is_computed_over_a_run_and_nothing_fires_without_a_cause(tmp_path: Path) -> None:
    """No rule fails, every recorded series has a value, and of the alerts only those about a slow machine may fire."""
    require_tool("prometheus")
    recording = cut_ticks(tmp_path / "recording", SECONDS)
    (tmp_path / "prometheus").mkdir()
    with Demo(tmp_path / "demo", ["--recording", str(recording), "--speed", "1"], {**QUICK, "BAR_INTERVAL_SECONDS": "1"}) as demo:
        with watching(tmp_path / "prometheus", {name: demo.port(name) for name in SERVICES}) as server:
            eventually(lambda: is_watched(server), "all services scraped", SECONDS)
            recorded = [rule.name for group in groups() for rule in rules_of(group) if rule.kind == "record"]
            eventually(lambda: {name for name in recorded if not server.values(name)} <= WITHOUT_TRADES or None, "a value of each recorded series", SECONDS)
            rules = server.rules()
        assert {rule["name"]: rule["lastError"] for rule in rules if rule["health"] == "err"} == {}
        firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
        assert "Watchdog" in firing
        assert [name for name in firing if not LATE.fullmatch(name)] == []
