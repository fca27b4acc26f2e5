"""What each file under requirements/ is compiled from, so that a stale one is noticed without a network."""

import hashlib
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def files(project: dict[str, Any]) -> list[str]:
    """The names of the requirement files: one per extra, the widest first because the others take their versions from it."""
    extras = list(project["optional-dependencies"])
    return ["dev", *(extra for extra in extras if extra != "dev")]


def direct_requirements(project: dict[str, Any], extra: str) -> list[str]:
    """Every requirement that the core and one extra name, extras within extras resolved."""
    found = set(project["dependencies"])
    for requirement in project["optional-dependencies"][extra]:
        if inner := re.fullmatch(re.escape(project["name"]) + r"\[(.+)\]", requirement):
            found.update(*(direct_requirements(project, name.strip()) for name in inner[1].split(",")))
        else:
            found.add(requirement)
    return sorted(found)


def header(project: dict[str, Any], extra: str) -> str:
    """The comment at the head of a requirement file: what it is made from, as a digest."""
    inputs = json.dumps([project["requires-python"], direct_requirements(project, extra)])
    digest = hashlib.sha256(inputs.encode()).hexdigest()
    return f"# Made by scripts/lock.sh from the extra `{extra}` in pyproject.toml.\n# inputs sha256:{digest}\n"


def read_project() -> dict[str, Any]:
    """The `project` table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def main(arguments: list[str]) -> None:
    """Print the names of the files, or with a name the header of that file."""
    project = read_project()
    sys.stdout.write(header(project, arguments[0]) if arguments else "".join(f"{name}\n" for name in files(project)))


if __name__ == "__main__":
    main(sys.argv[1:])
