"""Plays one act: starts the pipeline, does the faults, waits for the end, and has what came of it compared."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from common.errors import CryptoBotError
from common.io.kafka import KafkaTransport
from common.topics import ALL_TOPICS
from scripts.embedded.monitor import ask
from scripts.embedded.plan import SERVICES, SIMULATOR, SIMULATOR_PORT_OFFSET, environment_of, processes_of
from scripts.embedded.processes import Supervised, stop_all
from scripts.faults.evidence import Evidence, dropped
from scripts.faults.proof import compare_act
from scripts.faults.results import Done, Outcome
from scripts.faults.schedule import BROKER, CONSUMERS, INGESTION, REDIS, Act, Fault, Kind
from scripts.faults.stage import LIVELY, PACE, Stage
from scripts.faults.watch import DecisionWatch

READY_TIMEOUT_S = 180.0
#: From a fault to the next decision at most; a broker that was killed needs ten seconds, and a busy machine many more.
RECOVERY_TIMEOUT_S = 180.0
#: From the end of the recording to the last mark and signal.
END_TIMEOUT_S = 180.0
#: A kill that finds its victim idle, as another fault may have left it, waits so long for work.
WORK_PATIENCE_S = 45.0
_LOOK_S = 0.1
_PARTITIONS = 6
#: Records of an act are compared in full: none may go before.
_DISK_GB = 20.0


class Stopped(CryptoBotError):
    """The user asked for the end."""


class ActRun:
    """One act on a stage."""

    def __init__(self, act: Act, stage: Stage) -> None:
        self._act, self._stage = act, stage
        self._outcome = Outcome(act)
        self._options = stage.options(act)
        self._prefix = f"chaos-{time.time_ns()}-"
        self._folder = stage.folder / f"act-{act.number}"
        self._pending: list[_Recovery] = []
        self._outages: list[threading.Thread] = []
        self._broker_away = threading.Event()
        self._began_s = 0.0

    def play(self) -> Outcome:
        """Do it all; what goes wrong is among the outcome's problems. Raises Stopped when the user ends it."""
        with ExitStack() as stack:
            transport = KafkaTransport(self._stage.bootstrap, client_id="chaos", topic_prefix=self._prefix)
            stack.callback(transport.close)
            transport.connect(timeout_s=30)
            transport.ensure_topics(ALL_TOPICS, _PARTITIONS, disk_gb=_DISK_GB)
            stack.callback(self._delete_topics, transport)
            self._environment = environment_of(self._options, self._stage.bootstrap, self._stage.registry.url, self._folder, LIVELY)
            self._environment |= {"TOPIC_PREFIX": self._prefix, "KAFKA_STARTUP_TIMEOUT_SECONDS": "120", **PACE[self._act.feed]}
            self._environment["FEED"] = "live" if self._act.live else "recording"
            processes = processes_of(self._options, self._environment, self._folder / "logs")
            self._processes = {process.name: process for process in processes}
            self._watch = DecisionWatch(transport, self._options.pairs)
            stack.callback(self._watch.close)
            stack.callback(stop_all, list(reversed(processes)))
            stack.callback(self._join_outages)
            self._evidence = Evidence(transport, self._folder / "data")
            try:
                self._run(processes)
                self._outcome.comparisons = compare_act(self._act.story, self._options, self._environment, transport, self._outcome.frames)
            except Stopped:
                raise
            except CryptoBotError as error:
                self._outcome.problems.append(str(error))
        return self._outcome

    def _run(self, processes: list[Supervised]) -> None:
        for process in processes:
            process.start()
        self._wait(self._all_up, READY_TIMEOUT_S, "the services to be ready")
        self._post("start")
        self._began_s = time.monotonic()
        for fault in self._act.faults:
            self._wait(partial(self._may_begin, fault), RECOVERY_TIMEOUT_S + fault.at_s, str(fault))
            self._do(fault)
        self._wait(lambda: self._now_s() >= self._act.length_s and not self._pending, RECOVERY_TIMEOUT_S + self._act.length_s, "recovery from all faults")
        self._post("stop")
        self._wait(lambda: self._watch.ended, END_TIMEOUT_S, "the last mark and signal of every pair")
        self._finish(processes)

    def _finish(self, processes: list[Supervised]) -> None:
        outcome = self._outcome
        outcome.took_s, outcome.bars = self._now_s(), self._watch.bars
        outcome.frames = int(ask(self._port(SIMULATOR), "/simulator/status")[1]["frames_sent"])
        for name in SERVICES:
            self._count_dropped(name)
        outcome.problems += stop_all(list(reversed(processes)))
        if self._watch.problem:
            outcome.problems.append(self._watch.problem)

    # Faults

    def _do(self, fault: Fault) -> None:
        self._stage.say(f"  {fault}")
        for other in self._pending:
            other.done.overlapped = True
        done = Done(fault, self._now_s(), overlapped=bool(self._pending))
        self._outcome.done.append(done)
        if fault.victim in {BROKER, REDIS}:
            done.in_flight = self._in_flight(fault.victim)
            self._take_away(done, self._broker_outage if fault.victim == BROKER else self._redis_outage)
        elif fault.kind is Kind.DISCONNECT:
            done.in_flight = self._in_flight(fault.victim)
            self._post("disconnect")
            self._pending.append(_Recovery(done, lambda: self._is_ready(INGESTION)))
        else:
            self._kill(fault.victim, done)

    def _kill(self, name: str, done: Done) -> None:
        """Stop it in its tracks, measure, kill it, start its successor."""
        process = self._processes[name]
        self._count_dropped(name)
        if (pid := process.pid) is not None:
            os.kill(pid, signal.SIGSTOP)
        done.in_flight = self._in_flight(name)
        done.done_at_s = self._now_s()
        process.kill()
        process.start()
        self._pending.append(_Recovery(done, lambda: self._is_ready(name)))

    def _take_away(self, done: Done, outage: Callable[[Fault, threading.Event], None]) -> None:
        """In a thread of its own: other faults go on meanwhile."""
        back = threading.Event()
        self._pending.append(_Recovery(done, back.is_set))
        thread = threading.Thread(target=self._guarded, args=(outage, done.fault, back), name=f"{done.fault.victim} away", daemon=True)
        self._outages.append(thread)
        thread.start()

    def _guarded(self, outage: Callable[[Fault, threading.Event], None], fault: Fault, back: threading.Event) -> None:
        try:
            outage(fault, back)
        except CryptoBotError as error:
            self._outcome.problems.append(f"{fault.victim}: {error}")

    def _broker_outage(self, fault: Fault, back: threading.Event) -> None:
        broker = self._stage.broker
        assert broker is not None
        self._broker_away.set()
        broker.take_away(fault.kind)
        if self._stage.stopping.wait(fault.away_s):
            return
        broker.start()
        self._broker_away.clear()
        back.set()

    def _redis_outage(self, fault: Fault, back: threading.Event) -> None:
        registry = self._stage.registry
        registry.kill()
        decided = self._watch.decided
        self._stage.stopping.wait(fault.away_s)
        registry.start()
        registry.wait_up(self._stage.stopping)
        if self._watch.decided == decided and not self._broker_away.is_set() and len(self._pending) == 1:
            self._outcome.problems.append("nothing was decided while Redis was away")
        while not registry.services() and not self._stage.stopping.wait(_LOOK_S):
            pass
        back.set()

    def _may_begin(self, fault: Fault) -> bool:
        """It is time; a server can only be taken away while it is there, and a kill waits a little for work to hit."""
        if self._now_s() < fault.at_s:
            return False
        if fault.victim in {BROKER, REDIS}:
            return not any(recovery.done.fault.victim == fault.victim for recovery in self._pending)
        if self._now_s() > fault.at_s + WORK_PATIENCE_S:
            return True
        in_flight = self._in_flight(fault.victim)
        # While the broker is away nothing can be told: good for a second kill, not for one that has to be proven.
        return self._was_hit_at_work(fault.victim) if in_flight is None else in_flight > 0

    def _was_hit_at_work(self, victim: str) -> bool:
        return any(done.in_flight and done.fault.victim == victim for done in self._outcome.done)

    def _in_flight(self, victim: str) -> int | None:
        """Of a consumer its own work, of all others what is on its way through the pipeline."""
        if self._broker_away.is_set():
            return None
        return self._evidence.in_flight(victim) if victim in CONSUMERS else self._evidence.undecided()

    # Looking

    def _wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        give_up_at = time.monotonic() + timeout_s
        while not condition():
            self._look()
            if time.monotonic() > give_up_at:
                raise CryptoBotError(f"waited {timeout_s:.0f} s in vain for {what}; see {self._folder / 'logs'}")
            if self._stage.stopping.wait(_LOOK_S):
                raise Stopped("stopped by the user")

    def _look(self) -> None:
        """Note recoveries, and processes that nobody has ended."""
        for recovery in [each for each in self._pending if each.is_over(self._watch)]:
            recovery.done.recovered_after_s = self._now_s() - recovery.done.done_at_s
            self._pending.remove(recovery)
        for name, process in self._processes.items():
            if (status := process.ended_by_itself()) is not None:
                self._outcome.problems.append(f"{name} ended by itself with status {status}: {process.last_line()}")
                process.start()

    def _all_up(self) -> bool:
        return all(map(self._is_up, self._processes))

    def _is_up(self, name: str) -> bool:
        """Ready; ingestion is ready only with its first event, so being connected is enough for it."""
        if name == INGESTION:
            return bool(ask(self._port(name), "/info")[1].get("details", {}).get("connected"))
        return ask(self._port(name), "/health/ready")[0] == 200

    def _is_ready(self, name: str) -> bool:
        return ask(self._port(name), "/health/ready", timeout_s=0.5)[0] == 200

    def _count_dropped(self, name: str) -> None:
        """Before the counters end with their process."""
        for reason, amount in dropped(self._port(name)).items():
            key = f"{name}: {reason}"
            self._outcome.suppressed[key] = self._outcome.suppressed.get(key, 0) + amount

    # Small things

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    def _port(self, name: str) -> int:
        return self._stage.base_port + (SIMULATOR_PORT_OFFSET if name == SIMULATOR else SERVICES[name][1])

    def _post(self, what: str) -> None:
        status, _ = ask(self._port(SIMULATOR), f"/simulator/{what}", method="POST")
        if status != 200:
            raise CryptoBotError(f"the simulator did not obey {what} (HTTP {status}); see {self._folder / 'logs'}")

    def _join_outages(self) -> None:
        for thread in self._outages:
            thread.join(120)

    def _delete_topics(self, transport: KafkaTransport) -> None:
        """Only where the broker outlives the run."""
        if self._stage.broker is None:
            transport.delete_topics(ALL_TOPICS)


class _Recovery:
    """A fault whose victim has to come back, and execution to decide again after that."""

    def __init__(self, done: Done, is_back: Callable[[], bool]) -> None:
        self.done = done
        self._is_back = is_back
        self._decided_when_back: int | None = None

    def is_over(self, watch: DecisionWatch) -> bool:
        """Whether both have happened; after the end of the recording being back is all."""
        if self._decided_when_back is None and self._is_back():
            self._decided_when_back = watch.decided
        return self._decided_when_back is not None and (watch.decided > self._decided_when_back or watch.ended)
