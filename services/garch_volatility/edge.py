"""The volatility service: fits in a process of their own, and the model joined to its topics."""

from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from common.bootstrap import Context
from common.keyed_service import KeyedService
from common.pair_gauges import PairGauges
from common.topics import GARCH_STATE, HEDGE_RATIO_CLOSES, VOLATILITY_THRESHOLDS
from services.garch_volatility import worker
from services.garch_volatility.fitting import FitRequest
from services.garch_volatility.metrics import GAUGES
from services.garch_volatility.processor import GarchModel, GarchState
from services.garch_volatility.settings import GarchSettings
from services.garch_volatility.volatility import Fit

NAME = "garch-volatility-service"


class ProcessFits:
    """Makes fits in one worker process, which alone loads the fitting library.

    A worker that dies is replaced and its fits are begun again; a fit that is lost twice has failed, and that is its result.
    """

    def __init__(self) -> None:
        self._pool = _new_pool()
        self._running: dict[tuple[str, int, int], Future[Fit]] = {}

    def start(self, request: FitRequest) -> None:
        """Begin a fit."""
        if request.key in self._running:
            return
        for key in [key for key in self._running if key[0] == request.pair]:
            # Left behind when another replica had the pair in between.
            self._running.pop(key).cancel()
        self._running[request.key] = self._submit(request)

    def result(self, request: FitRequest) -> Fit:
        """Wait for a fit."""
        self.start(request)
        try:
            found = self._running.pop(request.key).result()
        except (BrokenProcessPool, CancelledError):
            try:
                found = self._submit(request).result()
            except (BrokenProcessPool, CancelledError):
                found = Fit(reason="the fit failed: its process ended twice")
        return found

    def close(self) -> None:
        """End the worker at once; what it was doing can be begun again."""
        processes = list((self._pool._processes or {}).values())  # noqa: SLF001 - no public way to end a worker before Python 3.14
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()

    def _submit(self, request: FitRequest) -> Future[Fit]:
        try:
            return self._pool.submit(worker.fit, request)
        except BrokenProcessPool:
            self._pool.shutdown(wait=False)
            self._pool = _new_pool()
            return self._pool.submit(worker.fit, request)


class GarchService(KeyedService[GarchState]):
    """The keyed service, which also ends the worker when it stops."""

    fits: ProcessFits

    def stop(self) -> None:
        """Snapshot, leave, end the worker."""
        super().stop()
        self.fits.close()


def build(settings: GarchSettings, context: Context) -> GarchService:
    """Make the service; the worker loads its library meanwhile."""
    fits = ProcessFits()
    model = GarchModel(settings.parameters, settings.bar_interval_ns, fits)
    pairs = tuple(map(str, settings.trading_pairs()))
    observer = PairGauges(context.observer, GAUGES)
    service = GarchService(NAME, model, pairs, HEDGE_RATIO_CLOSES, VOLATILITY_THRESHOLDS, GARCH_STATE, context.transport, observer, context.clock)
    service.fits = fits
    return service


def _new_pool() -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"), initializer=worker.prepare)
    pool.submit(worker.warm_up)
    return pool
