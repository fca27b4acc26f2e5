"""The gates of an entry as people and dashboards are shown them: what each found, what it lacks to pass, and which one blocks."""

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import NamedTuple

from common.market import Leg
from common.messages import ModelStatus, Verdict
from common.rules import SymbolRules
from services.execution import strategy
from services.execution.strategy import Look, Measured

PASSES, BLOCKS, ADVISES = "pass", "block", "advise"

#: What a shut gate lacks to pass, at least 0; None where no number says it.
Lack = Callable[[Look, Measured], float | None]


class Scale(NamedTuple):
    """What a gate asks for, and how its distance to passing is measured."""

    asks: str
    unit: str
    lack: Lack
    #: Whether value and limit are numbers, where their difference is not what it lacks.
    numeric: bool = False


class ExplainedGate(NamedTuple):
    """A gate with all there is to say about it; `number` and `limit_number` are value and limit where they are numbers, in the unit."""

    name: str
    value: str
    limit: str
    passed: bool
    advisory: bool
    verdict: str
    distance: float | None
    unit: str
    number: float | None
    limit_number: float | None
    asks: str


def explain_gates(at: Look) -> tuple[ExplainedGate, ...]:
    """Every gate, in the order in which the strategy asks them."""
    return tuple(_explain(at, name, gate(at)) for name, gate in strategy.GATES)


def first_block(gates: tuple[ExplainedGate, ...]) -> str:
    """The first gate that blocks; empty when none does."""
    return next((gate.name for gate in gates if gate.verdict == BLOCKS), "")


def _explain(at: Look, name: str, found: Measured) -> ExplainedGate:
    scale, advisory = SCALES[name], name in at.params.advisory_gates
    return ExplainedGate(
        name=name,
        value=strategy.as_text(found.value),
        limit=strategy.as_text(found.limit),
        passed=found.passed,
        advisory=advisory,
        verdict=PASSES if found.passed else ADVISES if advisory else BLOCKS,
        distance=0.0 if found.passed else _finite(scale.lack(at, found)),
        unit=scale.unit,
        number=_number(found.value),
        limit_number=_number(found.limit),
        asks=scale.asks,
    )


def _number(value: object) -> float | None:
    """A value or limit as a number, a limit such as `> 0` too."""
    if value == strategy.ABOVE_ZERO:
        return 0.0
    return _finite(float(value)) if isinstance(value, int | float | Decimal) else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _between(_at: Look, found: Measured) -> float | None:
    """How far value and limit are apart."""
    value, limit = _number(found.value), _number(found.limit)
    return None if value is None or limit is None else abs(value - limit)


def _unknown(_at: Look, _found: Measured) -> None:
    return None


def _next_bar(_at: Look, _found: Measured) -> float:
    """It opens with the next bar at the earliest."""
    return 1.0


def _strictness(_at: Look, found: Measured) -> float | None:
    return float(found.value.strictness) if isinstance(found.value, Verdict) else None


def _unready_models(_at: Look, found: Measured) -> float:
    statuses = found.value if isinstance(found.value, tuple) else ()
    return float(max(1, sum(status is not ModelStatus.READY for status in statuses)))


def _below_minimums(at: Look, _found: Measured) -> float | None:
    """What the leg that lacks most needs to reach its symbol's minimums, USD; None where they are not what refuses it."""
    quantities = strategy.size(at)
    lacks = [_below_minimum(quantities.of(leg), at.tick.quote(leg).bid, at.params.rules(leg)) for leg in Leg]
    return float(max(lacks)) if at.signal and max(lacks) > 0 else None


def _below_minimum(quantity: Decimal, price: Decimal, rules: SymbolRules) -> Decimal:
    return max(rules.minimum_quantity * price, rules.minimum_notional) - quantity * price


#: By gate.
SCALES: Mapping[str, Scale] = {
    "trading": Scale("the strictest of risk's verdict and of commands is ACTIVE", "levels", _strictness),
    "first-bar": Scale("this is not the first bar of a session", "bars", _next_bar),
    "hold": Scale("the risk signal of the previous bar came in time", "bars", _next_bar),
    "sequence": Scale("no record of this bar is missing", "bars", _next_bar),
    "dead-letters": Scale("few of the last records could not be used", "", _unknown),
    "data-age": Scale("live: the tick was read from the socket a moment ago", "", _unknown),
    "thresholds": Scale("the filter and the volatility model are READY", "models", _unready_models),
    "leg-age": Scale("both legs' books are young, event time", "ms", _between),
    "entry-z": Scale("|z| is at least the entry threshold", "z", _between),
    "stop-z": Scale("|z| is below the stop threshold", "z", _between),
    "beta": Scale("the hedge ratio is positive", "log price per log price", _between),
    "cost": Scale("the edge of this tick is worth its cost times COST_MARGIN", "bps", _between),
    # A budget of nothing lacks what the smallest orders take.
    "budget": Scale("risk leaves the pair a budget", "USD", _below_minimums, numeric=True),
    "orders-allowed": Scale("risk allows the orders of an entry in this bar", "orders", _between),
    "cool-down": Scale("COOL_DOWN_BARS have passed since the last position", "bars", _between),
    "minimums": Scale("the venue takes an order of each leg's size", "USD", _below_minimums),
    "hedge-error": Scale("the venue's steps leave little without a hedge", "share of the gross", _between),
}

#: Gates whose distance to passing a number says, and those of them whose value and limit are numbers too.
MEASURED_GATES = tuple(name for name, scale in SCALES.items() if scale.lack is not _unknown)
NUMERIC_GATES = tuple(name for name, scale in SCALES.items() if scale.numeric or scale.lack is _between)
