"""Runs that several tests look at."""

import pytest

from tests.system.demo import QUICK, QUICK_TICKS, Played, ShortTicks, play
from tests.system.ledgers import in_memory
from tests.system.recordings import BARS, cut_klines, cut_ticks


@pytest.fixture(scope="session")
def klines(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Three symbols' minutes, played at full speed and left alone."""
    folder = tmp_path_factory.mktemp("klines")
    return play(folder, cut_klines(folder / "recording", BARS), QUICK)


@pytest.fixture(scope="session")
def short_ticks(tmp_path_factory: pytest.TempPathFactory) -> ShortTicks:
    """Made once."""
    folder = tmp_path_factory.mktemp("ticks")
    recording = cut_ticks(folder / "recording", 60, every=4)
    return ShortTicks(recording, in_memory(folder / "memory", recording, QUICK_TICKS))
