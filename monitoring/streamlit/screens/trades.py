"""The page "Trades": every round trip with its decisions, fills, slippage and fees, and the newest fills."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import streamlit as st

from common.market import NANOSECONDS
from monitoring.streamlit import shown
from monitoring.streamlit.data import desk
from monitoring.streamlit.trips import ALL, RESULTS, Choice, Trip, csv_of

#: Round trips on the page.
SHOWN = (50, 100, 200)
FILLS_SHOWN = 20
_MONEY = ("net", "gross", "fees", "slippage", "funding")
_SLIPPAGE = "won against the middle of the book at the decision; a cost is negative"


@st.fragment(run_every=shown.TRADES_REFRESH_S)
def page(choice: Choice, limit: int) -> None:
    """Ask and show."""
    trips, fills = desk().round_trips(limit, choice.asked), desk().fills(FILLS_SHOWN, choice.asked)
    with st.container():
        shown.note_problems((trips, fills))
    closed, filled = shown.sections(2)
    if trips.value is not None:
        with closed:
            newest = trips.value["round_trips"]
            among = f"the newest {len(newest)}" if trips.value["next"] else f"all {len(newest)}"
            show_trips([trip for trip in newest if choice.takes(trip)], among + (f" of {choice.asked}" if choice.asked else ""), bool(newest))
    if fills.value is not None:
        with filled:
            show_newest(fills.value["fills"], choice.asked)
    shown.asked_at()


def show_trips(trips: Sequence[Trip], among: str, there_are_any: bool) -> None:
    """What they made together, a row each, and one in full."""
    if not trips:
        none = f"No round trip among {among} is like that: choose other filters. The CSV looks through the whole ledger."
        st.info(none if there_are_any else "No round trip yet. The page Pair tells what an entry still lacks.")
        return
    show_sums(trips, among)
    columns = {name: shown.usd_column(name, _SLIPPAGE if name == "slippage" else None) for name in _MONEY}
    columns |= {"opened": shown.time_column("opened"), "closed": shown.time_column("closed"), "unhedged": shown.number_column("unhedged, USD s", 0)}
    st.dataframe([_row(trip) for trip in trips], hide_index=True, column_config=columns, key="round trips")
    by_id = {trip["id"]: trip for trip in trips}
    chosen = st.selectbox("Look at one", list(by_id), format_func=lambda number: _title(by_id[number]), key="one trip")
    show_one(by_id[chosen])


def show_sums(trips: Sequence[Trip], among: str) -> None:
    """How they went, together."""
    st.caption(f"Sums of the {len(trips)} round trips that pass the filters, among {among}. The CSV has those of the whole ledger.")
    gains = sum(Decimal(trip["net_usd"]) > 0 for trip in trips)
    figures = [("Round trips", f"{len(trips)}", f"among {among}"), ("Gains", f"{100 * gains / len(trips):.0f} %", "share of round trips whose net is above 0")]
    figures += [_sum(trips, name) for name in ("net", "gross", "fees", "slippage")]
    shown.metrics(figures)


def _sum(trips: Sequence[Trip], name: str) -> tuple[str, str, str]:
    """An amount is not known of trips that an older program made."""
    amounts = [Decimal(trip[f"{name}_usd"]) for trip in trips if trip[f"{name}_usd"] is not None]
    part = f" ({len(amounts)} of {len(trips)})" if len(amounts) < len(trips) else ""
    meaning = _SLIPPAGE if name == "slippage" else "of these round trips"
    return f"{name.capitalize()}, USD{part}", shown.usd(sum(amounts, Decimal(0))) if amounts else "-", meaning


def show_one(trip: Trip) -> None:
    """Why it was opened and closed, what every gate said, and its fills."""
    for place, name in zip(st.columns(2), ("entry", "exit"), strict=True):
        decision = trip[name]
        place.markdown(f"**{name.capitalize()}**: {_decision(decision) if decision else 'its decision is not in the ledger'}")
    if trip["entry"] and trip["entry"]["gates"]:
        with st.expander("Gates at the entry"):
            st.dataframe(trip["entry"]["gates"], hide_index=True, key="gates at entry")
    show_fills("Its fills", trip["fills"], "fills of one")


def show_newest(fills: Sequence[dict[str, Any]], pair: str) -> None:
    """The last one in words, and those before it."""
    if fills:
        last = fills[0]
        deal = f"{last['side'].lower()} {shown.quantity(last['quantity'])} {last['symbol']} at {shown.quantity(last['price'])}"
        money = f"fee {shown.usd(last['fee_usd'])} USD, realised {shown.usd(last['realised_usd'])} USD"
        st.markdown(f"**Last fill**: no. {last['id']}, {shown.clock(last['event_time_ns'])}, {deal}, {money}")
    show_fills(f"Newest fills of {pair}" if pair else "Newest fills", fills, "fills")


def show_fills(title: str, fills: Sequence[dict[str, Any]], key: str) -> None:
    """A row a fill; what it lost against the middle of the book at its decision."""
    st.subheader(title)
    if not fills:
        st.info("No fill yet. Orders are filled on paper by the first book after the decision and its latency.")
        return
    columns = {"time": shown.time_column("time"), **{name: shown.usd_column(name) for name in ("fee", "realised", "slippage")}}
    columns["number"] = st.column_config.NumberColumn("no.", format="%d", help="of the ledger")
    columns["worse"] = shown.number_column("worse, bps", 2, "than the middle of the book at the decision; negative is better")
    st.dataframe([_fill_row(fill) for fill in fills], hide_index=True, column_config=columns, key=key)


def _row(trip: Trip) -> dict[str, Any]:
    opened_ns = trip["entry"]["event_time_ns"] if trip["entry"] else None
    return {
        "pair": trip["pair"],
        "direction": _words(trip["direction"]),
        "closed by": _words(trip["action"]),
        "opened": shown.moment(opened_ns) if opened_ns is not None else None,
        "closed": shown.moment(trip["event_time_ns"]),
        "held": shown.duration((trip["event_time_ns"] - opened_ns) / NANOSECONDS) if opened_ns is not None else "-",
        **{name: shown.cents(trip[f"{name}_usd"]) if trip[f"{name}_usd"] is not None else None for name in _MONEY},
        "unhedged": float(trip["unhedged_usd_seconds"]),
    }


def _fill_row(fill: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": fill["id"],
        "time": shown.moment(fill["event_time_ns"]),
        "pair": fill["pair"],
        "symbol": fill["symbol"],
        "side": fill["side"],
        "quantity": shown.quantity(fill["quantity"]),
        "price": shown.quantity(fill["price"]),
        "worse": fill["slippage_bps"],
        "slippage": shown.cents(fill["slippage_usd"]) if fill["slippage_usd"] is not None else None,
        "fee": shown.cents(fill["fee_usd"]),
        "realised": shown.cents(fill["realised_usd"]),
    }


def _title(trip: Trip) -> str:
    how = f"{_words(trip['direction'])}, closed by {_words(trip['action'])}"
    return f"{shown.clock(trip['event_time_ns'])}  {trip['pair']}  {how}: {shown.usd(trip['net_usd'])} USD"


def _decision(decision: dict[str, Any]) -> str:
    terms = f"z {shown.number(decision['z'])} · hedge ratio {decision['beta']:.3f} · {shown.usd(decision['notional_usd'])} USD gross"
    return f"{shown.clock(decision['event_time_ns'])}, {decision['reason']} · {terms}"


def _words(action: str) -> str:
    return action.lower().replace("_", " ")


st.title("Trades")
places = st.columns((2, 2, 2, 2, 1, 1), vertical_alignment="bottom")
chosen = Choice(
    places[0].selectbox("Pair", (ALL, *desk().pairs()), key="pair", bind="query-params"),
    places[1].selectbox("Direction", (ALL, "ENTER_LONG", "ENTER_SHORT"), format_func=_words, key="direction"),
    places[2].selectbox("Closed by", (ALL, "EXIT", "STOP", "TIME_STOP", "UNWIND", "FLATTEN"), format_func=_words, key="closed"),
    places[3].selectbox("Result", RESULTS, key="result"),
)
newest = places[4].selectbox("Newest", SHOWN, key="newest")
places[5].download_button(
    "CSV",
    data=lambda: csv_of(trip for trip in desk().all_round_trips(chosen.asked) if chosen.takes(trip)),
    file_name="round-trips.csv",
    mime="text/csv",
    help="all of the ledger that pass the filters, exact",
)
with shown.loading():
    page(chosen, newest)
