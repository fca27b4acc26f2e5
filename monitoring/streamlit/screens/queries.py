"""The page "Queries": any PromQL as chart, table and file, under an address that can be passed on."""

from collections.abc import Sequence
from urllib.parse import urlencode

import streamlit as st

from monitoring import palette
from monitoring.streamlit import figures, frames, shown
from monitoring.streamlit.data import desk
from monitoring.streamlit.examples import EXAMPLES, PLAIN
from monitoring.streamlit.series import QueryRefused, Series

REFRESH_S = 5.0
#: More lines than there are colours cannot be told apart.
DRAWN = len(palette.SERIES)
EXPRESSION = "query"


def main() -> None:
    """Widgets first: they stay while the answer is renewed."""
    st.title("Queries")
    metrics = desk().metrics
    offered = EXAMPLES if metrics.promql else PLAIN
    if EXPRESSION not in st.session_state:
        st.session_state[EXPRESSION] = st.query_params.get(EXPRESSION, next(iter(offered.values())))
    st.selectbox("Examples", list(offered), index=None, key="example", on_change=take_example, placeholder="Begin with an example")
    expression = st.text_area("Expression", key=EXPRESSION, height=80, help="PromQL; press Ctrl+Enter to ask").strip()
    if not metrics.promql:
        st.caption("There is no Prometheus here, so only plain names with labels can be asked for, over the minutes that this page has seen itself.")
    with st.container(horizontal=True, vertical_alignment="center"):
        range_name = shown.choose_range("range")
        show_link(expression, range_name)
    st.query_params[EXPRESSION] = expression
    if expression:
        with shown.loading():
            page(expression, range_name)
    else:
        st.info("Write an expression, or take an example.")


def take_example() -> None:
    """Put the chosen example where the expression is written."""
    chosen = st.session_state["example"]
    if chosen is not None:
        st.session_state[EXPRESSION] = EXAMPLES[chosen]


def show_link(expression: str, range_name: str) -> None:
    """The address of this query, for others."""
    base = (st.context.url or "").partition("?")[0]
    with st.popover("Link", icon=":material/link:"):
        st.code(f"{base}?{urlencode({EXPRESSION: expression, 'range': range_name})}", language=None, wrap_lines=True)


@st.fragment(run_every=REFRESH_S)
def page(expression: str, range_name: str) -> None:
    """Ask and show."""
    try:
        answer = desk().query(expression, shown.RANGES[range_name])
    except QueryRefused as error:
        st.error("The expression cannot be evaluated:")
        # Its words hold the expression, which an address may have brought: nothing of it is a link or a picture here.
        st.code(str(error), language=None, wrap_lines=True)
        return
    with st.container():
        shown.note_problems([answer])
    if answer.value:
        show(answer.value)
    elif answer.value is not None:
        st.info("The expression has no value in this range. Is the name spelt as in docs/metrics.md, and has it begun to be measured?")
    shown.asked_at()


def show(found: Sequence[Series]) -> None:
    """The chart, the newest values, and a file of all samples."""
    name = frames.apart(found)
    ranked = sorted(found, key=lambda each: name(each.labels))
    st.vega_lite_chart(frames.long(ranked[:DRAWN], name), figures.lines("value", height=320), key="chart")
    if len(found) > DRAWN:
        st.caption(f"{DRAWN} of {len(found)} series are drawn; the table and the file have all.")
    st.dataframe([{**each.labels, "newest": each.last} for each in ranked], hide_index=True, key="table")
    st.download_button("CSV", data=lambda: frames.csv_of(ranked), file_name="query.csv", mime="text/csv")


main()
