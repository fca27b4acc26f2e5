"""What the project's pages name: commands, programs, options, files and variables, as their readers would type them."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.repo.tree import ROOT

_GUIDES = ("README.md", "DOCKER_DEPLOYMENT_GUIDE.md", "MONITORING_SETUP.md", "CONTRIBUTING.md")
PAGES = [*(ROOT / name for name in _GUIDES), *sorted((ROOT / "docs").rglob("*.md"))]
OURS = ("common", "services", "scripts", "tests")
_SPAN = re.compile(r"`([^`\n]+)`")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
_PYTHON = re.compile(r"(?:^|/)python[\d.]*$")
RUN_MODULE = "python -m"


class Command(NamedTuple):
    """A program and what it is given; with `python -m` the module comes first."""

    program: str
    arguments: tuple[str, ...]


def code_of(page: Path) -> Iterator[str]:
    """Every line of a code block and every span of code; what a fence of no language shows is no code."""
    text = page.read_text(encoding="utf-8")
    for language, block in _FENCE.findall(text):
        yield from block.splitlines() if language else ()
    rest = _FENCE.sub("", text)
    yield from re.findall(r"^    (\S.*)$", rest, flags=re.MULTILINE)
    yield from _SPAN.findall(rest)


def commands_of(line: str) -> Iterator[Command]:
    """The commands of a line, without what is set before them and without the comment."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return
    for part in _parts(words):
        while part and re.fullmatch(r"[A-Z_]+=.*|\[?[A-Z_]+=\S*\]?|sudo|\$", part[0]):
            part = part[1:]  # noqa: PLW2901  # what is set before the command goes, word by word
        if part:
            yield Command(part[0].removeprefix("./"), tuple(part[1:]))
        yield from (Command(RUN_MODULE, tuple(part[at + 2 :])) for at, word in enumerate(part[:-2]) if _PYTHON.search(word) and part[at + 1] == "-m")


def _parts(words: list[str]) -> Iterator[list[str]]:
    """The words of each command of a pipe or a list."""
    part: list[str] = []
    for word in [*words, ";"]:
        if word in {"|", "&&", "||", ";"} or word.endswith(";"):
            yield part
            part = []
        else:
            part.append(word)


def options_of(arguments: tuple[str, ...]) -> list[str]:
    """The options up to `--`, behind which another program's begin."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return [word.split("=")[0] for word in own if re.match(r"--?[a-zA-Z]", word)]


def module_file(module: str) -> Path | None:
    """What `python -m` would run of ours."""
    path = ROOT / module.replace(".", "/")
    return next((each for each in (path.with_suffix(".py"), path / "__main__.py") if each.is_file()), None)


@cache
def sources_beside(file: Path) -> str:
    """The code of a program and of what lies beside it, where its options may be made."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted(file.parent.glob("*.py")))
