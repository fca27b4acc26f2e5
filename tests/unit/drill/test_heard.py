"""Notifications as the receivers got them, and what is wrong with one."""

from email.message import EmailMessage
from types import SimpleNamespace
from typing import Any, cast

import pytest

from scripts.drill.heard import EMAIL, HEARTBEAT, PAGERDUTY, SLACK, Notification, notifications
from scripts.drill.receivers import ADDRESSES, SECRETS, Receivers
from scripts.drill.sinks import Mail, Received

TEXT = """Ten seconds.
Pair: ETHUSDT-BTCUSDT
Value: 10
Limit: 5
Runbook: http://runbook.test/runbook.md#positionstuck
Dashboard: http://grafana.test/d/crypto-bot-overview
Since: 2030-01-01 00:00:00 UTC

Silence: http://alertmanager.test:9093/#/silences/new"""
TITLE = "[FIRING 1] PositionStuck: The position is stuck (critical, execution-service)"
ENDED = TITLE.replace("FIRING 1", "RESOLVED")


def heard(*requests: Received, mails: tuple[Mail, ...] = ()) -> list[Notification]:
    """What receivers with these make of them."""
    return list(notifications(cast("Receivers", SimpleNamespace(hooks=SimpleNamespace(received=requests), mail=SimpleNamespace(mails=mails)))))


def slack(title: str = TITLE, text: str = TEXT, color: str = "danger") -> Received:
    """A message to Slack."""
    return Received("/slack", {"attachments": [{"title": title, "text": text, "color": color}]}, 3.0)


def page(action: str = "trigger", **changed: Any) -> Received:
    """An event to PagerDuty."""
    payload = {"summary": TITLE, "class": "PositionStuck", "component": "execution-service", "severity": "critical", "custom_details": {"text": TEXT}}
    body = {"event_action": action, "routing_key": SECRETS["pagerduty_routing_key"], "dedup_key": "k", "payload": payload | changed}
    return Received("/v2/enqueue", body, 4.0)


def mail(user: str = ADDRESSES["SMTP_USER"]) -> Mail:
    """A mail."""
    message = EmailMessage()
    message["Subject"] = TITLE
    message.set_content(TEXT)
    return Mail(user, SECRETS["smtp_password"], (ADDRESSES["ALERT_EMAIL_TO"],), message, 5.0)


def test_all_four_receivers_are_understood() -> None:
    """Alert, service, and whether it fires or is over."""
    beat = Received("/heartbeat", {"status": "firing", "alerts": [{"labels": {"alertname": "Watchdog", "service": "monitoring"}}]}, 6.0)
    found = heard(slack(), page(), beat, slack(ENDED, TEXT, "good"), page("resolve"), mails=(mail(),))
    assert [(each.receiver, each.alert, each.firing, each.at_s) for each in found] == [
        (SLACK, "PositionStuck", True, 3.0),
        (PAGERDUTY, "PositionStuck", True, 4.0),
        (HEARTBEAT, "Watchdog", True, 6.0),
        (SLACK, "PositionStuck", False, 3.0),
        (PAGERDUTY, "PositionStuck", False, 4.0),
        (EMAIL, "PositionStuck", True, 5.0),
    ]
    assert {each.problem for each in found} == {""}
    assert {each.service for each in found} == {"execution-service", "monitoring"}


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (slack(color="good"), "colour good"),
        (slack(text=TEXT.replace("Value: 10\n", "")), "lacks Value: "),
        (slack(text=TEXT.replace("#positionstuck", "#feedgaps")), "lacks Runbook: http://runbook.test/runbook.md#positionstuck"),
        (page(severity="warning"), "payload PositionStuck, execution-service, warning"),
        (page(component="kafka"), "payload PositionStuck, kafka, critical"),
    ],
    ids=str,
)
def test_what_a_notification_lacks_is_named(request_: Received, problem: str) -> None:
    """Each field that people need."""
    (found,) = heard(request_)
    assert found.problem == problem


def test_a_mail_of_another_login_is_none_of_ours() -> None:
    """The password of the secret has been used."""
    (found,) = heard(mails=(mail("somebody"),))
    assert found.problem == "login or recipients"


def test_a_title_that_names_no_alert_is_a_problem() -> None:
    """As a template that fails would make it."""
    (found,) = heard(slack("nothing"))
    assert found.problem == "title 'nothing'"
