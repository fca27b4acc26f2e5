"""The page "Pair": its prices, spread, z, models, and what an entry still lacks."""

from typing import Any

import pandas as pd
import streamlit as st

from monitoring import palette
from monitoring.streamlit import figures, frames, shown
from monitoring.streamlit.data import desk
from monitoring.streamlit.series import Series, by_name, selector_of

#: What the charts are drawn from, by the names that are used here.
SERIES = {
    "price": "crypto_bot_leg_price_usd",
    "spread": "crypto_bot_kalman_spread_bps",
    "z": "crypto_bot_z",
    "threshold": "crypto_bot_threshold_z",
    "decisions": "crypto_bot_decisions_total",
    "beta": "crypto_bot_kalman_beta",
    "beta deviation": "crypto_bot_kalman_beta_deviation",
    "volatility": "crypto_bot_garch_innovation_deviation_bps",
    "changepoint": "crypto_bot_changepoint_recent_mass_ratio",
    "run length": "crypto_bot_changepoint_run_length_bars",
}
_GATE_COLOURS = {"BLOCKS": palette.CRITICAL, "passes": palette.GOOD, "reports only": palette.WARNING, "would block": palette.WARNING}
#: Fields of an explanation that have a place of their own.
_PLACED = frozenset(
    {"gates", "pair", "state", "verdict", "z", "entry_z", "distance_to_entry", "blocking_gate", "note", "bar", "last_seq", "role", "event_time_ns"}
)
#: The same of a gate; its numbers are its value and limit once more.
_GATE_PLACED = frozenset({"name", "passed", "advisory", "verdict", "number", "limit_number"})


@st.fragment(run_every=shown.REFRESH_S)
def page(pair: str, range_name: str) -> None:
    """Ask and show."""
    explained = desk().explain(pair)
    drawn = desk().over(selector_of(SERIES, pair=pair), shown.RANGES[range_name])
    with st.container():
        shown.note_problems((explained, drawn))
        shown.note_standby(explained)
    stands, z, gates, charts = shown.sections(4)
    if explained.value is not None:
        with stands:
            show_where_it_stands(explained.value)
        with gates:
            show_gates(explained.value)
    found = by_name(drawn.value or (), SERIES)
    if drawn.value is not None:
        with z:
            show_z(pair, found)
    if any(found.values()):
        with charts:
            show_charts(pair, found)
    shown.asked_at()


def show_where_it_stands(explained: dict[str, Any]) -> None:
    """State, verdict and the way to an entry."""
    blocking = explained["blocking_gate"]
    known = bool(explained["gates"])
    figures_ = (
        ("State", explained["state"], "of the position"),
        ("Verdict", explained["verdict"], "what risk allows, and what keeps this bar from new exposure"),
        ("z", shown.number(explained["z"]), "innovation over its deviation, at the last tick"),
        ("To an entry", shown.number(explained["distance_to_entry"], unit="z"), "what |z| lacks to the entry threshold"),
        ("Blocked by", blocking or ("nothing" if known else "-"), "the first gate that does not let an entry through"),
    )
    shown.metrics(figures_)


def show_gates(explained: dict[str, Any]) -> None:
    """Every gate with value and limit; the one that blocks is marked."""
    st.subheader("Gates of an entry")
    if not explained["gates"]:
        st.info(f"No gate can be judged yet: {explained['note'] or 'nothing is known of the pair'}. They are judged at each tick.")
        return
    rows = [_gate_row(gate, explained["blocking_gate"]) for gate in explained["gates"]]
    # A row a gate, without a bar to scroll.
    columns = {"distance": st.column_config.NumberColumn("distance", format="%.4g", help="what it lacks to pass, in its unit")}
    st.dataframe(shown.coloured(rows, "verdict", _GATE_COLOURS), hide_index=True, height=38 + 35 * len(rows), column_config=columns, key="gates")
    if explained["note"]:
        st.caption(explained["note"].capitalize() + ".")
    if more := {name.replace("_", " "): value for name, value in explained.items() if name not in _PLACED and isinstance(value, str | int | float)}:
        st.caption(" · ".join(f"{name}: {value}" for name, value in more.items()))


def show_z(pair: str, found: dict[str, list[Series]]) -> None:
    """What the pair is traded by."""
    if any(found.values()):
        chart(st, "z, thresholds and decisions", frames.z_frame(found["z"], found["threshold"], found["decisions"]), figures.z())
    else:
        st.info(f"There are no samples of {pair} in this range yet: choose a longer one, or wait for the first ticks.")


def show_charts(pair: str, found: dict[str, list[Series]]) -> None:
    """Two in a row, on the same stretch of time."""
    y, x = pair.split("-")
    legs = {"y": y, "x": x}
    prices = frames.change_frame(found["price"], lambda labels: legs.get(labels["leg"], ""))
    mass = frames.long(found["changepoint"], frames.called("recent change"), 100)
    drawn = (
        ("Prices since the start of the range", prices, figures.lines("%", colours=((y, palette.LEG_A), (x, palette.LEG_B)), digits=",.3f")),
        ("Spread", _line(found["spread"]), figures.area("bps of y's price", palette.SIGNAL)),
        ("Hedge ratio, ± 2 deviations", frames.band_frame(found["beta"], found["beta deviation"]), figures.band("USD of x for 1 of y")),
        ("Volatility, forecast of the next bar", _line(found["volatility"]), figures.area("bps", palette.SERIES[3])),
        ("Probability of a recent change of regime", mass, figures.area("%", palette.WARNING)),
        ("Since the last change of regime, expected", _line(found["run length"]), figures.area("bars", palette.SERIES[4])),
    )
    places = [place for _ in range(0, len(drawn), 2) for place in st.columns(2)]
    for place, (title, frame, figure) in zip(places, drawn, strict=True):
        chart(place, title, frame, figure)


def chart(place: Any, title: str, frame: pd.DataFrame, figure: figures.Figure) -> None:
    """A chart under its title, or why there is none."""
    place.markdown(f"**{title}**")
    if len(frame):
        place.vega_lite_chart(frame, figure, key=f"chart {title}")
    else:
        place.caption("No samples yet: the models warm up first.")


def _line(series: list[Series]) -> pd.DataFrame:
    return frames.long(series, frames.called("value"))


def _gate_row(gate: dict[str, Any], blocking: str) -> dict[str, Any]:
    """Whatever execution tells of a gate; names that are new are shown as they come."""
    name = gate["name"]
    mark = "BLOCKS" if name == blocking else "passes" if gate["passed"] else "reports only" if gate.get("advisory") else "would block"
    rest = {key: value for key, value in gate.items() if key not in _GATE_PLACED and not isinstance(value, dict | list)}
    return {"gate": name, "verdict": mark, **{key: value if key == "distance" else "" if value is None else str(value) for key, value in rest.items()}}


@st.fragment(run_every=shown.REFRESH_S)
def wait_for_pairs() -> None:
    """Until execution has told of one, which shows all by itself then."""
    if desk().pairs():
        st.rerun()
    shown.note_problems([desk().positions()])
    st.info("execution-service has told of no pair yet: this page goes on by itself once it does.")


st.title("Pair")
known = desk().pairs()
if known:
    left, right = st.columns((1, 2), vertical_alignment="bottom")
    chosen = left.selectbox("Pair", known, key="pair", label_visibility="collapsed", bind="query-params")
    with right:
        range_chosen = shown.choose_range("range")
    with shown.loading():
        page(chosen, range_chosen)
else:
    wait_for_pairs()
