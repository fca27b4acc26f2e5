"""The pages of the dashboard, of which each says what the pairs earn, hold and do.

From the project's root: python -m monitoring.streamlit
"""

from pathlib import Path

import streamlit as st

from common.errors import ConfigurationError
from monitoring.streamlit.data import Desk, desk

SCREENS = Path(__file__).parent / "screens"
#: Their files, in the order of the menu. An icon would be asked of a foreign server by every reader's browser.
PAGES = ("overview", "pair", "trades", "risk", "queries", "system")


def main() -> None:
    """Read the settings, and show the page that was chosen."""
    st.set_page_config(page_title="crypto-bot", layout="wide")
    chosen = st.navigation([st.Page(SCREENS / f"{name}.py", title=name.capitalize(), url_path=name, default=name == PAGES[0]) for name in PAGES])
    try:
        known = desk()
    except ConfigurationError as error:
        st.error(str(error))
        return
    show_what_it_is(known)
    chosen.run()


def show_what_it_is(known: Desk) -> None:
    """Say where series come from, and so when figures come of the demo's profile."""
    st.sidebar.caption(f"Paper trading. Series come from {known.metrics.title}, trades and profit from execution-service.")
    if known.demo_profile:
        st.info("DEMO PROFILE: recorded klines in a loop, and the cost gate reports without blocking. These figures say nothing of what trading would earn.")


if __name__ == "__main__":
    main()
