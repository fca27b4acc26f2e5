"""How pages say things: amounts and times with their units, sources that are away, what to do where there is nothing."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from common.costs import to_cents
from common.market import NANOSECONDS
from monitoring.streamlit.data import ACTIVE, desk
from monitoring.streamlit.kept import Answer

#: How often figures are asked for again; a fill is to be seen within three seconds.
REFRESH_S = 2.0
TRADES_REFRESH_S = 1.0
#: Minutes that charts show, by what people call them.
RANGES = {"5 min": 5, "15 min": 15, "30 min": 30, "1 h": 60, "6 h": 360, "24 h": 1440}
#: Times of a table, in the zone of whoever looks.
_TIME = "YYYY-MM-DD HH:mm:ss"


def zone() -> str:
    """Name of the time zone of whoever looks."""
    return str(st.context.timezone or "UTC")


def _zone() -> tzinfo:
    try:
        return ZoneInfo(zone())
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def moment(event_time_ns: int) -> datetime:
    """A time as tables take it."""
    return datetime.fromtimestamp(event_time_ns // NANOSECONDS, UTC)


def clock(event_time_ns: int) -> str:
    """A time as text, in the zone of whoever looks."""
    return f"{datetime.fromtimestamp(event_time_ns // NANOSECONDS, _zone()):%Y-%m-%d %H:%M:%S}"


def time_column(label: str) -> Any:
    """A column of times."""
    return st.column_config.DatetimeColumn(label, format=_TIME, timezone=zone())


def usd_column(label: str, meaning: str | None = None) -> Any:
    """A column of amounts to the cent."""
    return st.column_config.NumberColumn(f"{label}, USD", format="%,.2f", help=meaning)


def number_column(label: str, digits: int, meaning: str | None = None) -> Any:
    """A column of statistics."""
    return st.column_config.NumberColumn(label, format=f"%.{digits}f", help=meaning)


def cents(amount: str | Decimal) -> float:
    """An exact amount to the cent, for the eye alone."""
    return float(to_cents(Decimal(amount)))


def usd(amount: str | Decimal) -> str:
    """An exact amount to the cent, as text."""
    return f"{to_cents(Decimal(amount)):,.2f}"


def quantity(amount: str) -> str:
    """A quantity without what says nothing."""
    return f"{Decimal(amount).normalize():f}"


def number(value: float | None, digits: int = 2, unit: str = "") -> str:
    """A statistic with its unit; a dash where it is not known."""
    known = value is not None and not math.isnan(value)
    return f"{value:,.{digits}f}{unit and f' {unit}'}" if known else "-"


def duration(seconds: float) -> str:
    """A stretch of time in the unit that suits it."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def metrics(figures: Iterable[tuple[str, str, str]]) -> None:
    """Figures in large, each with its label and what it means, as wide as they need."""
    with st.container(horizontal=True):
        for label, value, meaning in figures:
            st.metric(label, value, help=meaning, border=True, width="content")


def coloured(rows: Sequence[Mapping[str, Any]], column: str, colours: Mapping[str, str]) -> Any:
    """Rows as a table in which one column's words have their colours."""
    styled = pd.DataFrame(rows).style
    return styled.map(lambda word: f"color: {colours[word]}; font-weight: 600" if word in colours else "", subset=[column])


def note_problems(answers: Iterable[Answer]) -> None:
    """Say once of each source that is away what to do, and how old that is which is shown instead."""
    oldest: dict[str, Answer] = {}
    for answer in answers:
        known = oldest.get(answer.problem)
        if answer.problem and (known is None or answer.age_s > known.age_s):
            oldest[answer.problem] = answer
    for problem, answer in oldest.items():
        if answer.value is None:
            st.error(problem)
        else:
            st.warning(f"{problem}. Below is what it said {duration(answer.age_s)} ago.")


def note_standby(*answers: Answer) -> None:
    """Say so where execution's figures are not those of the replica that trades."""
    told = [answer.value for answer in answers if answer.value and answer.value.get("role", ACTIVE) != ACTIVE]
    if told:
        of = clock(min(each["event_time_ns"] for each in told))
        st.warning(f"No active replica of execution-service answered, but one that is {told[0]['role']}: figures are those of the ledger, of {of}.")


def choose_range(key: str, *, beside: tuple[str, ...] = ()) -> str:
    """Ask how far charts go back, as far as anything is kept; the choice is part of the address."""
    kept = [name for name, minutes in RANGES.items() if minutes <= desk().metrics.kept_minutes]
    return st.segmented_control("Range", [*kept, *beside], default="15 min", required=True, key=key, label_visibility="collapsed", bind="query-params")


def sections(count: int) -> list[DeltaGenerator]:
    """Places one below the other: what one of them shows or leaves out moves nothing in the others, so nothing is drawn anew."""
    return [st.container() for _ in range(count)]


def loading() -> AbstractContextManager[None]:
    """Say that the first answers are on their way, should they take their time."""
    return st.spinner("Asking the services")


def asked_at() -> None:
    """Say when the page was last brought up to date, and in which zone its times are."""
    st.caption(f"Asked at {datetime.now(_zone()):%H:%M:%S} and again every few seconds; times are in {zone()}. Paper trading; amounts in USD.")
