"""Alerts that look back for hours, on back-filled data: `promtool tsdb create-blocks-from openmetrics` makes the history."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from scripts.drill.acts import Act, about
from scripts.drill.exposition import Exposition
from scripts.drill.monitors import require_programs
from scripts.drill.watched import Scene, Watched
from scripts.embedded.plan import SERVICES
from scripts.faults.servers import free_ports

_JOB, _INSTANCE = "execution-service", "history"
_MINUTES = 7 * 60
#: What a minute holds, and how much of it was bad: between the limits of the slow and the fast burn.
_A_MINUTE, _BAD = 1000, 8
#: What ends it: as many good ones at once as ten hours hold.
_RELIEF = 600 * _A_MINUTE

HISTORY_SCENE = Scene("history", "seven hours of back-filled metrics, windows as in production")


def samples(minutes: int, relief: int = 0) -> dict[str, int]:
    """The counters after so many minutes, by series without job and instance."""
    all_ticks, late = minutes * _A_MINUTE + relief, minutes * _BAD
    latency = "crypto_bot_tick_to_decision_seconds"
    return {
        f'{latency}_bucket{{le="0.1"}}': all_ticks - late,
        f'{latency}_bucket{{le="+Inf"}}': all_ticks,
        f"{latency}_count{{}}": all_ticks,
        'crypto_bot_records_consumed_total{topic="ticks"}': all_ticks,
        'crypto_bot_dead_letters_total{source="ticks",reason="undecodable"}': late,
    }


def open_metrics(now_s: int) -> str:
    """Hours of it, to a minute ago."""
    labels = f'job="{_JOB}",instance="{_INSTANCE}"'
    by_series: dict[str, list[str]] = {}
    for minute in range(_MINUTES):
        for series, value in samples(minute).items():
            named = series.replace("{", "{" + labels + ",").replace(",}", "}")
            by_series.setdefault(series, []).append(f"{named} {value} {now_s - (_MINUTES - minute) * 60}")
    return "\n".join([line for lines in by_series.values() for line in lines] + ["# EOF", ""])


class HistoryStage(Watched):
    """No services: a Prometheus that is given a past."""

    def build(self, stack: ExitStack) -> None:
        """Alertmanager runs; Prometheus is started by the act, for with it its past begins."""
        first = free_ports(2)
        self.make_monitors(stack, (first, first + 1), self.servers.scale._replace(windows=False))
        self.relief = 0
        # Goes on where the history ends, and stands there until it is relieved.
        target = Exposition(lambda: "".join(f"{series} {value}\n" for series, value in samples(_MINUTES, self.relief).items()))
        stack.callback(target.close)
        for name in SERVICES:
            self.prometheus.target(name, *([target.port] if name == _JOB else []), seen_as=_INSTANCE)
        self.start_alertmanager()

    def fill(self) -> None:
        """Write the history into Prometheus' database."""
        file = self.folder / "history.om"
        file.write_text(open_metrics(int(time.time())), encoding="utf-8")
        promtool = str(require_programs("promtool")["promtool"])
        command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(file), str(self.prometheus.folder / "data")]
        subprocess.run(command, capture_output=True, check=True)  # noqa: S603 - our own command


@contextmanager
def _bad_hours(stage: HistoryStage) -> Iterator[None]:
    stage.fill()
    stage.start_prometheus()
    yield
    stage.relief = _RELIEF


HISTORY = (
    Act(
        about("LatencyBudgetBurnsSlowly", "ErrorBudgetBurnsSlowly"),
        HISTORY_SCENE.name,
        "seven hours in which 0.8 % was decided late and 0.8 % was garbage, back-filled into Prometheus",
        "a target whose counters go on from there shows as many good ones as ten hours hold",
        _bad_hours,
        within_s=120,
    ),
)
