"""What the tests of the service share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.execution.test_service import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    if made.ledger:
        made.ledger.close()
