"""A run over recorded data leaves no metric of the catalogue without a sample, and reports none outside it."""

import ast
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from common.io.metrics import PrometheusObserver
from common.metrics import MetricKind
from scripts.offline import NAMES, Offline
from scripts.service_list import module_of, packages
from tests.exposed import catalogues, families, is_the_process_s_own, observer_of
from tests.replay.schedules import klines, offline_of

ROOT = Path(__file__).parents[2]
PAIRS = ("ETHUSDT-BTCUSDT",)
#: Wall time of a run in memory passes by the call, so that what is shown once a second is shown.
STEP_NS = 500_000_000
#: What only a process has, and what only a socket does; tests/system looks at those.
OF_PROCESSES = frozenset({"crypto_bot_build_info", "crypto_bot_check_passed", "crypto_bot_book_age_seconds"})


def scraped(offline: Offline, observer: PrometheusObserver) -> Callable[[], str]:
    """Let the services take turns, and measure before each round what is measured when Prometheus asks."""
    turns = count()

    def order() -> str:
        turn = next(turns)
        if turn % len(NAMES) == 0:
            for service in offline.services.values():
                getattr(service, "measure", lambda _observer: None)(observer)
        return NAMES[turn % len(NAMES)]

    return order


def test_a_run_leaves_no_metric_without_a_sample(tmp_path: Path) -> None:
    """Most of an hour of klines in memory, with trades: each metric has a sample, and nothing else has one."""
    union = {metric.name: metric for metrics in catalogues().values() for metric in metrics}
    observer = observer_of(tuple(union.values()), {"pair": PAIRS})
    scenario = klines(PAIRS, 55)
    scenario = scenario._replace(settings={**scenario.settings, "LEAD_TICKS": "10"})
    offline = offline_of(scenario, tmp_path, observer=observer, clock=partial(next, count(1_700_000_000 * 10**9, STEP_NS)))
    offline.run(scraped(offline, observer))
    names = {name for name, _ in families(observer.exposition().decode(), tuple(union.values()))}
    assert union.keys() - names == OF_PROCESSES
    assert {name for name in names if not is_the_process_s_own(name)} <= union.keys()
    assert observer.total("crypto_bot_round_trips_total") > 0
    assert observer.total("crypto_bot_traded_usd_total") > 0
    offline.stop()


@pytest.mark.parametrize("service", catalogues())
def test_what_counts_is_there_from_the_start(service: str) -> None:
    """Before anything has happened every counter and histogram has a sample, at 0: what is first seen at 1 has not grown, for Prometheus."""
    metrics = catalogues()[service]
    observer = observer_of(metrics, {"pair": PAIRS, "symbol": ("BTCUSDT",)})
    names = {name for name, _ in families(observer.exposition().decode(), metrics)}
    drops = {"crypto_bot_records_dropped_total"} if service == "ingestion-service" else set()  # It drops no record: it has frames.
    assert {metric.name for metric in metrics if metric.kind is not MetricKind.GAUGE} - names == drops


@pytest.mark.parametrize("package", [package for package in packages() if module_of(package, "metrics")])
def test_every_reason_of_a_dead_letter_is_known_beforehand(package: str) -> None:
    """The first dead letter of a kind is seen as growth too."""
    (letters,) = (metric for metric in module_of(package, "metrics").CATALOGUE if metric.name == "crypto_bot_dead_letters_total")  # type: ignore[union-attr]  # has one
    files = (ROOT / "services" / package).glob("*.py")
    calls = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call) and node.args]
    found = {str(call.args[0].value) for call in calls if getattr(call.func, "id", "") == "InvalidRecord" and isinstance(call.args[0], ast.Constant)}
    assert found
    assert found <= set(letters.values["reason"])


def test_values_are_of_labels_that_the_metric_has() -> None:
    """A known value of a label that is not declared would never be used."""
    metrics = [metric for catalogue in catalogues().values() for metric in catalogue]
    assert [metric.name for metric in metrics if not set(metric.values) <= set(metric.labels)] == []
