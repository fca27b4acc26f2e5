"""What other threads are shown of execution, whether it writes the ledger or waits for it."""

from collections.abc import Mapping
from typing import Any

from common.messages import OrderEvent, PositionState
from common.processor import Health
from common.trace import NO_TRACE, Trace
from services.execution import views
from services.execution.latency import LatencyDigest
from services.execution.state import PairState, Params

RECOVERING, STANDBY, ACTIVE = "recovering", "standby", "active"


class Snapshot:
    """Values that never change, replaced whole by the turn's thread."""

    def __init__(self) -> None:
        self.role = RECOVERING
        #: Who writes the ledger, and under which epoch of its lease.
        self.holder, self.epoch = "", 0
        #: Why no new exposure is taken; empty while it may be.
        self.exposure_stop = ""
        self.params: Mapping[str, Params] = {}
        self.states: Mapping[str, PairState] = {}
        self.orders: tuple[OrderEvent, ...] = ()
        #: Of each pair's last tick; a standby has none.
        self.traces: Mapping[str, Trace] = {}
        self.held: Mapping[str, int] = {}
        self.latency_ms: Mapping[str, float] = LatencyDigest().summary()

    def show(self, params: Mapping[str, Params], states: Mapping[str, PairState]) -> None:
        """The pairs as they stand now."""
        self.params, self.states = params, dict(states)

    def standing(self) -> dict[str, Any]:
        """Who tells of the pairs, and the event time of the newest book in that; a standby tells what was committed last."""
        return {"role": self.role, "event_time_ns": max((state.event_time_ns for state in self.states.values()), default=0)}

    def explain(self, pair: str) -> dict[str, Any]:
        """Why a pair does what it does, with the trace of its last tick, which is empty before the first."""
        params, state = self.params.get(pair), self.states.get(pair)
        explained = views.explain(params, state) if params and state else views.recovering(pair)
        return {**explained, "role": self.role, "event_time_ns": state.event_time_ns if state else 0, "trace_id": self.traces.get(pair, NO_TRACE).id}

    def health(self) -> Health:
        """Ready once it writes the ledger and may trade, and as standby, which is there to be ready; what the pairs have done."""
        states = self.states
        details = {
            "ledger": {"holder": self.holder, "epoch": self.epoch},
            "pairs": list(states),
            "held": dict(self.held),
            "last_bars": {pair: state.closed_bar for pair, state in states.items()},
            "last_seqs": {pair: state.last_seq for pair, state in states.items()},
            **views.totals(states.values()),
            "open_positions": sum(state.position.state is not PositionState.IDLE for state in states.values()),
            "ended": bool(states) and all(state.ended for state in states.values()),
            "tick_to_decision_ms": dict(self.latency_ms),
        }
        return Health(ready=self.role != RECOVERING and not self.exposure_stop, reason=self._reason(), role=self.role, details=details)

    def _reason(self) -> str:
        if self.role == STANDBY:
            return f"waiting for the ledger, which {self.holder or 'nobody'} writes"
        return RECOVERING if self.role == RECOVERING else self.exposure_stop
