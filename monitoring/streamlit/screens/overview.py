"""The page "Overview": equity, drawdown, profit by part and pair, positions."""

from typing import Any

import pandas as pd
import streamlit as st

from common.market import NANOSECONDS
from monitoring import palette
from monitoring.streamlit import figures, frames, shown
from monitoring.streamlit.data import desk
from monitoring.streamlit.kept import Answer
from monitoring.streamlit.series import total

TOTALS = {
    "net": "gross + fees + funding",
    "gross": "realised by fills, before costs",
    "fees": "a cost is negative",
    "funding": "a cost is negative",
    "unrealised": "what closing the open positions at the present books would add",
    "equity": "starting equity + net + unrealised",
}
WHOLE = "whole ledger"
#: How the parts of a profit are called here and in execution's answer.
PARTS = {"realised": "gross", "unrealised": "unrealised", "fees": "fees", "funding": "funding"}


@st.fragment(run_every=shown.REFRESH_S)
def page(range_name: str) -> None:
    """Ask and show; each part keeps its place, so that a refresh changes only what differs."""
    profit, positions, risk = desk().profit(), desk().positions(), desk().risk()
    equity, curve = equity_over(range_name)
    with st.container():
        shown.note_problems((profit, positions, risk, equity))
        shown.note_standby(profit, positions)
    totals, curves, parts, held = shown.sections(4)
    with curves:
        show_equity(curve, equity)
    if profit.value is not None:
        with totals:
            show_totals(profit.value["total"])
        with parts:
            show_parts(profit.value["pairs"])
    if positions.value is not None and profit.value is not None:
        with held:
            show_positions(positions.value["positions"], profit.value["pairs"], (risk.value or {}).get("pairs", {}))
    shown.asked_at()


def show_totals(amounts: dict[str, Any]) -> None:
    """What all pairs together have made, to the cent."""
    shown.metrics((f"{name.capitalize()}, USD", shown.usd(amounts[f"{name}_usd"]["exact"]), meaning) for name, meaning in TOTALS.items())


def equity_over(range_name: str) -> tuple[Answer, pd.DataFrame]:
    """Equity of all pairs: by the metrics for a range, by the ledger for all of it."""
    if range_name == WHOLE:
        answer = desk().equity()
        rows = [(each["event_time_ns"] / NANOSECONDS * 1e3, shown.cents(each["equity_usd"]), "equity") for each in (answer.value or {}).get("equity", ())]
        return answer, pd.DataFrame(rows, columns=[*frames.COLUMNS])
    answer = desk().over("crypto_bot_equity_usd", shown.RANGES[range_name])
    return answer, frames.long([total(answer.value or ())], frames.called("equity"))


def show_equity(curve: pd.DataFrame, answer: Answer) -> None:
    """Equity, and how far it is below its highest point in the range."""
    left, right = st.columns((3, 2))
    left.subheader("Equity")
    right.subheader("Drawdown", help="how far equity is below its highest point in the range")
    if len(curve):
        left.vega_lite_chart(curve, figures.lines("USD", colours=(("equity", palette.SIGNAL),), digits=",.2f"), key="equity")
        right.vega_lite_chart(frames.drawdown_frame(curve), figures.area("%", palette.LOSS), key="drawdown")
    elif answer.value is not None:
        left.info("No bar has closed yet: equity is written at each bar close. A recording begins with a minute of warming up.")


def show_parts(pairs: dict[str, Any]) -> None:
    """Each pair's profit by part."""
    st.subheader("Profit by part and pair")
    rows = [(pair, part, shown.cents(amounts[f"{name}_usd"]["exact"])) for pair, amounts in pairs.items() for part, name in PARTS.items()]
    if not rows:
        st.info("execution-service knows no pair yet: it is still starting.")
    elif any(usd for *_, usd in rows):
        st.vega_lite_chart(pd.DataFrame(rows, columns=["pair", "part", "usd"]), figures.profit_parts(130 + 40 * len(pairs)), key="parts")
    else:
        st.caption("Nothing has been earned or paid yet. The page Pair tells what an entry still lacks.")


def show_positions(held: list[dict[str, Any]], profit: dict[str, Any], verdicts: dict[str, Any]) -> None:
    """A row a pair: what it does, what it may do, what it holds and what that is worth."""
    rows = [_row(each, profit[each["pair"]], verdicts.get(each["pair"])) for each in held if each["pair"] in profit]
    if rows:
        st.subheader("Positions")
        columns = {name: shown.usd_column(name) for name in ("net", "unrealised", "equity")}
        st.dataframe(shown.coloured(rows, "verdict", palette.VERDICTS), hide_index=True, column_config=columns, key="positions")


def _row(position: dict[str, Any], profit: dict[str, Any], risk: dict[str, Any] | None) -> dict[str, Any]:
    legs = {f"{name} leg": f"{shown.quantity(leg['quantity'])} {leg['symbol']}" for name, leg in position["legs"].items()}
    return {
        "pair": position["pair"],
        "state": position["state"],
        "verdict": risk["verdict"] if risk else "unknown",
        "because of": ", ".join(risk["because_of"]) if risk else "",
        **legs,
        **{name: shown.cents(profit[f"{name}_usd"]["exact"]) for name in ("net", "unrealised", "equity")},
    }


st.title("Overview")
range_chosen = shown.choose_range("range", beside=(WHOLE,))
with shown.loading():
    page(range_chosen)
