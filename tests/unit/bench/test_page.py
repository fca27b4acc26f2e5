"""Figures in a page."""

from pathlib import Path

import pytest

from common.errors import ConfigurationError
from scripts.bench.page import put
from scripts.embedded.options import ROOT


def test_only_what_is_between_the_marks_changes(tmp_path: Path) -> None:
    """Figures replace those of before, however often; the words around them stay."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- soak: made by scripts/bench -->\nold\n<!-- end of soak -->\nafter\n")
    for text in ("first", "second"):
        put(page, "soak", text)
    assert page.read_text() == "before\n<!-- soak: made by scripts/bench -->\n\nsecond\n\n<!-- end of soak -->\nafter\n"


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    """What is missing is said, and nothing is written."""
    page = tmp_path / "page.md"
    page.write_text("words")
    with pytest.raises(ConfigurationError, match="has no lines '<!-- latency"):
        put(page, "latency", "figures")
    assert page.read_text() == "words"


@pytest.mark.parametrize("name", ["latency", "soak"])
def test_the_projects_page_can_be_brought_up_to_date(name: str, tmp_path: Path) -> None:
    """docs/performance.md has the marks of every bench."""
    page = tmp_path / "performance.md"
    page.write_text((ROOT / "docs/performance.md").read_text())
    put(page, name, "figures")
    assert "figures" in page.read_text()
