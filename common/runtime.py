"""The loop that drives a service: recover, turn for ever in one thread, stop cleanly or not at all."""

import gc
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Protocol

from common.errors import ConfigurationError, DeliveryFailed, ExchangeAway, LeaseLost, TransportError
from common.health import Limits, Phase, Pulse
from common.processor import Observer, Service

#: Longest wait for records in one turn, seconds.
POLL_S = 0.1

_BACKOFF_FIRST_S = 0.1
_BACKOFF_MOST_S = 5.0


class Housekeeping(Protocol):
    """What is done between turns rather than within them."""

    def begin(self) -> None:
        """Prepare for the loop, now that the state is recovered."""
        ...

    def between_turns(self, *, idle: bool) -> None:
        """Do what is due after a turn; an idle one handled nothing."""
        ...


class GarbageCollection:
    """Collects cyclic garbage between turns: at once when idle, after ten seconds in any case.

    What is there after recovery stays for good, so it is taken out of every later collection.
    """

    IDLE_S, MOST_S, FULL_S = 1.0, 10.0, 60.0

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last_s = self._last_full_s = monotonic()

    def begin(self) -> None:
        """Freeze what is there and turn automatic collection off."""
        gc.collect()
        gc.freeze()
        gc.disable()

    def between_turns(self, *, idle: bool) -> None:
        """Collect when it is time."""
        now = self._monotonic()
        if now - self._last_s < (self.IDLE_S if idle else self.MOST_S):
            return
        full = now - self._last_full_s >= self.FULL_S
        gc.collect(2 if full else 1)
        self._last_s = now
        if full:
            self._last_full_s = now


class Runtime:
    """Runs one service in a thread of its own.

    What cannot be reached (TransportError) is waited for. Anything else that is raised ends the loop without `Service.stop`, so without a
    snapshot: the next start recovers from what was acknowledged. `exit_status` then says how the process should end.
    """

    def __init__(  # noqa: PLR0913  # two of them are for tests
        self,
        service: Service,
        observer: Observer,
        limits: Limits,
        *,
        housekeeping: Housekeeping | None = None,
        on_end: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service, self._observer, self._limits = service, observer, limits
        self._housekeeping, self._on_end, self._monotonic = housekeeping, on_end, monotonic
        self._stopping = threading.Event()
        self._failures = 0
        self._stuck_turn_s: float | None = None
        self._thread = threading.Thread(target=self.run, name=f"{service.name}-loop", daemon=True)
        self.pulse = Pulse(monotonic())
        #: 0 after a clean stop, 1 after a failure, 2 when settings or files are unusable; None while running.
        self.exit_status: int | None = None
        #: What is wrong with settings or files, one line each; with exit status 2.
        self.problems: tuple[str, ...] = ()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def request_stop(self) -> None:
        """Ask the loop to finish its turn and stop the service."""
        self.pulse.advance(Phase.DRAINING)
        self._stopping.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; returns whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def run(self) -> None:
        """Recover, turn until asked to stop, stop; the body of the thread."""
        try:
            self._live()
            self.exit_status = 0
        except ConfigurationError as error:
            self.problems = error.problems
            self.exit_status = 2
        except LeaseLost as error:
            self.exit_status = 1
            self._observer.log("CRITICAL", "the lease is lost; a restart waits as standby or is refused", error=str(error))
        except BaseException:  # noqa: BLE001  # whatever it was, the process must end and say why
            self.exit_status = 1
            self._observer.log("CRITICAL", "the loop failed; no snapshot was taken, a restart replays what was not acknowledged", exc_info=True)
        finally:
            self.pulse.advance(Phase.ENDED)
            self._on_end()

    def _live(self) -> None:
        if not self._recover():
            return
        if self._housekeeping:
            self._housekeeping.begin()
        self._observer.log("INFO", "started")
        self.pulse.advance(Phase.RUNNING)
        while not self._stopping.is_set():
            self._turn()
        self._service.stop()
        self._observer.log("INFO", "stopped")

    def _recover(self) -> bool:
        while not self._stopping.is_set():
            self.pulse.turn_began_s = self._monotonic()
            try:
                self._service.start()
            except DeliveryFailed:
                raise
            except TransportError as error:
                self._back_off(error)
            else:
                self._reached()
                return True
        return False

    def _turn(self) -> None:
        began_s = self.pulse.turn_began_s = self._monotonic()
        began_cpu_s = time.thread_time()
        try:
            records = self._service.turn(POLL_S)
        except DeliveryFailed:
            raise
        except TransportError as error:
            self._back_off(error)
            return
        self._reached()
        if records:
            self._measure(records, self.pulse.beat_s - began_s, time.thread_time() - began_cpu_s)
        if self._housekeeping:
            self._housekeeping.between_turns(idle=not records)

    def _measure(self, records: int, elapsed_s: float, cpu_s: float) -> None:
        # A turn may wait POLL_S for its first record; what it computed or waited for beyond that is the step's.
        step_s = max(elapsed_s - POLL_S, cpu_s)
        self._observer.observe("crypto_bot_step_seconds", step_s)
        if step_s > self._limits.step_budget_s:
            self._observer.count("crypto_bot_slow_steps_total")
            self._observer.log("WARNING", "SLOW", duration_ms=round(step_s * 1e3, 1), budget_ms=round(self._limits.step_budget_s * 1e3, 1), records=records)

    def _reached(self) -> None:
        self.pulse.beat_s = self._monotonic()
        self.pulse.turn_began_s = None
        if self._failures:
            self._failures = 0
            self.pulse.transport_problem = self.pulse.exchange_problem = ""
            self._observer.log("INFO", "reached again")

    def _back_off(self, error: TransportError) -> None:
        if not self._failures:
            self._observer.log("WARNING", "out of reach; trying again until it is back", error=str(error))
        problem = f"out of reach, trying again: {error}"
        self.pulse.transport_problem, self.pulse.exchange_problem = ("", problem) if isinstance(error, ExchangeAway) else (problem, "")
        self.pulse.beat_s = self._monotonic()
        self.pulse.turn_began_s = None
        delay_s = min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2 ** min(self._failures, 10))
        self._failures += 1
        self._stopping.wait(delay_s * random.uniform(0.5, 1.0))  # noqa: S311  # spreads retries, guards nothing

    def watch(self) -> None:
        """Log the stacks of all threads, once, when a turn does not end; called about once a second from another thread."""
        began_s = self.pulse.turn_began_s
        if began_s is None or began_s == self._stuck_turn_s or self._monotonic() - began_s < self._limits.stuck_after_s:
            return
        self._stuck_turn_s = began_s
        self._observer.log("ERROR", "STUCK", seconds=round(self._monotonic() - began_s, 1), stacks=stacks_of_all_threads())


def stacks_of_all_threads() -> dict[str, str]:
    """Where each thread is now, by the thread's name."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {names.get(ident, str(ident)): "".join(traceback.format_stack(frame)) for ident, frame in sys._current_frames().items()}  # noqa: SLF001  # the documented way to see other threads
