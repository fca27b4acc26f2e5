"""The page "Risk": verdicts, limits and their history, halts; halt, resume and flatten with a reason, behind the token."""

from typing import Any

import pandas as pd
import streamlit as st

from monitoring import palette
from monitoring.streamlit import figures, frames, shown
from monitoring.streamlit.client import Away
from monitoring.streamlit.data import PORTFOLIO, desk
from monitoring.streamlit.kept import Answer
from monitoring.streamlit.series import Series

#: The rules that compare a loss of the whole portfolio with its limit.
LOSSES = {"drawdown": "Drawdown from the high-water mark", "daily-loss": "Loss since the start of the UTC day"}
HALT = ("target", "verdict", "rule", "who", "why")
VERDICTS = tuple(palette.VERDICTS)
ACTIONS = {
    "halt": "No new exposure until resumed; positions may be reduced.",
    "resume": "Lift the halts of the target. After a loss limit, losses count from the present equity on.",
    "flatten": "Close the positions and stay out until resumed.",
}
_LIMIT = "limit"


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
            show_state(risk.value, signals)
        with halts:
            show_halts(risk.value.get("halts", ()))
        with rules:
            show_rules(signals)
        with history:
            show_history(verdicts, drawdown, signals)
        with commands:
            show_commands(risk.value.get("commands", ()))
    shown.asked_at()


def show_state(risk: dict[str, Any], signals: dict[str, Any]) -> None:
    """Losses against their limits, which are those of the last signal of any pair, and each pair's verdict."""
    signal = next(iter(signals.values()), None)
    if signal is None:
        st.info("risk-manager-service has seen no bar close yet: there is nothing to judge.")
        return
    names = {"equity_usd": "Equity", "high_water_mark_usd": "High-water mark", "gross_exposure_usd": "Gross exposure"}
    shown.metrics((f"{label}, USD", shown.usd(risk[name]), "at the last bar close") for name, label in names.items())
    for place, (rule, meaning) in zip(st.columns(len(LOSSES)), LOSSES.items(), strict=True):
        value, limit = signal["rules"][rule]["value"], signal["rules"][rule]["limit"]
        place.progress(min(max(value / limit, 0.0), 1.0), f"{meaning}: {value:.2%}, limit {limit:.2%}")
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
            rows = [{"pair": pair, "rule": rule, **found} for pair, signal in signals.items() for rule, found in signal["rules"].items()]
            columns = {name: st.column_config.NumberColumn(name, format="%.4g") for name in ("value", "limit")}
            table = shown.coloured(rows, "verdict", palette.VERDICTS)
            st.dataframe(table, hide_index=True, height=min(38 + 35 * len(rows), 423), column_config=columns, key="rules")


def show_history(verdicts: Answer, drawdown: Answer, signals: dict[str, Any]) -> None:
    """Verdicts as a band a pair, drawdown against its limit."""
    left, right = st.columns(2)
    left.subheader("Verdicts")
    right.subheader("Drawdown", help="of all pairs, from the high-water mark")
    bands = bands_of(verdicts.value or ())
    if bands:
        frame = pd.DataFrame(bands, columns=["start", "end", "row", "what"])
        left.vega_lite_chart(frame, figures.timeline(tuple(palette.VERDICTS.items()), 110 + 36 * frame["row"].nunique()), key="verdicts over time")
    elif verdicts.value is not None:
        left.caption("No verdict in this range yet: each comes with a bar close.")
    lost = frames.long(drawdown.value or (), frames.called("drawdown"), 100)
    if len(lost):
        limit = next((100 * signal["rules"]["drawdown"]["limit"] for signal in signals.values()), None)
        edges = [(lost["time"].iloc[end], limit, _LIMIT) for end in (0, -1)] if limit is not None else []
        frame = pd.concat([lost, pd.DataFrame(edges, columns=[*frames.COLUMNS])], ignore_index=True)
        colours = (("drawdown", palette.SIGNAL), (_LIMIT, palette.LIMIT))
        right.vega_lite_chart(frame, figures.lines("%", colours=colours, zero=True, digits=",.3f"), key="drawdown")


def bands_of(verdicts: list[Series] | tuple[Series, ...]) -> list[tuple[float, float, str, str]]:
    """Stretches of one verdict each: from, to (milliseconds), pair, verdict."""
    made = []
    for each in verdicts:
        begun_s, was = None, -1
        for at_s, value in [*each.points, (each.points[-1][0], -1.0)] if each.points else ():
            if value != was:
                if begun_s is not None and 0 <= was < len(VERDICTS):
                    made.append((begun_s * 1e3, at_s * 1e3, each.labels["pair"], VERDICTS[was]))
                begun_s, was = at_s, int(value)
    return made


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
        kind = st.radio("Command", list(ACTIONS), captions=list(ACTIONS.values()), key="kind")
        places = st.columns((1, 1, 2, 1))
        target = places[0].selectbox("Target", (PORTFOLIO, *desk().pairs()), key="target")
        who = places[1].text_input("Who", key="who", help="your name: it stays in the log")
        why = places[2].text_input("Why", key="why", help="the reason: it stays in the log")
        token = places[3].text_input("Token", type="password", key="token", help="what CONTROL_TOKEN or CONTROL_TOKEN_FILE says to risk-manager-service")
        sure = st.checkbox("Yes, close positions at the market", key="sure", help="needed for flatten")
        if st.form_submit_button("Send", type="primary"):
            send(kind, target, token, who.strip(), why.strip(), sure=sure)


def send(kind: str, target: str, token: str, who: str, why: str, *, sure: bool) -> None:  # noqa: PLR0913  # what the form holds
    """Send a command and show what became of it."""
    missing = [name for name, value in (("your name", who), ("the reason", why), ("the token", token.strip())) if not value]
    if kind == "flatten" and not sure:
        missing.append("the tick that says you are sure")
    if missing:
        st.error(f"Nothing was sent: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.")
        return
    try:
        status, answer = desk().command(kind, token.strip(), {"pair": target, "who": who, "why": why})
    except Away as error:
        st.error(f"Whether it was written down is not known, look at the commands above: {error}")
        return
    if status == 202:
        st.success(f"Command {answer['id']} is written down: {kind} {answer['pair']}, obeyed {answer['obeyed']}.")
    else:
        st.error(f"risk-manager-service refuses it ({status}): {answer.get('error', 'no reason given')}")


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
