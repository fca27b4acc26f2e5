"""Innovations and hedge ratios to feed the volatility model with."""

import math
import random

from common.messages import BarStatus, HedgeEstimate, HedgeRatioClose, ModelStatus
from services.garch_volatility.fitting import FitRequest
from services.garch_volatility.volatility import Fit
from tests.unit.kalman_filter.builders import PAIR, close, tick


def garch_noise(seed: int, count: int, *, alpha: float = 0.08, beta: float = 0.88, scale: float = 5e-4) -> list[float]:
    """GARCH(1,1) noise with the unconditional standard deviation `scale`."""
    chance = random.Random(seed)
    omega = scale * scale * (1 - alpha - beta)
    variance, values = scale * scale, []
    for _ in range(count):
        values.append(math.sqrt(variance) * chance.gauss(0, 1))
        variance = omega + alpha * values[-1] ** 2 + beta * variance
    return values


def reverting(seed: int, count: int, phi: float = 0.9) -> list[float]:
    """Innovations that revert with `phi` and have GARCH surprises."""
    values, level = [], 0.0
    for surprise in garch_noise(seed, count):
        level = phi * level + surprise
        values.append(level)
    return values


def answer(
    bar: int,
    innovation: float | None,
    *,
    status: ModelStatus = ModelStatus.READY,
    bar_status: BarStatus = BarStatus.FRESH,
    session: int = 0,
    parameter_variance: float = 0.0,
) -> HedgeRatioClose:
    """The filter's answer to a bar close; without an innovation it has no estimate."""
    estimate = innovation is not None and HedgeEstimate(
        alpha=8.0, beta=1.5, innovation=innovation, parameter_variance=parameter_variance, alpha_variance=1e-9, beta_variance=1e-6
    )
    ends = close(2 * bar + 1, bar, bar_status, session=session)
    return HedgeRatioClose(close=ends, status=status, last_tick=tick(2 * bar, bar, session=session), estimate=estimate or None, reason="")


class ScriptedFits:
    """Fits that answer what they are told, and remember what was asked."""

    def __init__(self, fit: Fit) -> None:
        self.fit = fit
        self.started: list[FitRequest] = []
        self.asked: list[FitRequest] = []

    def start(self, request: FitRequest) -> None:
        """Remember the request."""
        self.started.append(request)

    def result(self, request: FitRequest) -> Fit:
        """Answer as told."""
        self.asked.append(request)
        return self.fit


GOOD_FIT = Fit(observations=500, variance=2.5e-7, phi=0.9, omega=1e-8, alpha=0.08, beta=0.88, log_likelihood=10.0, ewma_log_likelihood=9.0)

__all__ = ["GOOD_FIT", "PAIR", "ScriptedFits", "answer", "garch_noise", "reverting"]
