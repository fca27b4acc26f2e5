"""Pieces of the pages that are made from the code."""

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines) + "\n"


def code(text: str) -> str:
    """Set a text as code, unless it is empty."""
    return f"`{text}`" if text else ""
