"""The services and Prometheus as the pages meet them: HTTP servers that answer what the services' own code says."""

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import msgspec

from common.io.sqlite import reading
from common.trace import NO_TRACE
from monitoring.streamlit.data import SERVICES
from monitoring.streamlit.series import QueryRefused, Selector, samples_of
from services.execution import gauges, history, views
from services.execution.ledger import LEDGER_FILE, Batch, Ledger
from services.execution.reporting import report
from services.execution.snapshot import ACTIVE, Snapshot
from services.risk_manager.core import Input
from services.risk_manager.reporting import Reporter
from services.risk_manager.state import initial
from services.risk_manager.views import describe
from tests.exposed import catalogues, observer_of
from tests.unit.execution.builders import PAIR, Desk
from tests.unit.execution.test_ledger import STAMP
from tests.unit.risk_manager import builders as risk_builders
from tests.unit.risk_manager.test_core import bar_of, run

METRICS = catalogues()
RISK_PARAMS = risk_builders.params(pairs=(PAIR,))
PROMETHEUS = "prometheus"
#: How many samples of the past Prometheus has of everything.
SAMPLES, STEP_S = 4, 5.0
#: Seconds, or whole numbers with units.
DURATION = re.compile(r"[\d.]+|(\d+(ms|[smhdwy]))+")

Answer = Any


class Server(ThreadingHTTPServer):
    """Answers from a dictionary: a missing page is 404, None is an answer that never comes, a number is a status without one."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.posted: list[tuple[str, str, str]] = []
        self.ended = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.posted.append((self.path, self.headers.get("Authorization", ""), body))
        self._answer(body)

    def _answer(self, body: str = "") -> None:
        answer = self.server.answers.get(self.path.partition("?")[0], 404)
        if callable(answer):
            answer = answer(body)
        if answer is None:
            self.server.ended.wait()
            return
        if isinstance(answer, int):
            self.send_error(answer)
            return
        status, content = answer if isinstance(answer, tuple) else (200, answer)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(content.encode() if isinstance(content, str) else msgspec.json.encode(content))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Stage(NamedTuple):
    """One server a service, and one for Prometheus."""

    servers: Mapping[str, Server]

    @property
    def execution(self) -> Server:
        return self.servers["execution-service"]

    @property
    def risk_manager(self) -> Server:
        return self.servers["risk-manager-service"]

    def environment(self, *, with_prometheus: bool) -> dict[str, str]:
        addresses = {f"{name.removesuffix('-service').replace('-', '_').upper()}_URL": server.address for name, server in self.servers.items()}
        return addresses if with_prometheus else addresses | {"PROMETHEUS_URL": ""}

    def close(self, name: str) -> None:
        """As a process that has died."""
        self.servers[name].shutdown()
        self.servers[name].server_close()


@contextmanager
def staged() -> Iterator[Stage]:
    """All servers, of services that have just started."""
    servers = {name: Server() for name in (*SERVICES, PROMETHEUS)}
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers.values()]
    for thread in threads:
        thread.start()
    stage = Stage(servers)
    begin(stage)
    try:
        yield stage
    finally:
        for server in servers.values():
            server.ended.set()
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()


def begin(stage: Stage) -> None:
    """Answer as services do that have just started."""
    stage.execution.answers |= {"/pnl": views.profit({}), "/positions": views.positions({}, {})}
    stage.execution.answers |= {"/fills": {"fills": [], "next": 0}, "/round-trips": {"round_trips": [], "next": 0}, "/equity": {"equity": [], "every_bars": 1}}
    stage.risk_manager.answers["/state"] = describe(RISK_PARAMS, initial(RISK_PARAMS), ())
    for name in SERVICES:
        stage.servers[name].answers |= {"/metrics": exposition(name, lambda _: None), "/health": (200, health(name)), "/info": info()}
    stage.servers[PROMETHEUS].answers |= {"/api/v1/query_range": lambda body: evaluate(stage, body), "/api/v1/query": lambda body: evaluate(stage, body)}


def trade(stage: Stage, desk: Desk, folder: Path) -> None:
    """Answer as execution does whose ledger holds what a desk has done."""
    path = folder / LEDGER_FILE
    ledger = Ledger(path, stamp=STAMP, synchronous="OFF")
    ledger.commit(Batch(states={PAIR: desk.state}, outputs=[(desk.outputs, NO_TRACE)]))
    params, states = {PAIR: desk.params}, {PAIR: desk.state}
    snapshot = Snapshot()
    snapshot.show(params, states)
    snapshot.role = ACTIVE
    with reading(path) as query:
        stage.execution.answers |= {
            "/fills": history.fills(query, pair="", limit=20, before=0),
            "/round-trips": history.round_trips(query, pair="", limit=50, before=0),
            "/equity": history.equity(query, points=300),
        }
    ledger.close()
    stage.execution.answers |= {
        "/pnl": {**views.profit(states), **snapshot.standing()},
        "/positions": {**views.positions(params, states), **snapshot.standing()},
        f"/pairs/{PAIR}/explain": snapshot.explain(PAIR),
    }

    def show(observer: Any) -> None:
        report(observer, desk.outputs)
        gauges.measure(observer, params, states)

    stage.execution.answers["/metrics"] = exposition("execution-service", show)
    model(stage)


def model(stage: Stage) -> None:
    """Answer as filter and volatility do that are warm."""

    def show(observer: Any) -> None:
        for name, value in (("spread_bps", -3.5), ("beta", 0.8), ("beta_deviation", 0.05)):
            observer.gauge(f"crypto_bot_kalman_{name}", value, pair=PAIR)

    stage.servers["kalman-filter-service"].answers["/metrics"] = exposition("kalman-filter-service", show)
    shown = exposition("garch-volatility-service", lambda observer: observer.gauge("crypto_bot_garch_innovation_deviation_bps", 12.0, pair=PAIR))
    stage.servers["garch-volatility-service"].answers["/metrics"] = shown


def judge(stage: Stage, *inputs: Input) -> None:
    """Answer as risk-manager does after some inputs."""
    state, signals = run(RISK_PARAMS, inputs, initial(RISK_PARAMS))
    commands = [each for each in inputs if type(each).__name__ == "Command"]
    stage.risk_manager.answers["/state"] = describe(RISK_PARAMS, state, commands)  # type: ignore[arg-type]

    def show(observer: Any) -> None:
        reporter = Reporter(observer)
        reporter.step(initial(RISK_PARAMS), state, signals)
        reporter.state(state)

    stage.risk_manager.answers["/metrics"] = exposition("risk-manager-service", show)


def bars(*equities: int) -> list[Input]:
    """Bar closes of one pair, with its equity at each."""
    return [message for bar, equity in enumerate(equities) for message in bar_of(bar, (equity,), (PAIR,))]


def exposition(name: str, show: Callable[[Any], None]) -> str:
    """What /metrics says after something was shown."""
    observer = observer_of(METRICS[name], {"pair": (PAIR,)})
    show(observer)
    return observer.exposition().decode()


def health(service: str, *, well: bool = True) -> dict[str, Any]:
    """The body of /health."""
    check = {"status": "pass", "observedValue": 0.1} if well else {"status": "fail", "observedValue": 31.0, "output": "nothing read for 31 s"}
    return {"status": "pass" if well else "fail", "service": service, "version": "0.1.0", "role": "active", "reason": "", "checks": {"progress": check}}


def info() -> dict[str, Any]:
    """The body of /info, as far as pages read it."""
    activity = {"consumed": 10, "steps": 4, "step_seconds": 0.01, "lag": 3}
    details = {"tick_to_decision_ms": {"p50": 1.25, "p99": 4.5, "max": 9.0}}
    return {"version": "0.1.0", "started_at": "2026-01-01T00:00:00+00:00", "activity": activity, "details": details}


def evaluate(stage: Stage, body: str) -> Any:
    """Prometheus' answer to a plain selector: what the services show, at each of the last few scrapes."""
    asked = parse_qs(body)
    (expression,) = asked["query"]
    if not DURATION.fullmatch(asked["timeout"][0]):
        return 400, {"status": "error", "errorType": "bad_data", "error": f'invalid parameter "timeout": cannot parse {asked["timeout"][0]!r}'}
    try:
        selector = Selector(expression)
    except QueryRefused:
        return 400, {"status": "error", "errorType": "bad_data", "error": f'invalid parameter "query": parse error near {expression!r}'}
    instant, now = "start" not in body, time.time()
    found = []
    for service in SERVICES:
        for name, labels, value in samples_of(str(stage.servers[service].answers["/metrics"])):
            metric = {"__name__": name, "job": service, **dict(labels)}
            if selector.name in {None, name} and selector.takes(metric):
                points = [[now - STEP_S * back, "NaN" if math.isnan(value) else repr(value)] for back in reversed(range(SAMPLES))]
                found.append({"metric": metric, "value": points[-1]} if instant else {"metric": metric, "values": points})
    return json.dumps({"status": "success", "data": {"resultType": "vector" if instant else "matrix", "result": found}})
