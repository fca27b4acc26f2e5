"""What the receivers have heard, one notification at a time, and whether each says what people need."""

import re
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any, NamedTuple

from scripts.drill.receivers import ADDRESSES, SECRETS, Receivers
from scripts.drill.rule_files import groups, rules_of
from scripts.drill.sinks import Mail, Received

SLACK, EMAIL, PAGERDUTY, HEARTBEAT = "slack", "email", "pagerduty", "heartbeat"
WATCHDOG = "Watchdog"
_TITLE = re.compile(r"\[(FIRING|RESOLVED)(?: \d+)?\] (\w+): .+ \((\w*), ([\w-]*)\)")
_COLOURS = {("FIRING", "critical"): "danger", ("FIRING", "warning"): "warning", ("RESOLVED", "critical"): "good", ("RESOLVED", "warning"): "good"}


class Notification(NamedTuple):
    """One message to one receiver about one kind of alert of one service."""

    at_s: float
    receiver: str
    alert: str
    firing: bool
    service: str
    text: str
    #: What is wrong with it; empty when all fields are as they should be.
    problem: str = ""


def severities() -> dict[str, str]:
    """How bad each alert is, by the rule files."""
    return {rule.name: rule.labels["severity"] for group in groups() for rule in rules_of(group) if rule.kind == "alert"}


def receivers_of(alert: str, severity: str) -> tuple[str, ...]:
    """Who is to hear of an alert."""
    if alert == WATCHDOG:
        return (HEARTBEAT,)
    return (SLACK, EMAIL, PAGERDUTY) if severity == "critical" else (SLACK,)


def notifications(receivers: Receivers) -> Iterator[Notification]:
    """Everything so far, by receiver in order of time."""
    for request in tuple(receivers.hooks.received):
        if request.path == "/slack":
            yield _slack(request)
        elif request.path == "/v2/enqueue":
            yield _pagerduty(request)
        else:
            yield _heartbeat(request)
    for mail in tuple(receivers.mail.mails):
        yield _mail(mail)


def _slack(request: Received) -> Notification:
    (message,) = request.body["attachments"]
    made = _titled(request.at_s, SLACK, message["title"], message["text"])
    status, _, severity, _ = _parts(message["title"])
    if message.get("color") != _COLOURS.get((status, severity)):
        return made._replace(problem=made.problem or f"colour {message.get('color')}")
    return made


def _pagerduty(request: Received) -> Notification:
    body = request.body
    if body["event_action"] == "resolve":
        payload: dict[str, Any] = body.get("payload", {})
        title = payload.get("summary") or body.get("description", "")
        _, alert, _, service = _parts(title)
        return Notification(request.at_s, PAGERDUTY, alert, firing=False, service=service, text="", problem=_key_problem(body))
    payload = body["payload"]
    made = _titled(request.at_s, PAGERDUTY, payload["summary"], payload["custom_details"]["text"])
    if (payload["class"], payload["component"], payload["severity"]) != (made.alert, made.service, "critical"):
        return made._replace(problem=made.problem or f"payload {payload['class']}, {payload['component']}, {payload['severity']}")
    return made._replace(problem=made.problem or _key_problem(body))


def _key_problem(body: dict[str, Any]) -> str:
    return "" if body["routing_key"] == SECRETS["pagerduty_routing_key"] and body["dedup_key"] else "routing key or dedup key"


def _heartbeat(request: Received) -> Notification:
    (alert,) = request.body["alerts"]
    labels = alert["labels"]
    return Notification(request.at_s, HEARTBEAT, labels["alertname"], request.body["status"] == "firing", labels["service"], "")


def _mail(mail: Mail) -> Notification:
    made = _titled(mail.at_s, EMAIL, str(mail.message["Subject"]), _plain(mail.message))
    if (mail.user, mail.password, mail.recipients) != (ADDRESSES["SMTP_USER"], SECRETS["smtp_password"], (ADDRESSES["ALERT_EMAIL_TO"],)):
        return made._replace(problem=made.problem or "login or recipients")
    return made


def _plain(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    return str(body.get_content()) if body else ""


def _titled(at_s: float, receiver: str, title: str, text: str) -> Notification:
    """A notification with a title and a text as the templates make them."""
    status, alert, severity, service = _parts(title)
    problem = _text_problem(alert, text, firing=status == "FIRING")
    if not alert or not severity:
        problem = f"title {title!r}"
    return Notification(at_s, receiver, alert, status == "FIRING", service, text, problem)


def _parts(title: str) -> tuple[str, str, str, str]:
    found = _TITLE.fullmatch(" ".join(title.split()))
    return (found[1], found[2], found[3], found[4]) if found else ("", "", "", "")


def _text_problem(alert: str, text: str, *, firing: bool) -> str:
    """A notification has limit and links, and while it fires the value."""
    wanted = ["Limit: ", f"Runbook: http://runbook.test/runbook.md#{alert.lower()}", "Dashboard: http://grafana.test/d/", "Since: ", "Silence: "]
    missing = [word for word in ([*wanted, "Value: "] if firing else wanted) if word not in text]
    return f"lacks {', '.join(missing)}" if missing else ""
