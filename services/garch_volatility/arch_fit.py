"""One GARCH(1,1) fit with `arch`; the only file that imports it."""

import warnings

import numpy as np
from arch.univariate import GARCH, ZeroMean

from services.garch_volatility.fitting import FitRequest
from services.garch_volatility.volatility import Fit, Volatility, ewma, garch, log_likelihood, prepare

#: A fit ends by this cap, never by a clock, so that its result is the same on any machine under any load.
MOST_ITERATIONS = 200


def fit(request: FitRequest) -> Fit:
    """Fit the surprises of a request by quasi-maximum likelihood; whatever goes wrong is a Fit with a reason.

    The data are divided by their standard deviation first: on unscaled returns the optimiser stops at its starting values
    or at wrong ones. Its presample variance is the library's own (an exponentially weighted backcast).
    """
    prepared = prepare(request.innovations, request.minimum_bars)
    if isinstance(prepared, str):
        return Fit(reason=prepared)
    phi, surprises = prepared
    data = np.asarray(surprises)
    variance = float(np.mean(data * data))
    try:
        omega, alpha, beta = _optimise(data / np.sqrt(variance))
    except Exception as error:  # noqa: BLE001 - whatever the library raises, a restart would only raise it again
        return Fit(reason=f"the fit failed: {error}")
    found = Fit(observations=len(surprises), variance=variance, phi=phi, omega=omega * variance, alpha=alpha, beta=beta)
    return _with_likelihoods(found, surprises)


def _optimise(data: np.ndarray) -> tuple[float, float, float]:
    model = ZeroMean(data, volatility=GARCH(p=1, o=0, q=1), rescale=False)
    with warnings.catch_warnings():
        # What these warn of is in the convergence flag.
        warnings.simplefilter("ignore")
        result = model.fit(disp="off", show_warning=False, options={"maxiter": MOST_ITERATIONS})
    if result.convergence_flag:
        raise ValueError(f"no convergence (flag {result.convergence_flag}: {result.optimization_result.message})")
    omega, alpha, beta = (float(value) for value in result.params)
    return omega, max(alpha, 0.0), max(beta, 0.0)


def _with_likelihoods(found: Fit, surprises: list[float]) -> Fit:
    def likelihood(model: Volatility) -> float:
        return log_likelihood(model, surprises, found.variance)

    return Fit(
        observations=found.observations,
        variance=found.variance,
        phi=found.phi,
        omega=found.omega,
        alpha=found.alpha,
        beta=found.beta,
        log_likelihood=likelihood(garch(found)),
        ewma_log_likelihood=likelihood(ewma(found.phi)),
    )


class InlineFits:
    """Makes fits in this process, when they are asked for: for backtests and tests.

    Equal to the worker's in every bit only where the numeric libraries use one thread, see `worker.use_one_thread`.
    """

    def start(self, request: FitRequest) -> None:
        """Do nothing yet; the result does not depend on when it is made."""

    def result(self, request: FitRequest) -> Fit:
        """Make the fit."""
        return fit(request)
