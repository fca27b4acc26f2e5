"""Dashboards are current, keep the rules, lead everywhere that they should, and are what Grafana is given."""

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from monitoring import palette
from scripts.dashboards.__main__ import main
from scripts.dashboards.boards import BOARDS, documents, places, with_links
from tests.monitoring.dashboard_lint import DATA_SOURCE, panels, problems
from tests.monitoring.test_alerts import ALERTS
from tests.repo.tree import ROOT

Json = dict[str, Any]

DOCUMENTS = documents()
UIDS = [document["uid"] for document in DOCUMENTS.values()]
GRAFANA = ROOT / "monitoring" / "grafana"
HOME = DOCUMENTS["trading.json"]


def test_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    """What Grafana and Prometheus are given is what the code makes, and nothing else lies there."""
    assert main(["--check"]) == 0, capsys.readouterr().err
    assert {path.name for path in (GRAFANA / "dashboards").iterdir()} == set(DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_dashboard_keeps_the_rules(name: str) -> None:
    """Units, titles, descriptions, data source, windows, legends, places, metrics, variables and links are as they must be."""
    assert list(problems(DOCUMENTS[name], UIDS)) == []


def _panel(document: Json) -> Json:
    return next(panel for panel in panels(document) if panel["type"] == "timeseries")


def _expression(document: Json, expression: str) -> None:
    _panel(document)["targets"][0]["expr"] = expression


SPOILT: dict[str, tuple[Callable[[Json], object], str]] = {
    "a foreign form": (lambda it: it.update(spec={}), "classic"),
    "an edited dashboard": (lambda it: it.update(editable=True), "edited"),
    "an id twice": (lambda it: it["panels"][1].update(id=it["panels"][2]["id"]), "id used twice"),
    "a title twice": (lambda it: it["panels"][1].update(title=it["panels"][2]["title"]), "title used twice"),
    "too far right": (lambda it: it["panels"][1]["gridPos"].update(x=22), "24 columns"),
    "one over another": (lambda it: it["panels"][1]["gridPos"].update(x=1), "overlap"),
    "an unknown variable": (lambda it: _expression(it, 'crypto_bot_z{pair=~"$pear"}'), "not there: {'pear'}"),
    "an idle variable": (lambda it: it["templating"]["list"].append({"type": "custom", "name": "idle"}), "nothing uses: {'idle'}"),
    "a variable of a fixed source": (lambda it: it["templating"]["list"][1].update(datasource={"uid": "x"}), "variable pair: asks no"),
    "an annotation of a fixed source": (lambda it: it["annotations"]["list"][1].update(datasource={"uid": "x"}), "annotation Decisions: asks no"),
    "a link to nowhere": (lambda it: it["links"][0].update(url="/d/gone"), "leads to"),
    "a link without time": (lambda it: it["links"][0].update(keepTime=False), "forgets"),
    "a panel's link to nowhere": (lambda it: _panel(it)["fieldConfig"]["defaults"].update(links=[{"url": "/d/gone"}]), "leads to /d/gone"),
    "no description": (lambda it: _panel(it).update(description=""), "description"),
    "a fixed data source": (lambda it: _panel(it)["targets"][0].update(datasource={"uid": "prometheus"}), "chosen data source"),
    "nothing asked": (lambda it: _panel(it).update(targets=[]), "asks nothing"),
    "a reference twice": (lambda it: _panel(it)["targets"].append(_panel(it)["targets"][0]), "refId used twice"),
    "no legend": (lambda it: _panel(it)["targets"][0].update(legendFormat=""), "legend"),
    "no unit": (lambda it: _panel(it)["fieldConfig"]["defaults"].pop("unit"), "no unit"),
    "another unit": (lambda it: _expression(it, "crypto_bot_kalman_spread_bps"), "is in suffix: bps"),
    "another unit of a recorded series": (lambda it: _expression(it, "instance:process_cpu:ratio_rate5m"), "is in percentunit"),
    "a fixed window": (lambda it: _expression(it, "rate(crypto_bot_fills_total[5m])"), "window"),
    "a metric that is not there": (lambda it: _expression(it, "crypto_bot_luck_usd"), "nobody reports crypto_bot_luck_usd"),
    "a bare counter": (lambda it: _expression(it, "sum(crypto_bot_fills_total)"), "is a counter"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_broken_rule_is_noticed(name: str) -> None:
    """Each rule is broken once and found."""
    spoil, said = SPOILT[name]
    document = copy.deepcopy(HOME)
    spoil(document)
    assert [problem for problem in problems(document, UIDS) if said in problem]


def test_every_alert_leads_to_one_panel() -> None:
    """Each is named by exactly one panel, which shows once: a repeated one has no address of its own."""
    named = [alert for alert, _ in places()]
    assert sorted(named) == sorted(ALERTS)
    repeated = [panel for board in BOARDS for row in board.rows if row.repeat for panel in row.panels]
    assert not [panel.title for panel in repeated if panel.alerts]


def test_an_alert_brings_its_pair_or_service_along() -> None:
    """A link chooses what the alert speaks of, where its dashboard has that choice."""
    links = {name: rule.annotations["dashboard_url"].partition("&")[2] for name, rule in ALERTS.items()}
    assert links["SlippageHigh"] == "var-pair={{ $labels.pair }}"
    assert links["ConsumerLagging"] == "var-service={{ $labels.job }}"
    assert links["DrawdownHigh"] == ""


def test_an_alert_that_no_panel_shows_is_refused() -> None:
    """Whoever adds an alert says which panel shows its cause."""
    with pytest.raises(ValueError, match="Unseen: no panel"):
        with_links('      - alert: Unseen\n        annotations:\n          dashboard_url: ""\n')


def test_pairs_are_repeated_and_colours_come_of_the_palette() -> None:
    """The row of a pair is drawn for each that is chosen; no colour is invented."""
    (row,) = [row for board in BOARDS for row in board.rows if row.repeat]
    assert (row.repeat, row.title) == ("pair", "$pair")
    written = set(re.findall(r"#[0-9A-Fa-f]{6}\b", json.dumps(DOCUMENTS)))
    assert written <= set(re.findall(r"#[0-9A-Fa-f]{6}\b", (ROOT / "monitoring" / "palette.py").read_text(encoding="utf-8")))
    assert palette.THRESHOLD_STOP in written


def test_grafana_is_given_these_dashboards_and_opens_the_first() -> None:
    """The folder that is mounted is the one that the provider reads; home is HFT Trading; the chosen data source is the provisioned one."""
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    provider = (GRAFANA / "provisioning" / "dashboards" / "files.yml").read_text(encoding="utf-8")
    source = (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text(encoding="utf-8")
    (folder,) = re.findall(r"- \./monitoring/grafana/dashboards:([\w/]+):ro", compose)
    assert f"options: {{path: {folder}}}" in provider
    assert "- ./monitoring/grafana/provisioning:/etc/grafana/provisioning:ro" in compose
    (home,) = re.findall(r"GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH: (\S+)", compose)
    assert home == f"{folder}/trading.json"
    assert DOCUMENTS["trading.json"]["title"] == "HFT Trading"
    (choice,) = [variable for variable in HOME["templating"]["list"] if variable["type"] == "datasource"]
    assert f"uid: {choice['current']['value']}\n" in source
    assert f"name: {choice['current']['text']}\n" in source
    assert f"type: {choice['query']}\n" in source
    assert DATA_SOURCE["uid"] == f"${{{choice['name']}}}"
