"""Servers that the pages ask, and the pages themselves."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from monitoring.streamlit import kept
from tests.repo.tree import ROOT
from tests.unit.execution.builders import Desk
from tests.unit.execution.test_history import trade as round_trip
from tests.unit.monitoring.looks import Show
from tests.unit.monitoring.stage import Stage, bars, judge, staged, trade

APP = ROOT / "monitoring" / "streamlit" / "app.py"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Services that have just started, with a Prometheus; nothing is answered out of memory that can be asked."""
    monkeypatch.setattr(kept, "FRESH_S", 0.0)
    monkeypatch.setattr(kept, "LEFT_ALONE_S", 0.0)
    with staged() as made:
        for name, value in made.environment(with_prometheus=True).items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def show() -> Show:
    """Show a page by its name."""

    def run(name: str = "overview", **query: str) -> AppTest:
        page = AppTest.from_file(str(APP), default_timeout=60)
        page.query_params.update(query)
        page.switch_page(f"screens/{name}.py").run()
        assert not page.exception
        return page

    return run


@pytest.fixture(scope="module")
def desk() -> Desk:
    """A round trip, and a position that is open."""
    made = Desk()
    made.warm()
    round_trip(made, 1001)
    made.tick(1011, 1, risk=None)
    return made


@pytest.fixture
def played(stage: Stage, desk: Desk, tmp_path: Path) -> Stage:
    """Services that have traded and judged."""
    trade(stage, desk, tmp_path)
    judge(stage, *bars(10_000, 9_800))
    return stage
