"""Serves the pages: python -m monitoring.streamlit [option of `streamlit run`]...

What pages need is loaded before the first visitor comes, and where there is no Prometheus a history begins at once.
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from streamlit.web import cli

from common.errors import ConfigurationError
from monitoring.streamlit import figures, frames, shown
from monitoring.streamlit.data import desk

APP = Path(__file__).with_name("app.py")
LOADED_BEFOREHAND = (figures, frames, shown)


def main(arguments: Sequence[str]) -> None:
    """Serve until stopped; wrong settings are told on the pages."""
    with contextlib.suppress(ConfigurationError):
        desk().keep_history()
    figures.z()  # The first figure loads what all of them need.
    cli.main(["run", str(APP), *arguments], prog_name="streamlit")


if __name__ == "__main__":
    main(sys.argv[1:])
