"""The page "System": every service, how it is and how fast it works, and what alerts say."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from monitoring import palette
from monitoring.streamlit import figures, frames, shown
from monitoring.streamlit.data import SERVICES, desk
from monitoring.streamlit.kept import Answer
from monitoring.streamlit.series import Series, by_name, rates, selector_of

#: Services by what they are called in charts.
SHORT = {name: name.removesuffix("-service") for name in SERVICES}
COLOURS = tuple((name, palette.SERIES[number]) for number, name in enumerate(SHORT.values()))
_STATES = {"ready": palette.GOOD, "not ready": palette.WARNING, "away": palette.CRITICAL}
SERIES = {"records": "crypto_bot_records_consumed_total", "cpu": "process_cpu_seconds_total", "memory": "process_resident_memory_bytes"}
MEGABYTE = 2.0**20


@st.fragment(run_every=shown.REFRESH_S)
def page(range_name: str) -> None:
    """Ask and show."""
    healths = {name: desk().health(name) for name in SERVICES}
    infos = {name: desk().info(name) for name in SERVICES}
    drawn = desk().over(selector_of(SERIES), shown.RANGES[range_name])
    alerts = desk().now('ALERTS{alertstate="firing"}')
    with st.container():
        shown.note_problems((*healths.values(), drawn, alerts))
    services, latency, checks, fired, charts = shown.sections(5)
    with services:
        show_services(healths, infos)
    with latency:
        show_latency(infos["execution-service"])
    with checks:
        show_checks(healths)
    with fired:
        show_alerts(alerts)
    with charts:
        show_charts(by_name(drawn.value or (), SERIES))
    shown.asked_at()


def show_services(healths: dict[str, Answer], infos: dict[str, Answer]) -> None:
    """A row a service."""
    columns = {
        "lag": st.column_config.NumberColumn("lag, records", format="%d", help="there and not yet read"),
        "step": shown.number_column("step, ms", 3, "mean time to handle one turn, since the start"),
    }
    rows = [_service_row(name, healths[name], infos[name]) for name in SERVICES]
    st.dataframe(shown.coloured(rows, "state", _STATES), hide_index=True, column_config=columns, key="services")


def show_latency(info: Answer) -> None:
    """Time from the socket to the decision, since execution's start."""
    measured: dict[str, float] = ((info.value or {}).get("details") or {}).get("tick_to_decision_ms") or {}
    st.subheader("From the socket to the decision")
    if not any(measured.values()):
        st.caption("Not measured yet: no tick has been decided.")
        return
    shown.metrics((name, shown.number(value, 2, "ms"), "since execution's start") for name, value in measured.items())


def show_checks(healths: dict[str, Answer]) -> None:
    """What a service finds wrong with itself or its surroundings."""
    failing = [
        {"service": service, "check": name, "problem": check.get("output", ""), "observed": str(check.get("observedValue"))}
        for service, answer in healths.items()
        for name, check in ((answer.value or {}).get("checks") or {}).items()
        if check["status"] != "pass"
    ]
    if not any(answer.value for answer in healths.values()):
        st.caption("No service has answered, so nothing is known of their checks.")
    elif failing:
        st.warning(f"Checks that fail: {len(failing)}.")
        st.dataframe(failing, hide_index=True, key="checks")
    else:
        st.caption("Every check of every service that answers passes.")


def show_alerts(alerts: Answer) -> None:
    """What fires, the dead man's signal apart."""
    st.subheader("Alerts")
    if not desk().metrics.promql:
        st.caption("Alerts are Prometheus' work, and there is none here: set `PROMETHEUS_URL` to see them.")
        return
    firing = [each.labels for each in alerts.value or () if each.labels.get("alertname") != "Watchdog"]
    if firing:
        named = ("alertname", "severity", "service", "pair", "job")
        st.dataframe([{name: labels.get(name, "") for name in named} for labels in firing], hide_index=True, key="alerts")
    elif alerts.value is not None:
        st.caption("No alert is firing.")


def show_charts(found: dict[str, list[Series]]) -> None:
    """How much each service does and what it takes for it, all its topics and replicas together."""
    records, cpu = frames.summed(rates(found["records"]), _job), frames.summed(rates(found["cpu"]), _job, 100)
    memory = frames.summed(found["memory"], _job, 1 / MEGABYTE)
    charts = (("Records read", "a second", records), ("Processor", "% of a core", cpu), ("Resident memory", "MB", memory))
    for place, (title, unit, frame) in zip(st.columns(len(charts)), charts, strict=True):
        place.markdown(f"**{title}**")
        ours = frame[frame["series"] != ""]
        if len(ours):
            place.vega_lite_chart(ours, figures.lines(unit, colours=COLOURS, zero=True, digits=",.1f", height=280), key=f"chart {title}")
        else:
            place.caption("No samples yet: two are needed.")


def _job(labels: Mapping[str, str]) -> str:
    return SHORT.get(labels.get("job", ""), "")


def _service_row(name: str, health: Answer, info: Answer) -> dict[str, Any]:
    seen, told = health.value or {}, info.value or {}
    activity = told.get("activity") or {}
    return {
        "service": name,
        "state": "away" if health.problem else "ready" if seen.get("status") == "pass" else "not ready",
        "role": seen.get("role", ""),
        "why": seen.get("reason", ""),
        "version": seen.get("version", ""),
        "up for": _up_for(told.get("started_at")),
        "lag": activity.get("lag"),
        "step": 1e3 * activity["step_seconds"] / activity["steps"] if activity.get("steps") else None,
    }


def _up_for(started_at: str | float | None) -> str:
    if not started_at:
        return "-"
    began_s = started_at if isinstance(started_at, int | float) else datetime.fromisoformat(started_at).timestamp()
    return shown.duration(max(0.0, time.time() - began_s))


st.title("System")
range_chosen = shown.choose_range("range")
with shown.loading():
    page(range_chosen)
