"""How long a run goes on."""

from pathlib import Path
from typing import Any

import pytest

from scripts.embedded.run import Run
from tests.unit.embedded.example import options


@pytest.mark.parametrize(
    ("changes", "profile", "decisions", "goes_on"),
    [
        ({"keep_going": True}, {}, 1, True),
        ({"keep_going": True}, {}, 0, False),
        ({"keep_going": True}, {"COST_MARGIN": "0"}, 0, True),
        ({"keep_going": True, "data": "ticks"}, {}, 0, True),
        ({"keep_going": False}, {}, 1, False),
    ],
)
def test_klines_that_were_not_traded_hand_over_to_the_demo_s_profile(
    changes: dict[str, Any], profile: dict[str, str], decisions: int, goes_on: bool, tmp_path: Path
) -> None:
    """Round after round is wanted where something is traded, or where nothing else would be tried."""
    run = Run(options(**changes), profile, tmp_path, lambda _: None, lambda _: None)
    run.tally.counts["decisions"] = decisions
    assert run._keeps_going() is goes_on
