"""Who hears of what: receivers by secret, routes, what mutes what, and what a notification says."""

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from scripts.drill.receivers import ADDRESSES, CONFIGURATION, SECRETS, Receivers, render
from scripts.drill.rule_files import groups, rules_of
from scripts.drill.sinks import MailSink, WebhookSink, eventually
from tests.conftest import free_ports
from tests.levels import ALL
from tests.monitoring.tools import require_alertmanager, require_tool
from tests.repo.tree import ROOT

INTEGRATIONS = {
    "slack_webhook_url": "slack_configs",
    "smtp_password": "email_configs",
    "pagerduty_routing_key": "pagerduty_configs",
    "heartbeat_url": "webhook_configs",
}
PAIR = "ETHUSDT-BTCUSDT"


def checked(folder: Path, secrets: Mapping[str, str]) -> tuple[Path, str]:
    """A configuration that amtool has accepted, as a file and as text."""
    text = render(folder / "secrets", secrets).stdout
    file = folder / "alertmanager.yml"
    file.write_text(text, encoding="utf-8")
    found = subprocess.run([require_tool("amtool"), "check-config", file], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return file, text


def test_without_a_secret_alerts_are_kept_and_nobody_is_called(tmp_path: Path) -> None:
    """Development starts with nothing: the receivers are there and send nothing."""
    text = render(tmp_path / "none", {}).stdout
    assert "_configs" not in text
    assert re.findall(r"- name: (\w+)", text) == ["warning", "critical", "heartbeat"]
    assert "{" not in "".join(line for line in text.splitlines() if "ALERT_" in line or "SMTP_" in line)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_brings_its_receivers_and_off_takes_them_away(name: str, tmp_path: Path) -> None:
    """Each of the four stands for itself, and no secret stands in the configuration."""
    text = render(tmp_path / "one", {name: SECRETS[name]}).stdout
    assert {kind for kind in INTEGRATIONS.values() if kind in text} == {INTEGRATIONS[name]}
    assert SECRETS[name] not in text
    assert INTEGRATIONS[name] not in render(tmp_path / "two", {**SECRETS, name: "off"}).stdout


@pytest.mark.parametrize(("addresses", "named"), [({}, "ALERT_EMAIL_TO is empty"), ({**ADDRESSES, "SMTP_SERVER": "mail|rm"}, "SMTP_SERVER: 'mail|rm'")])
def test_mail_needs_addresses(addresses: dict[str, str], named: str, tmp_path: Path) -> None:
    """One that is missing or cannot be one is named, with status 2."""
    found = render(tmp_path / "secrets", SECRETS, addresses)
    assert found.returncode == 2
    assert named in found.stderr


@pytest.mark.parametrize("secrets", [{}, SECRETS], ids=["development", "production"])
def test_amtool_accepts_it(secrets: dict[str, str], tmp_path: Path) -> None:
    """With and without secrets."""
    checked(tmp_path, secrets)


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("alertname=Watchdog", "severity=none", "service=monitoring"), "heartbeat"),
        (("alertname=DrawdownHigh", "severity=critical", "service=risk-manager-service"), "critical"),
        (("alertname=ServiceDown", "severity=critical", "service=execution-service"), "critical"),
        (("alertname=ModelStale", "severity=warning", "service=garch-volatility-service"), "warning"),
        (("alertname=SomethingNew",), "warning"),
    ],
)
def test_routes(labels: tuple[str, ...], receiver: str, tmp_path: Path) -> None:
    """Critical alerts call somebody, warnings do not, the heartbeat goes its own way, and what nobody thought of is a warning."""
    file, _ = checked(tmp_path, SECRETS)
    command = [str(require_tool("amtool")), "config", "routes", "test", f"--config.file={file}", f"--verify.receivers={receiver}", *labels]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout.split()[0]) == (0, receiver), found.stderr


def test_what_mutes_and_is_muted_are_alerts_that_there_are() -> None:
    """A name that no alert has would mute nothing."""
    alerts = {rule.name for group in groups() for rule in rules_of(group) if rule.kind == "alert"}
    text = (CONFIGURATION / "alertmanager.yml").read_text(encoding="utf-8")
    named = {name for found in re.findall(r"alertname!?=~?\"([\w|]+)\"", text) for name in found.split("|")}
    assert named
    assert named <= alerts


# --- a real Alertmanager ----------------------------------------------------------------------------------------------


class Running(NamedTuple):
    """A real Alertmanager and who hears of it."""

    url: str
    hooks: WebhookSink
    mail: MailSink

    def post(self, *alerts: dict[str, Any]) -> None:
        """Hand over alerts as Prometheus does."""
        request = urllib.request.Request(f"{self.url}/api/v2/alerts", json.dumps(alerts).encode(), {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).close()

    def known(self, query: str) -> list[dict[str, Any]]:
        """The alerts that its page shows."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts?{query}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found


def alert(name: str, severity: str, service: str = "execution-service", *, ended: bool = False, **labels: str) -> dict[str, Any]:
    """An alert as the rules make it."""
    made: dict[str, Any] = {
        "labels": {"alertname": name, "severity": severity, "service": service, **labels},
        "annotations": {
            "summary": f"{name} has happened",
            "description": "950000 USD-seconds: more than the budget.",
            "value": "950000",
            "limit": "900000 USD-seconds",
            "runbook_url": f"http://runbook.test/runbook.md#{name.lower()}",
            "dashboard_url": "http://grafana.test/d/crypto-bot-trading?var-pair=" + labels.get("pair", ""),
        },
        "startsAt": _moment(time.time() - 60),
    }
    return over(made) if ended else made


def over(made: dict[str, Any]) -> dict[str, Any]:
    """An alert that has just ended."""
    return made | {"endsAt": _moment(time.time() - 1)}


def _moment(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The project's configuration with receivers on this machine, and without the waiting."""
    if not ALL:
        pytest.skip("takes its time: set TEST_LEVEL=all")
    folder = tmp_path_factory.mktemp("alertmanager")
    receivers = Receivers.start(folder)
    text = receivers.configuration(folder / "secrets")
    text = re.sub(r"group_wait: \d+s", "group_wait: 0s", text).replace("group_interval: 1m", "group_interval: 1s")
    (folder / "alertmanager.yml").write_text(text, encoding="utf-8")
    (port,) = free_ports(1)
    options = [f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    options += ["--cluster.listen-address=", "--web.external-url=http://alertmanager.test:9093"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*require_alertmanager(folder, CONFIGURATION), *options], stdout=log, stderr=log)
    try:
        eventually(lambda: _answers(f"http://127.0.0.1:{port}/-/ready"), "Alertmanager")
        yield Running(f"http://127.0.0.1:{port}", receivers.hooks, receivers.mail)
    finally:
        process.terminate()
        process.wait(10)
        receivers.close()


def _answers(url: str) -> bool | None:
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except OSError:
        return None
    return True


def test_a_critical_alert_reaches_slack_mail_and_pager_with_all_that_is_needed(running: Running) -> None:
    """Pair, value, limit, runbook and dashboard are in each of the three, in the fields that each has for them; the end of it comes too."""
    running.post(alert("UnhedgedOverBudget", "critical", pair=PAIR))
    (message,) = running.hooks.first("/slack", "UnhedgedOverBudget").body["attachments"]
    assert message["color"] == "danger"
    assert message["title"] == "[FIRING 1] UnhedgedOverBudget: UnhedgedOverBudget has happened (critical, execution-service)"
    assert message["title_link"] == f"http://grafana.test/d/crypto-bot-trading?var-pair={PAIR}"
    lines = message["text"].splitlines()
    assert lines[:6] == [
        "950000 USD-seconds: more than the budget.",
        f"Pair: {PAIR}",
        "Value: 950000",
        "Limit: 900000 USD-seconds",
        "Runbook: http://runbook.test/runbook.md#unhedgedoverbudget",
        f"Dashboard: http://grafana.test/d/crypto-bot-trading?var-pair={PAIR}",
    ]
    assert lines[-1] == "Silence: http://alertmanager.test:9093/#/silences/new?filter=%7Balertname%3D%22UnhedgedOverBudget%22%7D"

    page = running.hooks.first("/v2/enqueue", "UnhedgedOverBudget").body
    assert (page["routing_key"], page["event_action"]) == (SECRETS["pagerduty_routing_key"], "trigger")
    payload = page["payload"]
    assert (payload["severity"], payload["component"], payload["class"]) == ("critical", "execution-service", "UnhedgedOverBudget")
    assert payload["summary"] == message["title"]
    # A text, though the description has a colon, and details that are YAML would be taken for it.
    assert payload["custom_details"]["text"].splitlines() == ["UnhedgedOverBudget", *lines]
    assert page["client_url"] == message["title_link"]

    mail = eventually(lambda: next((each for each in running.mail.mails if "UnhedgedOverBudget" in str(each.message["Subject"])), None), "a mail")
    assert (mail.user, mail.password, mail.recipients) == (ADDRESSES["SMTP_USER"], SECRETS["smtp_password"], ("desk@example.com",))
    assert mail.message["From"] == "bot@example.com"
    assert mail.message["Subject"] == message["title"]
    body = mail.message.get_body(("plain",))
    assert body is not None
    assert body.get_content().strip().splitlines() == lines

    running.post(alert("UnhedgedOverBudget", "critical", pair=PAIR, ended=True))
    (ended,) = running.hooks.first("/slack", "RESOLVED", "UnhedgedOverBudget").body["attachments"]
    assert ended["color"] == "good"
    assert running.hooks.first("/v2/enqueue", "resolve", "UnhedgedOverBudget").body["dedup_key"] == page["dedup_key"]


def test_the_alert_that_the_guide_has_people_try_reaches_all_three(running: Running) -> None:
    """As it is written there, without the annotations of ours."""
    guide = (ROOT / "MONITORING_SETUP.md").read_text(encoding="utf-8")
    (written,) = re.findall(r"api/v2/alerts .*\n +-d '(.*)'", guide)
    running.post(*json.loads(written))
    title = "[FIRING 1] Test: somebody tries the receivers (critical, test)"
    (message,) = running.hooks.first("/slack", "] Test: ").body["attachments"]
    assert message["title"] == title
    assert running.hooks.first("/v2/enqueue", "] Test: ").body["payload"]["summary"] == title
    eventually(lambda: next((each for each in running.mail.mails if each.message["Subject"] == title), None), "a mail")


def test_a_warning_reaches_slack_only(running: Running) -> None:
    """Nobody is called for it."""
    running.post(alert("SlippageHigh", "warning", pair=PAIR))
    (message,) = running.hooks.first("/slack", "SlippageHigh").body["attachments"]
    assert message["color"] == "warning"
    # By then a pager would have heard of it: another one that comes later has got through.
    running.post(alert("DrawdownHigh", "critical", "risk-manager-service"))
    running.hooks.first("/v2/enqueue", "DrawdownHigh")
    assert not [each for each in running.hooks.received if each.path == "/v2/enqueue" and "SlippageHigh" in json.dumps(each.body)]


def test_the_heartbeat_reaches_its_own_address(running: Running) -> None:
    """The Watchdog goes where its absence is noticed, and nowhere else."""
    running.post(alert("Watchdog", "none", "monitoring"))
    beat = running.hooks.first("/heartbeat", "Watchdog").body
    assert (beat["status"], beat["receiver"]) == ("firing", "heartbeat")
    assert not [each for each in running.hooks.received if each.path != "/heartbeat" and "Watchdog" in json.dumps(each.body)]


def test_alerts_of_a_kind_come_together(running: Running) -> None:
    """Two symbols that are stale are one notification."""
    running.post(*(alert("SymbolStale", "critical", "ingestion-service", symbol=symbol) for symbol in ("ETHUSDT", "BTCUSDT")))
    (message,) = running.hooks.first("/slack", "[FIRING 2] SymbolStale").body["attachments"]
    assert message["text"].count("Runbook: ") == 2


def at(instance: str, name: str, severity: str, service: str = "execution-service") -> dict[str, Any]:
    """An alert about one replica."""
    return alert(name, severity, service, instance=instance)


@pytest.mark.parametrize(
    ("cause", "symptom"),
    [
        (alert("ServiceDown", "critical"), alert("LedgerSlow", "warning")),
        (at("one", "ReplicaDown", "warning"), at("one", "ServiceUnready", "critical")),
        (at("one", "FeedDisconnected", "critical", "ingestion-service"), at("one", "ServiceUnready", "critical", "ingestion-service")),
        (alert("DrawdownHigh", "critical", "risk-manager-service"), alert("RiskLimitNear", "warning", "risk-manager-service", rule="drawdown")),
        (alert("ServiceDown", "critical"), alert("RiskStandsStill", "critical", "risk-manager-service")),
        (alert("BrokerUnreachable", "critical", "kafka"), alert("ConsumerLagging", "warning", "kalman-filter-service")),
        (alert("FeedDisconnected", "critical", "ingestion-service"), alert("BarsStale", "warning", "ingestion-service")),
        (alert("ErrorRateHigh", "critical", "kalman-filter-service"), alert("DeadLetters", "warning", "kalman-filter-service")),
    ],
    ids=lambda each: each["labels"]["alertname"],
)
def test_a_cause_mutes_its_symptoms(running: Running, cause: dict[str, Any], symptom: dict[str, Any]) -> None:
    """The symptom is shown as inhibited while the cause fires, and as active without it."""
    name = symptom["labels"]["alertname"]
    query = f"filter=alertname%3D%22{name}%22"
    running.post(cause)
    running.post(symptom)
    eventually(lambda: next((each for each in running.known(query) if each["status"]["inhibitedBy"]), None), f"{name} muted")
    running.post(over(cause))
    eventually(lambda: next((each for each in running.known(query) if not each["status"]["inhibitedBy"]), None), f"{name} active")
    running.post(over(symptom))


@pytest.mark.parametrize(
    ("cause", "other", "muted"),
    [
        (at("a", "ReplicaDown", "warning"), at("b", "PositionStuck", "critical"), at("a", "LoopStuck", "critical")),
        (
            alert("DrawdownHigh", "critical", "risk-manager-service"),
            alert("RiskLimitNear", "warning", "risk-manager-service", rule="daily-loss"),
            alert("RiskLimitNear", "warning", "risk-manager-service", rule="drawdown"),
        ),
        (
            alert("ErrorRateHigh", "critical", "kalman-filter-service"),
            alert("DeadLetters", "warning", "ingestion-service"),
            alert("DeadLetters", "warning", "kalman-filter-service"),
        ),
        (
            at("a", "FeedDisconnected", "critical", "ingestion-service"),
            at("b", "ServiceUnready", "critical", "risk-manager-service"),
            at("a", "ServiceUnready", "critical", "ingestion-service"),
        ),
    ],
    ids=lambda each: each["labels"]["alertname"],
)
def test_a_cause_mutes_nothing_else(running: Running, cause: dict[str, Any], other: dict[str, Any], muted: dict[str, Any]) -> None:
    """Another replica, rule or service is heard of while the cause fires and mutes what follows from it."""
    for each in (cause, other, muted):
        running.post(each)
    query = f"filter=alertname%3D%22{muted['labels']['alertname']}%22"
    eventually(lambda: next((each for each in running.known(query) if each["labels"] == muted["labels"] and each["status"]["inhibitedBy"]), None), "muted")
    query = f"filter=alertname%3D%22{other['labels']['alertname']}%22"
    assert [each["status"]["inhibitedBy"] for each in running.known(query) if each["labels"] == other["labels"]] == [[]]
    for each in (cause, other, muted):
        running.post(over(each))
