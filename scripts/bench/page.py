"""Puts what a bench has measured into a page, between two marks, so that one command brings the page up to date."""

from pathlib import Path

from common.errors import ConfigurationError


def put(page: Path, name: str, text: str) -> None:
    """Replace what stands between the marks of this name; raises ConfigurationError when the page has none."""
    begin, end = f"<!-- {name}: made by scripts/bench -->", f"<!-- end of {name} -->"
    old = page.read_text(encoding="utf-8")
    before, found, rest = old.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ConfigurationError([f"{page}: has no lines {begin!r} and {end!r} to put the figures between"])
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
