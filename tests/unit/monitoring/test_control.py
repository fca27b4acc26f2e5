"""Halt, resume and flatten from the page "Risk"."""

import pytest
from streamlit.testing.v1 import AppTest

from monitoring.streamlit import client
from tests.unit.monitoring.looks import Show, said
from tests.unit.monitoring.stage import Stage


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


def test_the_tick_is_asked_for_anew_after_each_flatten(played: Stage, show: Show) -> None:
    """It says of one command that it is meant."""
    played.risk_manager.answers["/flatten"] = (202, {"id": 7, "kind": "flatten", "pair": "portfolio", "obeyed": "now"})
    page = show("risk")
    page.checkbox(key="sure").set_value(True)
    order(page, "flatten", who="ann", why="news", token="t")
    assert "Command 7 is written down" in said(page)
    assert not page.checkbox(key="sure").value


def test_a_command_that_cannot_be_sent_was_not(played: Stage, show: Show) -> None:
    """A token that no header carries, and a service that is away: nobody has to look whether it was written down."""
    page = order(show("risk"), "halt", who="ann", why="news", token="žeton")
    assert "Nothing was sent: the token has letters that no header can carry" in said(page)
    played.close("risk-manager-service")
    assert "Nothing was sent: risk-manager-service does not answer" in said(order(page, "halt", who="ann", why="news", token="t"))
    assert not played.risk_manager.posted


def test_a_command_without_an_answer_is_not_known(played: Stage, show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been written down all the same."""
    monkeypatch.setattr(client, "COMMAND_TIMEOUT_S", 0.05)
    played.risk_manager.answers["/halt"] = None
    page = order(show("risk"), "halt", who="ann", why="news", token="t")
    assert "Whether it was written down is not known" in said(page)


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
