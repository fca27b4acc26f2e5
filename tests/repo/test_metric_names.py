"""Every metric that the code reports by name is declared, with the labels that are given."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from common.io.metrics import Catalogue
from common.metrics import COMMON_METRICS, MetricKind

ROOT = Path(__file__).parents[2]
KINDS = {"count": MetricKind.COUNTER, "gauge": MetricKind.GAUGE, "observe": MetricKind.HISTOGRAM}
SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/metrics.py"))


class Report(NamedTuple):
    """A call such as `observer.count("name", 1, topic=...)`."""

    place: str
    kind: MetricKind
    name: str
    labels: list[str] | None


def reports(path: Path) -> Iterator[Report]:
    """Find the calls whose metric is given as a text; labels given as `**labels` are not known."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in KINDS and node.args):
            continue
        name = node.args[0]
        if isinstance(name, ast.Constant) and str(name.value).startswith("crypto_bot_"):
            given = [keyword.arg for keyword in node.keywords if keyword.arg not in {"amount", "value"}]
            labels = None if None in given else [label for label in given if label]
            yield Report(f"{path.parent.name}/{path.name}:{node.lineno}", KINDS[node.func.attr], str(name.value), labels)


def undeclared(catalogue: Catalogue, paths: Iterator[Path]) -> list[str]:
    problems = []
    for report in (report for path in paths for report in reports(path)):
        try:
            known = catalogue.metrics.get(report.name)
            labels = known.labels if known and report.labels is None else report.labels or ()
            catalogue.check(report.kind, report.name, labels)
        except ValueError as error:
            problems.append(f"{report.place}: {error}")
    return problems


@pytest.mark.parametrize("service", SERVICES)
def test_services_report_what_they_declare(service: str) -> None:
    """An undeclared metric would end the service at its first use."""
    metrics = importlib.import_module(f"services.{service}.metrics").METRICS
    assert undeclared(Catalogue((*COMMON_METRICS, *metrics)), (ROOT / "services" / service).glob("*.py")) == []


def test_shared_code_reports_common_metrics() -> None:
    """What all services share uses the common metrics only."""
    assert undeclared(Catalogue(COMMON_METRICS), (ROOT / "common").rglob("*.py")) == []


def test_the_search_finds_mistakes(tmp_path: Path) -> None:
    """A misspelt name, a wrong kind and a wrong label are all found."""
    lines = ('observer.count("crypto_bot_redy_total")', 'observer.count("crypto_bot_ready")', 'observer.count("crypto_bot_records_consumed_total", topc="x")')
    (tmp_path / "code.py").write_text("\n".join(lines), encoding="utf-8")
    assert len(undeclared(Catalogue(COMMON_METRICS), tmp_path.glob("*.py"))) == 3
