"""The files of the project, for the tests that read them."""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = (".ci", ".github", "common", "data", "docker", "docs", "monitoring", "requirements", "scripts", "services", "tests")
_TEXT = {"", ".py", ".sh", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".example", ".cfg", ".ini", ".env", ".conf", ".caddy"}


def project_files(*suffixes: str) -> Iterator[Path]:
    """The text files of the project, or those with one of these suffixes; what tools leave behind is none."""
    top = [path for path in ROOT.iterdir() if path.is_file() and path.suffix != ".lock"]
    inside = [path for folder in _FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    for path in [*top, *inside]:
        if path.suffix in (suffixes or _TEXT) and "__pycache__" not in path.parts:
            yield path


def relative(path: Path) -> str:
    """A path as a test's id."""
    return path.relative_to(ROOT).as_posix()
