"""The page "Risk": verdicts, limits and their history, halts; halt, resume and flatten with a reason, behind the token."""

from http import HTTPStatus
from typing import Any

import pandas as pd
import streamlit as st

from monitoring import palette
from monitoring.streamlit import figures, frames, shown
from monitoring.streamlit.client import Away, NotConnected
from monitoring.streamlit.data import PORTFOLIO, desk
from monitoring.streamlit.kept import Answer

#: What is compared with a limit, of the whole portfolio.
LOSSES = {"drawdown": "Drawdown from the high-water mark", "daily_loss": "Loss since the start of the UTC day"}
#: What a rule measures is multiplied by, decimals, and the unit.
UNITS = {
    "operator": (1, 0, "levels"),
    "drawdown": (100, 2, "%"),
    "daily-loss": (100, 2, "%"),
    "gross-exposure": (1, 2, "USD"),
    "order-rate": (1, 0, "orders a minute"),
    "marks-missing": (1, 0, "pairs"),
    "bar-status": (1, 0, "bars not fresh"),
    "model-status": (1, 0, "models not ready"),
    "model-age": (1, 0, "bars"),
    "changepoint": (100, 1, "%"),
}
HALT = ("target", "verdict", "rule", "who", "why")
VERDICTS = tuple(palette.VERDICTS)
ACTIONS = {
    "halt": "No new exposure until resumed; positions may be reduced.",
    "resume": "Lift the halts of the target. After a loss limit, losses count from the present equity on.",
    "flatten": "Close the positions and stay out until resumed.",
}
_LIMIT = "limit"
#: What became of the last command, until it is shown.
_DONE, _FAILED = "command done", "command failed"


@st.fragment(run_every=shown.REFRESH_S)
def page(range_name: str) -> None:
    """Ask and show."""
    minutes = shown.RANGES[range_name]
    risk = desk().risk()
    verdicts, drawdown = desk().over("crypto_bot_risk_verdict", minutes), desk().over("crypto_bot_risk_drawdown_ratio", minutes)
    with st.container():
        shown.note_problems((risk, verdicts, drawdown))
    if risk.value is not None:
        signals = {pair: signal for pair, signal in risk.value.get("pairs", {}).items() if signal}
        state, halts, rules, history, commands = shown.sections(5)
        with state:
            show_state(risk.value)
            show_verdicts(signals)
        with halts:
            show_halts(risk.value.get("halts", ()))
        with rules:
            show_rules(signals)
        with history:
            show_history(verdicts, drawdown, risk.value)
        with commands:
            show_commands(risk.value.get("commands", ()))
    shown.asked_at()


def show_state(risk: dict[str, Any]) -> None:
    """The portfolio's losses against their limits."""
    if risk["last_closed"] is None:
        st.info("risk-manager-service has seen no bar close yet: there is nothing to judge.")
        return
    names = {"equity_usd": "Equity", "high_water_mark_usd": "High-water mark", "gross_exposure_usd": "Gross exposure"}
    shown.metrics((f"{label}, USD", shown.usd(risk[name]), "at the last bar close") for name, label in names.items())
    for place, (rule, meaning) in zip(st.columns(len(LOSSES)), LOSSES.items(), strict=True):
        value, limit = risk[rule], risk["limits"][rule]
        place.progress(min(max(value / limit, 0.0), 1.0), f"{meaning}: {value:.2%}, limit {limit:.2%}")


def show_verdicts(signals: dict[str, Any]) -> None:
    """What each pair may do."""
    if signals:
        rows = [_pair_row(pair, each) for pair, each in signals.items()]
        st.dataframe(shown.coloured(rows, "verdict", palette.VERDICTS), hide_index=True, column_config={"budget": shown.usd_column("budget")}, key="verdicts")


def show_halts(halts: list[dict[str, Any]]) -> None:
    """Who stopped what, and why."""
    if halts:
        st.warning(f"Halts in force: {len(halts)}. They outlast a restart, and are lifted below with a reason.")
        st.dataframe([{name: halt[name] for name in HALT} for halt in halts], hide_index=True, key="halts")
    else:
        st.caption("No halt is in force.")


def show_rules(signals: dict[str, Any]) -> None:
    """What every rule measured at the last bar close, against its limit."""
    if signals:
        with st.expander("Every rule at the last bar close", expanded=True):
            rows = [_rule_row(pair, rule, found) for pair, signal in signals.items() for rule, found in signal["rules"].items()]
            st.dataframe(shown.coloured(rows, "verdict", palette.VERDICTS), hide_index=True, height=min(38 + 35 * len(rows), 423), key="rules")


def show_history(verdicts: Answer, drawdown: Answer, risk: dict[str, Any]) -> None:
    """Verdicts as a band a pair, drawdown against its limit."""
    left, right = st.columns(2)
    left.subheader("Verdicts")
    right.subheader("Drawdown", help="of all pairs, from the high-water mark")
    bands = frames.bands(verdicts.value or (), VERDICTS)
    if len(bands):
        left.vega_lite_chart(bands, figures.timeline(tuple(palette.VERDICTS.items()), 110 + 36 * bands["row"].nunique()), key="verdicts over time")
    elif verdicts.value is not None:
        left.caption("No verdict in this range yet: each comes with a bar close.")
    lost = frames.long(drawdown.value or (), frames.called("drawdown"), 100)
    if len(lost):
        edges = [(lost["time"].iloc[end], 100 * risk["limits"]["drawdown"], _LIMIT) for end in (0, -1)]
        frame = pd.concat([lost, pd.DataFrame(edges, columns=[*frames.COLUMNS])], ignore_index=True)
        colours = (("drawdown", palette.SIGNAL), (_LIMIT, palette.LIMIT))
        right.vega_lite_chart(frame, figures.lines("%", colours=colours, zero=True, digits=",.3f"), key="drawdown")


def show_commands(commands: list[dict[str, Any]]) -> None:
    """The audit log: who asked for what, and why."""
    st.subheader("Commands")
    if not commands:
        st.caption("Nobody has given a command yet.")
        return
    rows = [
        {"id": each["id"], "time": shown.moment(each["issued_at_ns"]), **{name: each[name] for name in ("kind", "target", "who", "why", "applied")}}
        for each in commands
    ]
    st.dataframe(rows[::-1], hide_index=True, column_config={"time": shown.time_column("time")}, key="commands")


def show_control() -> None:
    """Ask for a command; nothing is sent without a name, a reason and the token, which stays in this session."""
    st.subheader("Control")
    with st.form("control", border=True):
        st.radio("Command", list(ACTIONS), captions=list(ACTIONS.values()), key="kind")
        places = st.columns((1, 1, 2, 1))
        places[0].selectbox("Target", (PORTFOLIO, *desk().pairs()), key="target")
        places[1].text_input("Who", key="who", help="your name: it stays in the log")
        places[2].text_input("Why", key="why", help="the reason: it stays in the log")
        places[3].text_input("Token", type="password", key="token", help="what CONTROL_TOKEN or CONTROL_TOKEN_FILE says to risk-manager-service")
        st.checkbox("Yes, close positions at the market", key="sure", help="needed for flatten, each time")
        st.form_submit_button("Send", type="primary", on_click=send)
    if done := st.session_state.pop(_DONE, ""):
        st.success(done)
    if failed := st.session_state.pop(_FAILED, ""):
        st.error(failed)


def send() -> None:
    """Send the command that the form holds, and leave word of what became of it."""
    form = st.session_state
    kind, target = form["kind"], form["target"]
    who, why, token = (form[name].strip() for name in ("who", "why", "token"))
    if problem := _unfit(kind, who, why, token, sure=form["sure"]):
        form[_FAILED] = f"Nothing was sent: {problem}."
        return
    try:
        status, answer = desk().command(kind, token, {"pair": target, "who": who, "why": why})
    except NotConnected as error:
        form[_FAILED] = f"Nothing was sent: {error}"
    except Away as error:
        form[_FAILED] = f"Whether it was written down is not known, look at the commands above: {error}"
    else:
        if status == HTTPStatus.ACCEPTED:
            form[_DONE], form["sure"] = f"Command {answer['id']} is written down: {kind} {answer['pair']}, obeyed {answer['obeyed']}.", False
        else:
            form[_FAILED] = f"risk-manager-service refuses it ({status}): {answer.get('error', 'no reason given')}"


def _unfit(kind: str, who: str, why: str, token: str, *, sure: bool) -> str:
    """Why a command cannot be sent; empty when it can."""
    missing = [name for name, value in (("your name", who), ("the reason", why), ("the token", token)) if not value]
    if kind == "flatten" and not sure:
        missing.append("the tick that says you are sure")
    if missing:
        return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    return "" if token.isascii() else "the token has letters that no header can carry; it is plain ASCII"


def _rule_row(pair: str, rule: str, found: dict[str, Any]) -> dict[str, Any]:
    factor, digits, unit = UNITS.get(rule, (1, 4, ""))
    measured = {name: shown.number(factor * found[name], digits, unit) for name in ("value", "limit")}
    return {"pair": pair, "rule": rule, **measured, "verdict": found["verdict"]}


def _pair_row(pair: str, signal: dict[str, Any]) -> dict[str, Any]:
    return {
        "pair": pair,
        "verdict": signal["verdict"],
        "because of": ", ".join(signal["because_of"]),
        "budget": shown.cents(signal["budget_usd"]),
        "orders allowed in a bar": signal["orders_allowed"],
    }


st.title("Risk")
range_chosen = shown.choose_range("range")
with shown.loading():
    page(range_chosen)
show_control()
