"""docs/api.md and docs/metrics.md are made from the code, and are current."""

from pathlib import Path
from types import ModuleType

import pytest

from common.metrics import COMMON_METRICS
from common.settings import Settings
from common.topics import ALL_TOPICS
from scripts import api_docs, metric_docs
from scripts.service_list import module_of, packages, service_name, settings_type_of


@pytest.fixture(scope="module")
def text() -> str:
    return api_docs.document()


def test_the_page_is_current(text: str) -> None:
    """The page in the tree is what the code says today."""
    assert api_docs.TARGET.read_text(encoding="utf-8") == text, "run: python -m scripts.api_docs"


def test_the_page_is_complete(text: str) -> None:
    """Every topic, common setting and service is on it, and no table row is broken."""
    names = [topic.name for topic in ALL_TOPICS] + [name.upper() for name in Settings.__struct_fields__]
    assert [name for name in names if f"`{name}`" not in text] == []
    for package in packages():
        if settings_type_of(package):
            assert f"### {service_name(package)}" in text
    assert all(line.endswith(" |") for line in text.splitlines() if line.startswith("|"))


def test_every_route_says_what_it_does(text: str) -> None:
    """No route or setting has an empty description."""
    assert [line for line in text.splitlines() if line.startswith(("| GET", "| POST")) and line.endswith("|  |")] == []


def test_the_metrics_page_is_current_and_complete() -> None:
    """Every metric is on it once, with a meaning, and the page in the tree is what the code says today."""
    text = metric_docs.document()
    assert metric_docs.TARGET.read_text(encoding="utf-8") == text, "run: python -m scripts.api_docs"
    own = [metric for package in packages() if (module := module_of(package, "metrics")) for metric in module.METRICS]
    assert [metric.name for metric in (*COMMON_METRICS, *own) if text.count(f"| `{metric.name}` |") != 1] == []
    assert [line for line in text.splitlines() if line.startswith("| `crypto_bot") and line.endswith("|  |")] == []


@pytest.mark.parametrize("page", [api_docs, metric_docs], ids=lambda page: page.TARGET.name)
def test_check_notices_a_change(page: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--check fails with the command to run when the page is missing or differs, and passes when it does not."""
    target = tmp_path / "page.md"
    monkeypatch.setattr(page, "TARGET", target)
    monkeypatch.setattr(page, "document", lambda: "text")
    assert page.main(["--check"]) == 1
    assert "python -m scripts.api_docs" in capsys.readouterr().err
    assert page.main([]) == 0
    assert page.main(["--check"]) == 0
    target.write_text("another", encoding="utf-8")
    assert page.main(["--check"]) == 1
