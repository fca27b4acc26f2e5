"""The colours of everything that is drawn, by what they mean: dashboards and pages take them from here and from nowhere else.

Each can be told from a white and from a dark background: a contrast of 3 to 1 or more, which a test holds.
"""

from collections.abc import Mapping
from types import MappingProxyType

PROFIT = "#1F9D63"
LOSS = "#E5484D"
#: What is neither good nor bad, and what is not there.
NEUTRAL = "#7D8694"

#: The legs of a pair: the dependent one, y, and the one that hedges it, x.
LEG_A = "#3B82F6"
LEG_B = "#DD7A12"

#: The measured line that thresholds are drawn around, such as z or a hedge ratio.
SIGNAL = "#3B82F6"
THRESHOLD_ENTRY = "#A06BE8"
THRESHOLD_EXIT = "#159C9C"
THRESHOLD_STOP = "#E0458B"
#: What may not be exceeded: an objective, a limit.
LIMIT = "#E5484D"

GOOD, WARNING, CRITICAL = "#1F9D63", "#C08A0E", "#E5484D"
#: By the label of an alert.
SEVERITIES: Mapping[str, str] = MappingProxyType({"none": NEUTRAL, "warning": WARNING, "critical": CRITICAL})

#: By the verdict of a risk signal, in the order of their strictness.
VERDICTS: Mapping[str, str] = MappingProxyType({"ACTIVE": GOOD, "REDUCE_ONLY": WARNING, "HALTED": CRITICAL, "FLATTEN": THRESHOLD_STOP})

#: By the state of a pair's position, in the order of their numbers.
POSITION_STATES: Mapping[str, str] = MappingProxyType(
    {"IDLE": NEUTRAL, "ENTERING": THRESHOLD_ENTRY, "HEDGING": WARNING, "OPEN": LEG_A, "EXITING": THRESHOLD_EXIT, "UNWINDING": CRITICAL}
)

#: By the part of a profit.
PROFIT_PARTS: Mapping[str, str] = MappingProxyType({"realised": PROFIT, "unrealised": LEG_A, "fees": LOSS, "funding": WARNING, "net": NEUTRAL})

#: For series that mean nothing of their own, such as pairs and services; the first ones first.
SERIES = ("#3B82F6", "#DD7A12", "#1F9D63", "#A06BE8", "#159C9C", "#E0458B", "#8A8F2A", "#B0703C", "#5E8A9A", "#7D8694")
