"""The risk rules: each measures one thing, compares it with its limit and gives a verdict.

To add a rule, write a function from limits and evidence to a finding and add it to `RULES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import msgspec

from common.messages import PORTFOLIO, BarStatus, Changepoint, ChangepointAction, ModelStatus, RuleResult, Verdict, strictest

OPERATOR = "operator"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What is allowed; losses are fractions."""

    max_drawdown: Decimal
    daily_loss_limit: Decimal
    max_gross_exposure_usd: Decimal
    max_position_usd: Decimal
    max_orders_per_minute: int
    max_model_age_bars: int
    changepoint_alarm_mass: float


class Halt(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict that stays until an operator resumes its target."""

    target: str
    #: Name of the rule that holds it in force.
    rule: str
    verdict: Verdict
    who: str
    why: str
    session: int
    #: First bar whose signal carried it.
    bar: int
    #: 0 when a rule and no command began it.
    command_id: int = 0

    def binds(self, pair: str) -> bool:
        """Whether it holds for this pair."""
        return self.target in {PORTFOLIO, pair}


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that the rules look at: the portfolio at the close of a bar, then one pair at that bar."""

    equity_usd: Decimal
    high_water_mark_usd: Decimal
    day_start_usd: Decimal
    gross_exposure_usd: Decimal
    orders_last_minute: int
    #: Pairs whose mark of the bar is not there.
    missing: tuple[str, ...]
    halts: tuple[Halt, ...]
    bar_status: BarStatus = BarStatus.FRESH
    model_status: ModelStatus = ModelStatus.READY
    model_age_bars: int = 0
    changepoint: Changepoint = Changepoint()


class Finding(NamedTuple):
    """What a rule measured, what it allows, in the same unit, and what follows."""

    value: float
    limit: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Rule:
    """A named measurement; one that latches turns what it trips on into a halt of the portfolio."""

    name: str
    measure: Callable[[Limits, Evidence], Finding]
    latches: bool = False


def operator(_limits: Limits, evidence: Evidence) -> Finding:
    """Apply what operators have ordered; measured as strictness, 0 to 3."""
    verdict = strictest(*(halt.verdict for halt in evidence.halts if halt.rule == OPERATOR))
    return Finding(verdict.strictness, 0, verdict)


def drawdown(limits: Limits, evidence: Evidence) -> Finding:
    """Loss since the high-water mark, a fraction of it."""
    return _loss(evidence.high_water_mark_usd, evidence.equity_usd, limits.max_drawdown, Verdict.FLATTEN)


def daily_loss(limits: Limits, evidence: Evidence) -> Finding:
    """Loss since the start of the UTC day, a fraction of the equity then."""
    return _loss(evidence.day_start_usd, evidence.equity_usd, limits.daily_loss_limit, Verdict.HALTED)


def gross_exposure(limits: Limits, evidence: Evidence) -> Finding:
    """Gross notional of all pairs, USD."""
    above = evidence.gross_exposure_usd > limits.max_gross_exposure_usd
    return Finding(float(evidence.gross_exposure_usd), float(limits.max_gross_exposure_usd), _reduce_only_if(above))


def order_rate(limits: Limits, evidence: Evidence) -> Finding:
    """Orders of all pairs in the last minute."""
    used_up = evidence.orders_last_minute >= limits.max_orders_per_minute
    return Finding(evidence.orders_last_minute, limits.max_orders_per_minute, _reduce_only_if(used_up))


def marks_missing(_limits: Limits, evidence: Evidence) -> Finding:
    """Pairs whose mark of the bar is not there: the portfolio is not known."""
    return Finding(len(evidence.missing), 0, _reduce_only_if(bool(evidence.missing)))


def bar_status(_limits: Limits, evidence: Evidence) -> Finding:
    """1 when the pair's bar was stale, empty or missing."""
    stale = evidence.bar_status is not BarStatus.FRESH
    return Finding(stale, 0, _reduce_only_if(stale))


def model_status(_limits: Limits, evidence: Evidence) -> Finding:
    """1 while the pair's models are warming up or degraded."""
    unready = evidence.model_status is not ModelStatus.READY
    return Finding(unready, 0, _reduce_only_if(unready))


def model_age(limits: Limits, evidence: Evidence) -> Finding:
    """Bars since a volatility fit of the pair was last put to use, given up or not; 0 before the first."""
    return Finding(evidence.model_age_bars, limits.max_model_age_bars, _reduce_only_if(evidence.model_age_bars > limits.max_model_age_bars))


def changepoint(limits: Limits, evidence: Evidence) -> Finding:
    """Probability of a recent change of regime; the detector's own hysteresis decides."""
    verdicts = {
        ChangepointAction.NONE: Verdict.ACTIVE,
        ChangepointAction.REDUCE_ONLY: Verdict.REDUCE_ONLY,
        ChangepointAction.FLATTEN: Verdict.FLATTEN,
    }
    return Finding(evidence.changepoint.recent_mass, limits.changepoint_alarm_mass, verdicts[evidence.changepoint.action])


RULES = (
    Rule(OPERATOR, operator),
    Rule("drawdown", drawdown, latches=True),
    Rule("daily-loss", daily_loss, latches=True),
    Rule("gross-exposure", gross_exposure),
    Rule("order-rate", order_rate),
    Rule("marks-missing", marks_missing),
    Rule("bar-status", bar_status),
    Rule("model-status", model_status),
    Rule("model-age", model_age),
    Rule("changepoint", changepoint),
)

#: Those about one pair's data and models.
PAIR_RULES = frozenset({"bar-status", "model-status", "model-age", "changepoint"})


def evaluate(limits: Limits, evidence: Evidence) -> tuple[RuleResult, ...]:
    """Every rule's result; a halt that a rule holds in force is at least its verdict."""
    return tuple(_result(rule, rule.measure(limits, evidence), evidence.halts) for rule in RULES)


def tripped(limits: Limits, evidence: Evidence) -> list[tuple[Rule, Finding]]:
    """Find the latching rules that trip now and hold no halt yet."""
    held = {halt.rule for halt in evidence.halts}
    findings = [(rule, rule.measure(limits, evidence)) for rule in RULES if rule.latches and rule.name not in held]
    return [(rule, finding) for rule, finding in findings if finding.verdict is not Verdict.ACTIVE]


def _result(rule: Rule, finding: Finding, halts: tuple[Halt, ...]) -> RuleResult:
    verdict = strictest(finding.verdict, *(halt.verdict for halt in halts if halt.rule == rule.name)) if halts else finding.verdict
    return RuleResult(rule=rule.name, value=float(finding.value), limit=float(finding.limit), verdict=verdict)


def loss_ratio(reference_usd: Decimal, equity_usd: Decimal) -> Decimal:
    """Measure a loss; a portfolio without positive capital to lose has lost it all, but one without any account yet has lost nothing."""
    if reference_usd == equity_usd == 0:
        return Decimal(0)
    return max((reference_usd - equity_usd) / reference_usd, Decimal(0)) if reference_usd > 0 else Decimal(1)


def _loss(reference_usd: Decimal, equity_usd: Decimal, limit: Decimal, verdict: Verdict) -> Finding:
    lost = loss_ratio(reference_usd, equity_usd)
    return Finding(float(lost), float(limit), verdict if lost >= limit else Verdict.ACTIVE)


def _reduce_only_if(broken: bool) -> Verdict:
    return Verdict.REDUCE_ONLY if broken else Verdict.ACTIVE
