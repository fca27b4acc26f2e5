"""docs/api.md is made from the code, and is current."""

from pathlib import Path

import pytest

from common.metrics import COMMON_METRICS
from common.settings import Settings
from common.topics import ALL_TOPICS
from scripts import api_docs
from scripts.service_list import packages, service_name, settings_type_of


@pytest.fixture(scope="module")
def text() -> str:
    return api_docs.document()


def test_the_page_is_current(text: str) -> None:
    """The page in the tree is what the code says today."""
    assert api_docs.TARGET.read_text(encoding="utf-8") == text, "run: python -m scripts.api_docs"


def test_the_page_is_complete(text: str) -> None:
    """Every topic, common metric, common setting and service is on it, and no table row is broken."""
    names = [topic.name for topic in ALL_TOPICS] + [metric.name for metric in COMMON_METRICS] + [name.upper() for name in Settings.__struct_fields__]
    assert [name for name in names if f"`{name}`" not in text] == []
    for package in packages():
        if settings_type_of(package):
            assert f"### {service_name(package)}" in text
    assert all(line.endswith(" |") for line in text.splitlines() if line.startswith("|"))


def test_every_route_says_what_it_does(text: str) -> None:
    """No route, metric or setting has an empty description."""
    assert [line for line in text.splitlines() if line.startswith(("| GET", "| POST")) and line.endswith("|  |")] == []
    assert [line for line in text.splitlines() if line.startswith("| `crypto_bot") and line.endswith("|  |")] == []


def test_check_notices_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """--check fails with the command to run when the page is missing or differs, and passes when it does not."""
    target = tmp_path / "api.md"
    monkeypatch.setattr(api_docs, "TARGET", target)
    monkeypatch.setattr(api_docs, "document", lambda: text)
    assert api_docs.main(["--check"]) == 1
    assert "python -m scripts.api_docs" in capsys.readouterr().err
    assert api_docs.main([]) == 0
    assert api_docs.main(["--check"]) == 0
    target.write_text(text + "x", encoding="utf-8")
    assert api_docs.main(["--check"]) == 1
