"""Judges what Prometheus, Alertmanager and Grafana answer, against the files that they were given."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.operations.health_containers import PIPELINE, Container
from scripts.operations.health_rows import Row, State
from scripts.operations.health_services import Answer, replica_key

PROMETHEUS, ALERTMANAGER, GRAFANA = "prometheus server", "alertmanager server", "grafana server"
#: Fires always, so that its absence tells.
WATCHDOG = "Watchdog"


def server_row(group: str, answer: Answer, needs: tuple[str, ...]) -> Row:
    """Whether the server itself is well."""
    return Row(group, "server", State.DEGRADED if answer.problem else State.OK, answer.problem or "ready", needs)


# --- Prometheus -------------------------------------------------------------------------------------------------------


def target_rows(answer: Answer, containers: Sequence[Container]) -> list[Row]:
    """A row for each target, and for each replica that should be one and is not."""
    if answer.problem:
        return [Row("target", "all", State.DEGRADED, f"not known: {answer.problem}", (PROMETHEUS,))]
    by_address = {each.address: each for each in containers if each.address}
    targets = answer.get("data", "activeTargets") or []
    rows = [_target_row(target, by_address) for target in targets]
    scraped = {row.subject for row in rows}
    unseen = [each for each in containers if each.service in PIPELINE and each.runs and each.name not in scraped]
    return rows + [_unseen(each) for each in unseen]


def _unseen(container: Container) -> Row:
    return Row("target", container.name, State.DEGRADED, "Prometheus does not scrape it (yet)", (PROMETHEUS, container.key))


def _target_row(target: Mapping[str, Any], by_address: Mapping[str, Container]) -> Row:
    labels = target.get("labels") or {}
    job, instance = str(labels.get("job")), str(labels.get("instance"))
    container = by_address.get(instance.partition(":")[0])
    name = container.name if container else f"{job} {instance}" if job in PIPELINE else job
    needs = (PROMETHEUS, *((container.key, replica_key(name)) if container else (f"container {job}",)))
    if target.get("health") == "up":
        return Row("target", name, State.OK, instance, needs)
    text = f"{instance}: {target.get('lastError') or target.get('health')}"
    # An address that no container has any more goes at the next look-up.
    gone = container is None and job in PIPELINE
    return Row("target", name, State.NOTE if gone else State.DEGRADED, f"{text}{' (no container has this address any more)' if gone else ''}", needs)


def rule_rows(answer: Answer, expected: Iterable[str]) -> list[Row]:
    """A row for each rule of the files: loaded, and computed without an error."""
    if answer.problem:
        return [Row("rule", "all", State.DEGRADED, f"not known: {answer.problem}", (PROMETHEUS,))]
    loaded = {rule["name"]: rule for group in answer.get("data", "groups") or [] for rule in group.get("rules") or []}
    return [_rule_row(name, loaded.get(name)) for name in dict.fromkeys((*expected, *loaded))]


def _rule_row(name: str, rule: Mapping[str, Any] | None) -> Row:
    if rule is None:
        return Row("rule", name, State.DEGRADED, "is in the files and not loaded: docker compose restart prometheus", (PROMETHEUS,))
    if rule.get("health") == "err":
        return Row("rule", name, State.DEGRADED, f"cannot be computed: {rule.get('lastError')}", (PROMETHEUS,))
    if rule.get("state") == "firing" and name != WATCHDOG:
        return Row("rule", name, State.NOTE, f"fires: {_summaries(rule)}", (PROMETHEUS,))
    return Row("rule", name, State.OK, str(rule.get("state") or "recorded"), (PROMETHEUS,))


def _summaries(rule: Mapping[str, Any]) -> str:
    said = [str(alert.get("annotations", {}).get("summary", "")) for alert in rule.get("alerts") or [] if alert.get("state") == "firing"]
    return "; ".join(dict.fromkeys(filter(None, said))) or "see Alertmanager"


def alert_row(answer: Answer) -> Row:
    """Whether alerts get from Prometheus to Alertmanager."""
    needs = (ALERTMANAGER, PROMETHEUS, f"rule {WATCHDOG}")
    if answer.problem:
        return Row("alertmanager", "alerts", State.DEGRADED, f"not known: {answer.problem}", needs)
    names = [str(alert.get("labels", {}).get("alertname")) for alert in answer.body or []]
    if WATCHDOG not in names:
        return Row("alertmanager", "alerts", State.DEGRADED, f"{WATCHDOG} has not come from Prometheus: alerts get lost on their way", needs)
    return Row("alertmanager", "alerts", State.OK, f"{WATCHDOG} comes; {len(names) - names.count(WATCHDOG)} others", needs)


# --- Grafana ----------------------------------------------------------------------------------------------------------


def grafana_row(kind: str, name: str, answer: Answer) -> Row:
    """A data source that answers, or a dashboard that is there."""
    if kind == "data source":
        needs: tuple[str, ...] = (GRAFANA, PROMETHEUS)
        problem = answer.problem or ("" if answer.get("status") == "OK" else str(answer.get("message") or answer.body))
    else:
        needs = (GRAFANA,)
        problem = answer.problem or ("" if answer.get("dashboard", "uid") == name else "is not there")
    return Row("grafana", f"{kind} {name}", State.DEGRADED if problem else State.OK, problem or answer.get("dashboard", "title") or "answers", needs)


# --- the files --------------------------------------------------------------------------------------------------------


def expected_rules(folder: Path) -> list[str]:
    """The alerts and recorded series that the rule files define."""
    return [name for path in sorted((folder / "prometheus" / "rules").glob("*.yml")) for name in _named(r"(?:alert|record)", path)]


def expected_data_sources(folder: Path) -> list[str]:
    """The uids of the data sources that are provisioned."""
    return [uid for path in sorted((folder / "grafana" / "provisioning" / "datasources").glob("*.yml")) for uid in _named("uid", path)]


def expected_dashboards(folder: Path) -> list[str]:
    """The uids of the dashboards that are provisioned."""
    return [str(json.loads(path.read_text(encoding="utf-8"))["uid"]) for path in sorted((folder / "grafana" / "dashboards").rglob("*.json"))]


def _named(word: str, path: Path) -> list[str]:
    """The values of a key in a YAML file; no parser for it is among our packages."""
    return re.findall(rf"^\s*(?:- )?{word}: *[\"']?([\w:.-]+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
