"""What every file of the project owes its readers."""

import ast
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.repo.tree import ROOT, project_files, relative

# Folders of one machine, and hosts of package indexes; the brackets keep this file from failing its own test.
FOREIGN = re.compile(r"/(?:[w]ork|[r]oot|[h]ome|[U]sers)/\w|[p]ypi\.org|[p]ythonhosted")


def _links(text: str) -> list[str]:
    """The targets of links and pictures that lie in the project."""
    outside_code = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", outside_code)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def _anchors(text: str) -> set[str]:
    """The anchors that a Markdown page's headings make."""
    headings = re.findall(r"^#+ +(.+?)\s*$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken(page: Path) -> list[str]:
    broken = []
    for link in _links(page.read_text(encoding="utf-8")):
        name, _, anchor = unquote(link).partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in _anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    return broken


@pytest.mark.parametrize("path", [path for path in project_files(".py") if path.stat().st_size], ids=relative)
def test_module_says_what_it_is_for(path: Path) -> None:
    """Every Python file that holds something begins with a docstring."""
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_no_file_names_a_machine() -> None:
    """Neither folders of one person's machine nor package indexes are written anywhere."""
    found = [f"{relative(path)}: {match[0]}" for path in project_files() if (match := FOREIGN.search(path.read_text(encoding="utf-8")))]
    assert not found


@pytest.mark.parametrize("page", list(project_files(".md")), ids=relative)
def test_links_resolve(page: Path) -> None:
    """Every link between files leads to a file, and every anchor to a heading."""
    assert not _broken(page)


def test_broken_links_are_noticed(tmp_path: Path) -> None:
    """A missing file and a missing heading are reported; code blocks and addresses are not links."""
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](#one) [b](#two) [c](gone.md) [d](https://example.com/x)\n```\n[e](nowhere)\n```\n", encoding="utf-8")
    assert _broken(page) == ["#two", "gone.md"]


@pytest.mark.parametrize("name", ["LICENSE", "NOTICE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_a_newcomers_files_are_there(name: str) -> None:
    """The files that a newcomer looks for first stand in the root and hold something."""
    assert (ROOT / name).stat().st_size > 100
