"""Every alert fires on its cause, spares a near miss, says what happened, and leads to what to do about it."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.drill.rule_files import PROMETHEUS, Rule, groups, rules_of
from services.garch_volatility.settings import GarchSettings
from tests.exposed import catalogues
from tests.levels import all_level
from tests.monitoring.alert_cases import CASES, MORE, Case
from tests.monitoring.tools import require_tool
from tests.repo.tree import ROOT

GRAFANA_URL, RUNBOOK_URL = "http://grafana.test", "http://runbook.test/runbook.md"
RULES = {group: rules_of(group) for group in groups()}
ALERTS = {rule.name: rule for rules in RULES.values() for rule in rules if rule.kind == "alert"}
RECORDED = {rule.name for rules in RULES.values() for rule in rules if rule.kind == "record"}
#: What Prometheus, Alertmanager and the client libraries report of themselves.
FOREIGN = re.compile(r"^(up|ALERTS|scrape_\w+|process_\w+|python_gc_\w+|prometheus_\w+|alertmanager_\w+)$")
DASHBOARDS = {each["uid"]: each for path in (ROOT / "monitoring/grafana/dashboards").glob("*.json") for each in [json.loads(path.read_text(encoding="utf-8"))]}
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")


def filled_in(template: str, labels: dict[str, str]) -> str:
    """A template that holds labels and addresses only, as Prometheus fills it in."""
    filled = template.replace("{{ $externalLabels.grafana_url }}", GRAFANA_URL).replace("{{ $externalLabels.runbook_url }}", RUNBOOK_URL)
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels.get(found[1], ""), filled)


def value_in(rule: Rule, case: Case) -> str:
    """The value by itself, as the description says it."""
    shown = rule.annotations.get("value", "")
    if "$value" not in shown:
        return shown
    before, after = filled_in(rule.annotations["description"], dict(case.labels)).split(shown, 1)
    return case.description[len(before) : len(case.description) - len(after)]


def expected(case: Case) -> list[dict[str, Any]]:
    """The alert as Alertmanager gets it."""
    rule, labels = ALERTS[case.alert], dict(case.labels)
    annotations = {name: filled_in(text, labels) for name, text in rule.annotations.items()}
    own = {name: filled_in(text, labels) for name, text in rule.labels.items()}
    said = {"description": case.description} | ({"value": value_in(rule, case)} if "value" in annotations else {})
    return [{"exp_labels": labels | own, "exp_annotations": annotations | said}]


def promtool_test(case: Case, number: int) -> dict[str, Any]:
    """One test of promtool: the cause for number 0, the near miss for number 1."""
    values = {series: value if isinstance(value, str) else value[number] for series, value in case.series.items()}
    return {
        "name": f"{case.alert}: {('fires', 'is spared')[number]}",
        "interval": "2m" if case.long else "15s",
        "external_labels": {"grafana_url": GRAFANA_URL, "runbook_url": RUNBOOK_URL},
        "input_series": [{"series": series, "values": value} for series, value in values.items()],
        "alert_rule_test": [{"eval_time": f"{case.at_minutes * 60:g}s", "alertname": case.alert, "exp_alerts": [] if number else expected(case)}],
    }


def run_promtool(folder: Path, group: str, cases: list[Case], *, long: bool) -> subprocess.CompletedProcess[str]:
    """Unit-test the rules of a file over series given as text; YAML that is JSON spares quoting."""
    tests = [promtool_test(case, number) for case in cases for number in ((0,) if case.alert == "Watchdog" else (0, 1))]
    for name in ("recording", group):
        shutil.copy(PROMETHEUS / "rules" / f"{name}.yml", folder)
    document = {"rule_files": ["recording.yml", f"{group}.yml"], "evaluation_interval": "2m" if long else "15s", "tests": tests}
    (folder / "tests.yml").write_text(json.dumps(document), encoding="utf-8")
    return subprocess.run([require_tool("promtool"), "test", "rules", folder / "tests.yml"], capture_output=True, text=True, check=False, timeout=300)


def names_in(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    bare = re.sub(r'\{[^}]*\}|"[^"]*"|\b(by|without|on|ignoring|group_left|group_right) \([^)]*\)|\[[^\]]*\]', " ", expression)
    return {name for name in re.findall(r"\b[a-zA-Z_][\w:]*\b(?!\()", bare) if "_" in name or name in {"up", "ALERTS"}}


def test_there_is_a_case_for_every_alert_and_no_other() -> None:
    """Whoever adds an alert adds its cause and a near miss."""
    assert {case.alert for cases in CASES.values() for case in cases} == set(ALERTS)
    for group, cases in CASES.items():
        assert [case.alert for case in cases] == [rule.name for rule in RULES[group]]
    assert len(ALERTS) >= 25


@all_level
@pytest.mark.parametrize(("group", "long"), sorted({(group, case.long) for group, cases in CASES.items() for case in cases}))
def test_alerts_fire_on_their_cause_and_spare_a_near_miss(group: str, long: bool, tmp_path: Path) -> None:
    """promtool computes each alert over its series: the cause gives exactly one, with this text and these links, the near miss none."""
    cases = [case for case in (*CASES[group], *MORE.get(group, ())) if case.long is long]
    found = run_promtool(tmp_path, group, cases, long=long)
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_wrong_expectation_fails(tmp_path: Path) -> None:
    """promtool is asked in earnest: another text is told apart."""
    case = CASES["risk"][0]
    assert run_promtool(tmp_path, "risk", [case._replace(description="all is well")], long=False).returncode == 1


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_what_it_is_about_and_what_to_do(name: str) -> None:
    """Severity, service, texts with the value, value and limit by themselves, a dashboard that is there and a runbook's entry with all its parts."""
    rule = ALERTS[name]
    assert rule.labels["severity"] == "none" if name == "Watchdog" else rule.labels["severity"] in {"critical", "warning"}
    assert rule.labels["service"]
    assert set(rule.annotations) == {"summary", "description", "runbook_url", "dashboard_url"} | (set() if name == "Watchdog" else {"value", "limit"})
    assert "$value" in rule.annotations["description"] or name in {"Watchdog", "ServiceDown", "ReplicaDown"}
    assert rule.annotations["runbook_url"] == "{{ $externalLabels.runbook_url }}#" + name.lower()
    require_panel(rule.annotations["dashboard_url"])
    entry = RUNBOOK.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
    for part in ("Means", "Look", "Fix"):
        assert f"\n- **{part}:** " in f"\n{entry.strip()}", f"{name}: {part}"


def require_panel(url: str) -> None:
    """A dashboard that is there, a panel of it that is there once, and variables that it has."""
    uid, _, query = url.partition("/d/")[2].partition("?")
    dashboard = DASHBOARDS[uid]
    number, *variables = query.split("&")
    (panel,) = [each for each in dashboard["panels"] if f"viewPanel=panel-{each['id']}" == number]
    assert panel["type"] != "row"
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert {each.partition("=")[0].removeprefix("var-") for each in variables} <= names


def test_the_runbook_has_no_entry_of_an_alert_that_is_gone() -> None:
    """Alerts and entries come and go together."""
    assert set(re.findall(r"^### (\w+)$", RUNBOOK, flags=re.MULTILINE)) == set(ALERTS)


def test_rules_ask_for_what_somebody_reports() -> None:
    """Each name in an expression is a metric of the catalogue, a recorded series, or of Prometheus, Alertmanager or a client library."""
    declared = {metric.name for metrics in catalogues().values() for metric in metrics}
    for rule in (rule for rules in RULES.values() for rule in rules):
        for name in names_in(rule.expression):
            bare = re.sub(r"_(bucket|sum|count)$", "", name)
            assert bare in declared or name in RECORDED or FOREIGN.match(name), f"{rule.name}: {name}"


def test_recorded_series_are_named_by_level_metric_and_operation() -> None:
    """`level:metric:operation`, and each is asked for by a rule or a dashboard."""
    assert all(re.fullmatch(r"[a-z_]+:[a-z_]+:[a-z0-9_]+", name) for name in RECORDED)
    shown = json.dumps(list(DASHBOARDS.values()))
    asked = {name for rules in RULES.values() for rule in rules for name in names_in(rule.expression)}
    assert [name for name in RECORDED if name not in asked and name not in shown] == []


def test_refused_fits_are_noticed_with_the_default_settings() -> None:
    """As many fits as the alert asks for are made within its window."""
    settings = GarchSettings()
    hours, fits = re.fullmatch(r".*fits_refused\[(\d+)h\]\)\) >= (\d+) .*", ALERTS["FitsRefused"].expression).groups()  # type: ignore[union-attr]  # or it fails
    assert int(hours) * 3600 // (settings.garch_refit_bars * settings.bar_interval_seconds) >= int(fits)


@pytest.mark.parametrize("what", ["rules", "config"])
def test_promtool_accepts(what: str) -> None:
    """Every rule file is well formed and lints clean, and so does the configuration."""
    files = sorted((PROMETHEUS / "rules").glob("*.yml")) if what == "rules" else [PROMETHEUS / "prometheus.yml"]
    lint = ["--lint=all", "--lint-fatal"] if what == "rules" else []
    found = subprocess.run([require_tool("promtool"), "check", what, *lint, *files], capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode == 0, found.stdout + found.stderr
