"""The pages have no colours of their own."""

import re

from monitoring import palette
from tests.repo.tree import ROOT, project_files, relative

PAGES = ROOT / "monitoring" / "streamlit"
COLOUR = re.compile(r"#[0-9A-Fa-f]{6}\b")


def test_colours_come_from_the_palette() -> None:
    """No page names one itself, and the theme's is the palette's."""
    named = [relative(path) for path in project_files(".py") if path.is_relative_to(PAGES) and COLOUR.search(path.read_text(encoding="utf-8"))]
    assert named == []
    assert COLOUR.findall((PAGES / ".streamlit" / "config.toml").read_text(encoding="utf-8")) == [palette.SIGNAL] * 2
