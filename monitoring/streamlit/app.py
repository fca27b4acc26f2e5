"""The page "P&L": what the pairs have earned and hold, their newest orders, and what risk says of them.

From the project's root: python -m streamlit run monitoring/streamlit/app.py
"""

import os
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import streamlit as st

from common.errors import ConfigurationError
from common.market import NANOSECONDS
from common.settings import TradingProfile, load
from monitoring.streamlit.client import Client, DashboardSettings, ServiceAway

REFRESH_S = 2.0
ORDERS_SHOWN = 20
TOTALS = {
    "net": "gross + fees + funding",
    "gross": "realised by fills, before costs",
    "fees": "a cost is negative",
    "funding": "a cost is negative",
    "unrealised": "what closing the open positions at the present mid prices would add",
    "equity": "starting equity + net + unrealised",
}
#: The rules that compare a loss of the whole portfolio with its limit.
LOSSES = {"drawdown": "Drawdown from the high-water mark", "daily-loss": "Loss since the start of the UTC day"}
HALT = ("target", "verdict", "rule", "who", "why")

_USD = st.column_config.NumberColumn(format="%.2f")


@st.fragment(run_every=REFRESH_S)
def page(execution: Client, risk_manager: Client) -> None:
    """Ask and show; each part keeps its place, so that a refresh changes only what differs."""
    places = st.container(), st.container(), st.container()
    verdicts: dict[str, Any] = {}
    with places[1]:
        st.subheader("Risk")
        try:
            risk = risk_manager.get("/state")
            verdicts = risk.get("pairs", {})
            show_risk(risk, risk_manager.address)
        except ServiceAway as error:
            st.error(str(error))
    with places[0]:
        try:
            show_trading(execution, verdicts)
        except ServiceAway as error:
            st.error(str(error))
    places[2].caption(f"Asked at {datetime.now(UTC):%H:%M:%S} UTC and every {REFRESH_S:g} s. Paper trading; amounts in USD.")


def show_trading(execution: Client, verdicts: dict[str, Any]) -> None:
    """Totals, pairs and orders; raises ServiceAway before it shows anything."""
    profit, held = execution.get("/pnl"), execution.get("/positions")["positions"]
    orders = execution.get(f"/orders?limit={ORDERS_SHOWN}")["orders"]
    for place, (name, meaning) in zip(st.columns(len(TOTALS)), TOTALS.items(), strict=True):
        place.metric(name.capitalize(), f"{_usd(profit['total'], name):,.2f}", help=meaning)
    with st.container():
        st.subheader("Pairs")
        show_pairs([_pair_row(each, profit["pairs"][each["pair"]], verdicts.get(each["pair"])) for each in held if each["pair"] in profit["pairs"]])
    with st.container():
        st.subheader("Newest orders")
        show_orders([_order_row(order) for order in orders], execution.address)


def show_pairs(rows: list[dict[str, Any]]) -> None:
    """A row a pair."""
    if rows:
        st.dataframe(rows, hide_index=True, column_config=dict.fromkeys(TOTALS, _USD), key="pairs")
    else:
        st.info("execution-service shows no pair yet: it is still starting.")


def show_orders(rows: list[dict[str, Any]], address: str) -> None:
    """The newest orders, or how to find out why there is none."""
    if rows:
        st.dataframe(rows, hide_index=True, key="orders")
    else:
        st.info(f"No order yet: the models warm up first. `{address}/pairs/PAIR/explain` says what an entry still lacks.")


def show_risk(risk: dict[str, Any], address: str) -> None:
    """Losses against their limits, which are those of the last signal of any pair, and the halts in force."""
    signal = next(filter(None, risk.get("pairs", {}).values()), None)
    if signal is None:
        st.info("risk-manager-service has seen no bar close yet: there is nothing to judge.")
    else:
        for place, (rule, meaning) in zip(st.columns(len(LOSSES)), LOSSES.items(), strict=True):
            value, limit = signal["rules"][rule]["value"], signal["rules"][rule]["limit"]
            place.progress(min(value / limit, 1.0), f"{meaning}: {value:.2%}, limit {limit:.2%}")
    if halts := [{name: halt[name] for name in HALT} for halt in risk.get("halts", ())]:
        st.warning(f"Halts in force: {len(halts)}. An operator lifts them with `POST {address}/resume`.")
        st.dataframe(halts, hide_index=True, key="halts")
    else:
        st.caption("No halt is in force.")


def _pair_row(position: dict[str, Any], profit: dict[str, Any], risk: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "pair": position["pair"],
        "state": position["state"],
        "verdict": risk["verdict"] if risk else "unknown",
        "because of": ", ".join(risk["because_of"]) if risk else "",
        **{f"{name} leg": f"{Decimal(leg['quantity']).normalize():f} {leg['symbol']}" for name, leg in position["legs"].items()},
        **{name: _usd(profit, name) for name in ("net", "unrealised", "equity")},
    }


def _order_row(order: dict[str, Any]) -> dict[str, Any]:
    at = datetime.fromtimestamp(order["event_time_ns"] // NANOSECONDS, UTC)
    columns = ("pair", "symbol", "side", "quantity", "filled", "status", "reduce_only", "reason")
    return {"time (UTC)": f"{at:%Y-%m-%d %H:%M:%S}", **{name.replace("_", " "): order[name] for name in columns}}


def _usd(profit: dict[str, Any], name: str) -> float:
    """An amount to the cent, for the eye alone."""
    return float(profit[f"{name}_usd"]["usd"])


def show_profile(settings: DashboardSettings) -> None:
    """Say so when figures come of the demo's profile."""
    if settings.profile_in_use is TradingProfile.DEMO:
        st.info("DEMO PROFILE: recorded klines in a loop, and the cost gate reports without blocking. These figures say nothing of what trading would earn.")


def main() -> None:
    """Read the settings and show the page."""
    st.set_page_config(page_title="P&L", layout="wide")
    st.title("P&L")
    try:
        settings = load(DashboardSettings, os.environ)
    except ConfigurationError as error:
        st.error(str(error))
        return
    show_profile(settings)
    page(
        Client("execution-service", "EXECUTION_URL", settings.execution_url.rstrip("/")),
        Client("risk-manager-service", "RISK_MANAGER_URL", settings.risk_manager_url.rstrip("/")),
    )


if __name__ == "__main__":
    main()
