"""The programs of Prometheus and Alertmanager, or a skipped test."""

import os
from pathlib import Path

import pytest

from scripts.drill.programs import alertmanager_over, find, how_to_get
from tests.levels import ALL


def require_tool(name: str) -> Path:
    """Where a program is; skips the test where it cannot be had. With TEST_LEVEL=all an engine is started for it where that can be done."""
    found = find(name, may_make=ALL)
    if found is None:
        pytest.skip(how_to_get(name))
    return found


def require_alertmanager(*folders: Path) -> list[str | Path]:
    """The command of a real Alertmanager that sees these folders; skips the test where there is none."""
    found = alertmanager_over(folders, f"crypto-bot-test-alertmanager-{os.getpid()}", may_make=ALL)
    if found is None:
        pytest.skip(how_to_get("alertmanager"))
    return found
