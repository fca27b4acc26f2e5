"""Real fits: their quality, and that the worker process makes the same ones."""

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from common.errors import InvariantBroken
from services.garch_volatility.arch_fit import fit
from services.garch_volatility.edge import ProcessFits
from services.garch_volatility.fitting import FitRequest
from services.garch_volatility.volatility import Fit, prepare, refusal
from services.garch_volatility.worker import use_one_thread
from tests.unit.garch_volatility.builders import PAIR, garch_noise, reverting

ROOT = Path(__file__).parents[3]


def request(innovations: list[float], bar: int = 0) -> FitRequest:
    """A request with the production minimum."""
    return FitRequest(pair=PAIR, session=0, bar=bar, minimum_bars=500, innovations=tuple(innovations))


@pytest.fixture(scope="module")
def process_fits() -> Iterator[ProcessFits]:
    """One worker for all tests of this file: it takes seconds to load its library."""
    fits = ProcessFits()
    yield fits
    fits.close()


def test_fit_finds_the_parameters() -> None:
    """On a thousand bars of the model the fit is accepted and near the truth."""
    found = fit(request(reverting(11, 1000, phi=0.9)))
    assert not refusal(found)
    assert found.phi == pytest.approx(0.9, abs=0.04)
    assert found.alpha + found.beta == pytest.approx(0.96, abs=0.05)
    assert found.omega / (1 - found.alpha - found.beta) == pytest.approx(2.5e-7, rel=0.4)


@pytest.mark.parametrize("factor", [1e-3, 1e-1, 10.0])
def test_scale_changes_only_the_scale(factor: float) -> None:
    """Innovations times k give the same alpha, beta and phi and omega times k squared (G3, G4)."""
    innovations = reverting(12, 800)
    plain, scaled = fit(request(innovations)), fit(request([factor * value for value in innovations]))
    assert (scaled.alpha, scaled.beta, scaled.phi) == (pytest.approx(plain.alpha, rel=1e-4), pytest.approx(plain.beta, rel=1e-4), pytest.approx(plain.phi))
    assert scaled.omega == pytest.approx(factor * factor * plain.omega, rel=1e-4)


def test_one_huge_jump_does_not_make_the_fit_explosive() -> None:
    """With a jump of 50 standard deviations the fit is near the one without it, or refused (G7)."""
    noise = garch_noise(13, 1000)
    found = fit(request([*noise[:500], 0.025, *noise[501:]]))
    assert refusal(found) or found.alpha < 0.3


def test_noise_without_volatility_clusters_has_its_own_variance() -> None:
    """Where persistence cannot be identified the fit, if accepted, still has the sample's variance within 15% (G11)."""
    found = fit(request(garch_noise(14, 1000, alpha=0.0, beta=0.0)))
    assert refusal(found) or found.omega / (1 - found.alpha - found.beta) == pytest.approx(2.5e-7, rel=0.15)


def test_unusable_data_give_a_reason() -> None:
    """A fit that cannot be made is a result with a reason, not an error."""
    assert "degenerate" in fit(request([0.0] * 600)).reason


def test_failing_library_gives_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the library raises becomes the reason of a failed fit (G12)."""

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("bad day")

    monkeypatch.setattr("services.garch_volatility.arch_fit.ZeroMean.fit", fail)
    assert fit(request(reverting(15, 600))).reason == "the fit failed: bad day"


#: A process that makes fits itself: reads requests, writes fits.
INLINE = """
import sys, msgspec
from services.garch_volatility.worker import use_one_thread
use_one_thread()
from services.garch_volatility.arch_fit import InlineFits
from services.garch_volatility.fitting import FitRequest
requests = msgspec.json.decode(sys.stdin.buffer.read(), type=list[FitRequest])
sys.stdout.buffer.write(msgspec.json.encode([InlineFits().result(request) for request in requests]))
"""


def test_worker_and_inline_fits_are_equal(process_fits: ProcessFits) -> None:
    """The worker's results equal those of a process that makes them itself in every bit, in whatever order they are asked for."""
    requests = [request(reverting(seed, 600), bar=seed) for seed in range(4)]
    for each in requests[:3]:
        process_fits.start(each)
        process_fits.start(each)
    inline = subprocess.run([sys.executable, "-c", INLINE], input=msgspec.json.encode(requests), capture_output=True, check=True, cwd=ROOT)
    results = {each.key: process_fits.result(each) for each in reversed(requests)}
    assert [results[each.key] for each in requests] == msgspec.json.decode(inline.stdout, type=list[Fit])
    assert not any(result.reason for result in results.values())


def test_starting_a_fit_does_not_wait(process_fits: ProcessFits) -> None:
    """Asking for a fit returns at once, far sooner than the fit itself takes."""
    each = request(reverting(21, 1000), bar=21)
    started = time.perf_counter()
    process_fits.start(each)
    asked = time.perf_counter() - started
    process_fits.result(each)
    assert asked < (time.perf_counter() - started) / 2


def test_dead_worker_is_replaced(process_fits: ProcessFits) -> None:
    """A worker that was killed while it had fits to make is replaced and the results are the same."""
    requests = [request(reverting(seed, 600), bar=seed) for seed in (31, 32)]
    before = [process_fits.result(each) for each in requests]
    process_fits.start(requests[0])
    for process in list((process_fits._pool._processes or {}).values()):
        process.kill()
    assert [process_fits.result(each) for each in requests] == before


def test_too_late_for_one_thread_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the numeric libraries are loaded with more threads, fits in this process would not be repeatable."""
    fit(request(reverting(17, 600)))
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with pytest.raises(InvariantBroken, match="OPENBLAS_NUM_THREADS=1"):
        use_one_thread()


def test_prepared_surprises_are_white() -> None:
    """What the fit sees has no autocorrelation left."""
    prepared = prepare(reverting(16, 1000), 500)
    assert not isinstance(prepared, str)
    _, noise = prepared
    lag = math.fsum(a * b for a, b in pairwise(noise)) / math.fsum(value * value for value in noise)
    assert abs(lag) < 0.1


def test_a_fit_that_was_left_behind_is_forgotten(process_fits: ProcessFits) -> None:
    """When a pair comes back with a later fit under way, the one begun before it left is dropped."""
    earlier, later = (request(list(reverting(1, 600)), bar) for bar in (900, 901))
    process_fits.start(earlier)
    process_fits.start(later)
    assert list(process_fits._running) == [later.key]
    process_fits.result(later)
