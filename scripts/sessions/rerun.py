"""Runs a recorded session again in memory: kalman-filter, garch-volatility, risk-manager and execution over its `ticks`."""

from collections.abc import Callable, Mapping
from pathlib import Path

from common import messages as m
from common.rules import SymbolRules
from common.topics import EXECUTIONS, RISK_SIGNALS, TICKS
from scripts.offline import EXECUTION, GARCH, KALMAN, RISK, Facts, Offline
from scripts.sessions.recorded import Session
from services.execution.committed import Committed, Fact
from services.risk_manager.recorded import recorded

AFTER_INGESTION = (KALMAN, GARCH, RISK, EXECUTION)


def facts_of(session: Session) -> Facts:
    """What is no function of `ticks`; from a recording without commands nothing is, and bars close by themselves."""
    facts = [message for message in session.outputs[EXECUTIONS] if isinstance(message, Fact)]
    if not session.commands and not session.live():
        return Facts(Committed(facts), None)
    signals = [message for message in session.outputs[RISK_SIGNALS] if isinstance(message, m.RiskSignal)]
    return Facts(Committed(facts), recorded(signals, session.commands))


def rerun(
    session: Session, environment: Mapping[str, str], rules: Mapping[str, SymbolRules], folder: Path, heard: Callable[[int], None] = lambda _: None
) -> Offline:
    """Run it to where nothing more follows; the ledger lies in `folder`, the messages in the broker of what is returned."""
    again = Offline(environment, (), rules, folder, partitions=session.partitions, place=session.place, facts=facts_of(session))
    for record in session.ticks:
        again.broker.append(TICKS, record.partition, record.key, record.value)
    again.run_dry(AFTER_INGESTION, heard)
    return again
